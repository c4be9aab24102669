"""A checkpoint's revision is of every byte that is loaded, and each file is read for it once on a node."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.config import S3Settings
from tests.support.fetching import write_weights
from tests.support.models import Checkpoint
from workers.modelfiles import contents, locate, manifest, push, revision

LAYERS, LAYER_BYTES = 64, 1 << 16
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read as a whole, in order."""
    names: list[str] = []
    hashes = manifest.hashes

    def counted(directory: Path, asked: list[str], moved: Callable[[int], None]) -> dict[str, manifest.Entry]:
        names.extend(asked)
        return hashes(directory, asked, moved)

    monkeypatch.setattr(manifest, "hashes", counted)
    return names


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written a moment ago counts as finished."""
    monkeypatch.setattr(contents, "_SETTLED_S", 0.0)


@pytest.fixture
def checkpoint(tiny_checkpoint: Checkpoint, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint("tiny-2b"), tmp_path / "model"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def trained(path: Path, at: int) -> None:
    """Another weight, in the same place of a file of the same size."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("layer", [0, 31, 63])
def test_two_checkpoints_that_differ_in_one_weight_of_one_layer_are_two(
    tmp_path: Path, cache: Path, layer: int
) -> None:
    weights = tmp_path / "model" / WEIGHTS
    write_weights(weights, LAYERS * LAYER_BYTES)
    first = revision(tmp_path / "model", cache)
    trained(weights, layer * LAYER_BYTES + LAYER_BYTES // 2)
    assert revision(tmp_path / "model", cache) != first


def test_a_revision_is_of_what_is_loaded_and_not_of_where_it_lies(
    tiny_checkpoint: Checkpoint, checkpoint: Path, cache: Path
) -> None:
    original = revision(tiny_checkpoint("tiny-2b"), cache)
    for name in (".fetched", "README.md", ".git/config", "transformer/diffusion_pytorch_model.bin", "all.safetensors"):
        (checkpoint / name).parent.mkdir(exist_ok=True)
        (checkpoint / name).write_text("what nobody loads")
    assert revision(checkpoint, cache) == original
    config = checkpoint / "vae" / "config.json"
    config.write_text(config.read_text().replace("1.15258426", "1.15258427"))
    changed = revision(checkpoint, cache)
    assert changed != original
    config.rename(checkpoint / "vae" / "other.json")
    assert revision(checkpoint, cache) not in (changed, original)


def test_a_revision_is_also_of_files_behind_links(tiny_checkpoint: Checkpoint, checkpoint: Path, cache: Path) -> None:
    """As of a text encoder that two models share."""
    shutil.move(checkpoint / "transformer", checkpoint.parent / "transformer")
    (checkpoint / "transformer").symlink_to(checkpoint.parent / "transformer")
    assert revision(checkpoint, cache) == revision(tiny_checkpoint("tiny-2b"), cache)
    trained(checkpoint.parent / WEIGHTS, -1 + (checkpoint.parent / WEIGHTS).stat().st_size)
    assert revision(checkpoint, cache) != revision(tiny_checkpoint("tiny-2b"), cache)


def test_what_a_fetch_verified_is_not_read_again_unless_somebody_touched_it(
    checkpoint: Path, cache: Path, s3_settings: S3Settings, read: list[str]
) -> None:
    source = f"s3://{s3_settings.bucket}/models/small"
    push(checkpoint, source, s3_settings)
    fetched = locate(source, cache, s3_settings)
    read.clear()
    original = revision(fetched, cache)
    assert read == []
    assert original == revision(checkpoint, cache), "of the same files as the directory that was pushed"
    read.clear()
    before = (fetched / WEIGHTS).stat()
    trained(fetched / WEIGHTS, 1000)
    os.utime(fetched / WEIGHTS, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert revision(fetched, cache) != original
    assert read == [WEIGHTS]
    (fetched / ".manifest.json").write_bytes(b"{")
    assert revision(fetched, cache) != original


@pytest.mark.usefixtures("settled")
def test_files_are_read_once_on_a_node(checkpoint: Path, cache: Path, read: list[str]) -> None:
    with ThreadPoolExecutor(4) as workers:
        revisions = set(workers.map(lambda _: revision(checkpoint, cache), range(4)))
    assert len(revisions) == 1
    assert len(read) == len(set(read)) > 5
    read.clear()
    before = (checkpoint / WEIGHTS).stat()
    trained(checkpoint / WEIGHTS, 1000)
    os.utime(checkpoint / WEIGHTS, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert revision(checkpoint, cache) not in revisions
    assert read == [WEIGHTS], "though size, inode and mtime are what they were"


def test_a_file_that_may_still_be_written_is_not_remembered(checkpoint: Path, cache: Path, read: list[str]) -> None:
    """Where times are coarse, a second write would leave no mark."""
    original = revision(checkpoint, cache)
    assert revision(checkpoint, cache) == original
    assert len(read) == 2 * len(set(read))


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b'{"format": 2, "files": {}}', b'{"format": 1, "files": []}', b"\xff\xfe", b"[" * 100_000],
)
def test_damaged_notes_only_cost_the_reading(checkpoint: Path, cache: Path, read: list[str], damage: bytes) -> None:
    original = revision(checkpoint, cache)
    (cache / contents.NOTES).write_bytes(damage)
    assert revision(checkpoint, cache) == original
    read.clear()
    assert revision(checkpoint, cache) == original
    assert read == [], "and the notes are whole again"


@pytest.mark.usefixtures("settled")
def test_notes_that_make_no_sense_are_not_believed(checkpoint: Path, cache: Path) -> None:
    original = revision(checkpoint, cache)
    told = (cache / contents.NOTES).read_text()
    for nonsense in ("null", '"short"', "[[1, 2], 3]", '[["a"], "b"]', "{}"):
        name = str(checkpoint / WEIGHTS)
        start = told.index(f'"{name}": ') + len(f'"{name}": ')
        end = told.index('"]', start) + 2
        (cache / contents.NOTES).write_text(told[:start] + nonsense + told[end:])
        assert revision(checkpoint, cache) == original


@pytest.mark.usefixtures("settled")
def test_a_node_that_can_note_nothing_reads_each_time(checkpoint: Path, tmp_path: Path, read: list[str]) -> None:
    (no_directory := tmp_path / "file").write_text("where the cache should be")
    (read_only := tmp_path / "read-only").mkdir(mode=0o555)
    (occupied := tmp_path / "occupied" / contents.NOTES).mkdir(parents=True)
    expected = revision(checkpoint, tmp_path / "writable")
    for cache in (no_directory, read_only, occupied.parent):
        assert revision(checkpoint, cache) == expected
        assert list(cache.glob(f"{contents.NOTES}-*")) == []


@pytest.mark.usefixtures("settled")
def test_notes_on_files_that_are_gone_are_dropped(checkpoint: Path, tmp_path: Path, cache: Path) -> None:
    other = Path(shutil.copytree(checkpoint, tmp_path / "other"))
    revision(other, cache)
    shutil.rmtree(other)
    revision(checkpoint, cache)
    assert str(other) not in (cache / contents.NOTES).read_text()
    assert str(checkpoint) in (cache / contents.NOTES).read_text()


@pytest.mark.usefixtures("settled")
def test_a_lock_that_is_held_for_ever_holds_nobody_up(
    checkpoint: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_PATIENCE_S", 0.01)
    with contents.FileLock(cache / f"{contents.NOTES}.lock"):
        assert revision(checkpoint, cache) == revision(checkpoint, cache)
