"""From a source to a path on this node: what is not here is fetched once, and renamed into place when it is whole."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import TypeVar

from filelock import FileLock, Timeout

from orchestrator.config import S3Settings
from orchestrator.domain.errors import ConfigError, IntegrityError, ScratchUnavailable, Unavailable
from orchestrator.domain.retry import BELOW, Backoff
from orchestrator.telemetry import logs
from workers.modelfiles import layout, manifest, remote
from workers.modelfiles.manifest import Entry, Manifest
from workers.modelfiles.progress import Doing, OnProgress, Progress, silent
from workers.modelfiles.remote import Remote

T = TypeVar("T")

_log = logs.get("model_files")

# In a directory under construction: what it is to become. What it was begun for may have changed since.
_LISTING = ".listing.json"
_HUB_NOTES = ".cache"
# Files at a time: one stream fills no fast network.
_THREADS = 4
# Tries of one file in a row: half a minute, and each goes on where it was.
_TRIES = 6
_BACKOFF = Backoff(base_s=1.0, cap_s=16.0, spread=BELOW)
_TELL_EVERY_S = 0.5
_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_remote(source: str) -> bool:
    """Whether a source must be fetched; any other is a path on the node."""
    return "://" in source


def place(source: str, cache: Path, s3: S3Settings) -> Path:
    """Where on the node the source is once it is fetched, or simply is. Touches nothing."""
    if not is_remote(source):
        return Path(source).expanduser()
    endpoint = s3.endpoint_url if source.startswith("s3://") else os.environ.get("HF_ENDPOINT")
    digest = hashlib.sha256(f"{endpoint} {source}".encode()).hexdigest()[:12]
    name = re.sub(r"[^\w.-]", "-", source.partition("@")[0].rstrip("/").rpartition("/")[2], flags=re.ASCII)
    return cache.expanduser() / f"{name}-{digest}"


def under_construction(target: Path) -> Path:
    """Where a fetch that is not finished keeps what it has; its name says that it is nothing to be used."""
    return target.with_name(f".{target.name}.partial")


def locate(source: str, cache: Path, s3: S3Settings, *, on_progress: OnProgress = silent) -> Path:
    """The path of a source on this node: a directory (of an adapter also a file) as it is, anything else fetched.

    Blocks while it is fetched, here or by another process. What is here already needs no network; a revision that
    moves, as a branch does, is followed only once. Raises `ConfigError` when it cannot be had, `IntegrityError` when
    what comes is not what was announced, `ScratchUnavailable` when the disk is full or cannot be written.
    """
    target = place(source, cache, s3)
    if not is_remote(source):
        if not target.exists():
            raise ConfigError(f"{source}: there is no such file or directory on this node")
        return target
    if not target.is_dir():
        origin = remote.connect(source, s3)
        with _disk_errors(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _alone(target, source, on_progress):
                if not target.is_dir():  # or else whoever had the lock has fetched it
                    _fetch(origin, source, target, on_progress)
    return target


def _fetch(origin: Remote, source: str, target: Path, on_progress: OnProgress) -> None:
    partial = under_construction(target)
    try:
        listed = _patiently(source, origin.listing)
        _prepare(partial, listed)
        _require_room(partial, listed)
        _download(origin, listed, partial, on_progress)
        files = _verified(origin, listed, partial, on_progress)
        layout.require_whole(partial)
    except Unavailable as error:
        raise ConfigError(f"{source} cannot be fetched: {error}") from error
    except OSError as error:
        if error.errno in _FULL:
            shutil.rmtree(partial, ignore_errors=True)  # the room is needed by others, and would not do for this
        raise
    shutil.rmtree(partial / _HUB_NOTES, ignore_errors=True)
    whole = Manifest(source=source, revision=listed.revision, files=files)
    (partial / manifest.LOCAL_NAME).write_bytes(whole.to_json())
    (partial / _LISTING).unlink()
    for name in (*files, manifest.LOCAL_NAME):
        _sync(partial / name)
    partial.rename(target)
    _sync(target.parent)


def _prepare(partial: Path, listed: Manifest) -> None:
    """Keep what an interrupted fetch of this very listing left, and remove what another left."""
    marker = partial / _LISTING
    if not marker.is_file() or marker.read_bytes() != listed.to_json():
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        marker.write_bytes(listed.to_json())


def _require_room(partial: Path, listed: Manifest) -> None:
    missing = listed.size - _bytes_below(partial)
    free = shutil.disk_usage(partial).free
    if missing > free:
        raise OSError(errno.ENOSPC, f"{listed.source} needs {missing >> 20} MiB more, and {free >> 20} MiB are free")


def _download(origin: Remote, listed: Manifest, partial: Path, on_progress: OnProgress) -> None:
    stop = Event()

    def bring(name: str) -> None:
        _patiently(listed.source, lambda: origin.download(listed, name, partial, stop), stop)

    # The largest first: nobody waits for one that was left to the end.
    names = sorted(listed.files, key=lambda name: -listed.files[name].size)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="fetch") as threads:
        pending = {threads.submit(bring, name) for name in names}
        try:
            while pending:
                done, pending = wait(pending, timeout=_TELL_EVERY_S, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
                got = min(_bytes_below(partial), listed.size)
                on_progress(Progress(source=listed.source, doing=Doing.FETCHING, done=got, total=listed.size))
        finally:
            stop.set()
            threads.shutdown(wait=False, cancel_futures=True)


def _verified(origin: Remote, listed: Manifest, partial: Path, on_progress: OnProgress) -> dict[str, Entry]:
    """Size and SHA-256 of all files, read back and as announced. What is not is fetched once more, from its start."""
    read = 0

    def moved(count: int) -> None:
        nonlocal read
        read += count  # from several threads: a lost addition would only blur the progress
        on_progress(Progress(source=listed.source, doing=Doing.VERIFYING, done=read, total=listed.size))

    found = manifest.hashes(partial, listed.files, moved)
    wrong = manifest.differences(listed.files, found)
    if wrong:
        _discard(partial, wrong)
        _download(origin, listed, partial, on_progress)
        found |= manifest.hashes(partial, wrong, moved)
        if still := manifest.differences(listed.files, found):
            _discard(partial, still)
            raise IntegrityError(f"{listed.source}: what comes is not what was announced: {', '.join(still)}")
    return found


def _discard(partial: Path, names: list[str]) -> None:
    shutil.rmtree(partial / _HUB_NOTES, ignore_errors=True)
    for name in names:
        (partial / name).unlink(missing_ok=True)


def _patiently(source: str, call: Callable[[], T], stop: Event | None = None) -> T:
    """Try again, after ever longer pauses, what may be better later; the last failure is raised."""
    for tried in range(1, _TRIES):
        try:
            return call()
        except Unavailable as error:
            # With an S3 that accepts and never answers, a try takes minutes: who waits must see what for.
            _log.warning("fetch_tried_again", source=source, error=str(error)[:300])
            if (stop or Event()).wait(_BACKOFF.delay_s(tried, random.random())):
                raise
    return call()


@contextmanager
def _alone(target: Path, source: str, on_progress: OnProgress) -> Iterator[None]:
    """No other process of this node fetches the same meanwhile. The system frees the lock of one that dies."""
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    while True:
        try:
            lock.acquire(timeout=_TELL_EVERY_S)
            break
        except Timeout:
            got = _bytes_below(under_construction(target))
            on_progress(Progress(source=source, doing=Doing.WAITING, done=got))
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _disk_errors(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ScratchUnavailable(f"models_cache {cache}: {error.strerror or error}") from error


def _bytes_below(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        with suppress(OSError):  # renamed under our eyes
            total += path.stat().st_size if path.is_file() else 0
    return total


def _sync(path: Path) -> None:
    """To the disk, or a power cut could leave the new name on empty files."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
