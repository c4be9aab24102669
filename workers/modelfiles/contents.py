"""What a model's files hold: the SHA-256 of each, read once on a node, and one revision of them all. No torch."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock, Timeout

from orchestrator.domain import jsontext
from orchestrator.domain.errors import ConfigError
from orchestrator.telemetry import logs
from workers.modelfiles import layout, manifest
from workers.modelfiles.progress import Doing, OnProgress, Progress, silent

_log = logs.get("model_files")

# In the node's cache of models: what files held when they were read as a whole.
NOTES = ".hashes.json"
_FORMAT = 1
# A file that was written this recently may be written again without another mtime, on a file system of coarse times.
_SETTLED_S = 2.0
# How long a worker waits for another one of its node that reads files. That takes less; then it reads them, too.
_PATIENCE_S = 900.0

# Size, inode, device, and when content and inode last changed, in nanoseconds: equal ones are of equal content.
Mark = tuple[int, int, int, int, int]


def revision(path: Path, cache: Path, *, on_progress: OnProgress = silent) -> str:
    """16 hex digits that tell a model's files from all others, by the names and every byte of what is loaded.

    What a fetch verified is known; other files are read as a whole, once on this node, and remembered in `cache` by
    size, inode and times. Where nothing can be written there they are read each time. Raises `OSError`.
    """
    files = _loaded_files(path)
    hashes = _verified(path, files)
    if unknown := {name: file for name, file in files.items() if name not in hashes}:
        with _alone(cache, Progress(source=str(path), doing=Doing.WAITING), on_progress):
            hashes |= _hashes(unknown, cache, path, on_progress)
    told = "".join(f"{name}\0{hashes[name]}\n" for name in sorted(files))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _loaded_files(path: Path) -> dict[str, Path]:
    """By name, those that a pipeline is loaded from; links are followed: two models may share a text encoder."""
    below = [Path(found, name) for found, _, names in os.walk(path, followlinks=True) for name in names]
    files = {file.relative_to(path).as_posix(): file for file in below if file.is_file()}
    return {name: files[name] for name in layout.wanted(files)}


def _verified(path: Path, files: Mapping[str, Path]) -> dict[str, str]:
    """The hashes that a fetch found, of files that nobody has touched since it noted them."""
    try:
        told = manifest.read(path)
    except ConfigError:
        told = None
    if told is None:
        return {}
    noted = (path / manifest.LOCAL_NAME).stat().st_ctime_ns
    known = {}
    for name, file in files.items():
        entry, now = told.files.get(name), file.stat()
        if entry is not None and entry.sha256 and entry.size == now.st_size and now.st_ctime_ns <= noted:
            known[name] = entry.sha256
    return known


def _hashes(files: Mapping[str, Path], cache: Path, path: Path, on_progress: OnProgress) -> dict[str, str]:
    notes = _read(cache / NOTES)
    marks = {name: _mark(file) for name, file in files.items()}
    found = {name: digest for name, file in files.items() if (digest := _noted(notes, file, marks[name])) is not None}
    if missing := [name for name in files if name not in found]:
        total, read = sum(marks[name][0] for name in missing), 0

        def moved(count: int) -> None:
            nonlocal read
            read += count
            on_progress(Progress(source=str(path), doing=Doing.VERIFYING, done=read, total=total))

        began = time.time_ns()
        for name, entry in manifest.hashes(path, missing, moved).items():
            assert entry.sha256 is not None
            found[name] = entry.sha256
            settled = max(marks[name][3:]) < began - _SETTLED_S * 1e9
            if settled and _mark(files[name]) == marks[name]:
                notes[str(files[name].resolve())] = [list(marks[name]), entry.sha256]
        _write(cache / NOTES, notes)
    return found


def _mark(file: Path) -> Mark:
    now = file.stat()
    return (now.st_size, now.st_ino, now.st_dev, now.st_mtime_ns, now.st_ctime_ns)


def _noted(notes: Mapping[str, Any], file: Path, mark: Mark) -> str | None:
    match notes.get(str(file.resolve())):
        case [list(noted), str(digest)] if tuple(noted) == mark and len(digest) == 64:
            return digest
    return None


def _read(path: Path) -> dict[str, Any]:
    """Damaged or foreign notes are none: everything is read again, and they are written anew."""
    try:
        document = jsontext.parse(path.read_bytes())
        notes = document["files"] if document["format"] == _FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _write(path: Path, notes: Mapping[str, Any]) -> None:
    """Replaced as a whole; notes on files that are gone are left out."""
    kept = {name: note for name, note in notes.items() if Path(name).is_file()}
    try:
        with TemporaryDirectory(dir=path.parent, prefix=f"{path.name}-") as scratch:
            whole = Path(scratch) / path.name
            whole.write_text(json.dumps({"format": _FORMAT, "files": kept}))
            whole.replace(path)
    except OSError as error:
        _log.warning("hashes_not_remembered", path=str(path), error=error.strerror)


@contextmanager
def _alone(cache: Path, waiting: Progress, on_progress: OnProgress) -> Iterator[None]:
    """No other worker of this node reads meanwhile what it will find remembered. Where there is no place for the lock,
    or it is held for ever, each reads for itself."""
    lock = FileLock(cache / f"{NOTES}.lock")
    with suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            on_progress(waiting)
            with suppress(Timeout):
                lock.acquire(timeout=_PATIENCE_S)
    try:
        yield
    finally:
        lock.release()
