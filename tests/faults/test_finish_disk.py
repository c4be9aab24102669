"""Encoding onto a disk that fills up: the system's own error, and nothing half-written."""

from __future__ import annotations

import errno
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.finishing import finish
from tests.support.frames import moving

FRAMES = moving(17, 96, 160)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may grow past `size` bytes: like a full disk, but needs no privilege."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def small_disk(at: Path, kib: int) -> Iterator[None]:
    at.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", at], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", at], check=True)


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
