"""Encoding onto a disk that fills up: the system's own error, and nothing half-written."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.support.disks import largest_file, small_disk
from tests.support.finishing import finish
from tests.support.frames import moving

FRAMES = moving(17, 96, 160)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_a_video_that_outgrows_its_room_leaves_nothing(tmp_path: Path, share: float) -> None:
    whole = finish(FRAMES, tmp_path).video.stat().st_size
    target = tmp_path / "target"
    target.mkdir()
    with largest_file(int(whole * share)), pytest.raises(OSError, match="File too large") as failed:
        finish(FRAMES, target)
    assert failed.value.errno == errno.EFBIG
    assert list(target.iterdir()) == []


def test_a_full_disk_is_reported_as_such_wherever_it_fills(tmp_path: Path) -> None:
    whole = finish(FRAMES, tmp_path)
    files = (whole.video, whole.cover, whole.thumbnail, whole.spritesheet)
    needed = sum(file.stat().st_size for file in files) // 1024
    for kib in range(4, needed, max(4, needed // 12)):
        with small_disk(tmp_path / "disk", kib):
            with pytest.raises(OSError, match="No space left") as failed:
                finish(FRAMES, tmp_path / "disk")
            assert failed.value.errno == errno.ENOSPC
            assert list((tmp_path / "disk").iterdir()) == []
