"""What of a source is on this node, and whether it still is what was fetched. Needs no network."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from orchestrator.config import S3Settings
from orchestrator.domain.errors import ConfigError
from workers.modelfiles import layout, manifest
from workers.modelfiles.fetch import is_remote, place, under_construction
from workers.modelfiles.progress import Doing, OnProgress, Progress, silent


class State(StrEnum):
    """`local` is a path as it is, which nobody has verified; `fetched` was verified before it was used."""

    LOCAL = "local"
    FETCHED = "fetched"
    PARTIAL = "partial"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Where a source is or will be; `size` is the bytes that are there; `revision` what was fetched, else None."""

    source: str
    state: State
    path: Path
    size: int
    revision: str | None = None


def look(source: str, cache: Path, s3: S3Settings) -> Finding:
    """What there is of a source, by names and sizes alone. Raises `ConfigError` when that cannot be said."""
    path = place(source, cache, s3)
    try:
        return _look(source, path)
    except OSError as error:
        raise ConfigError(f"{source}: {error}") from error


def _look(source: str, path: Path) -> Finding:
    if path.exists():
        fetched = manifest.read(path) if is_remote(source) else None
        state = State.LOCAL if fetched is None else State.FETCHED
        revision = None if fetched is None else fetched.revision
        return Finding(source=source, state=state, path=path, size=size_of(path), revision=revision)
    partial = under_construction(path)
    if is_remote(source) and partial.is_dir():
        return Finding(source=source, state=State.PARTIAL, path=path, size=size_of(partial))
    return Finding(source=source, state=State.MISSING, path=path, size=0)


def verify(source: str, cache: Path, s3: S3Settings, *, on_progress: OnProgress = silent) -> Finding:
    """Read again what was fetched, and compare it with its manifest; of a local path, see that it is whole.

    Raises `IntegrityError` for files that changed, `ConfigError` for a source that is not here or not whole.
    """
    found = look(source, cache, s3)
    if found.state in (State.MISSING, State.PARTIAL):
        raise ConfigError(f"{source} is not on this node")
    if told := manifest.read(found.path):
        read = 0

        def moved(count: int) -> None:
            nonlocal read
            read += count
            on_progress(Progress(source=source, doing=Doing.VERIFYING, done=read, total=told.size))

        manifest.require_same(told, found.path, moved)
    layout.require_whole(found.path)
    return found


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a directory."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())
