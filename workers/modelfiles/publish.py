"""From a directory to `s3://bucket/prefix`, with a manifest that every fetch is verified against."""

from __future__ import annotations

import hashlib
from pathlib import Path

from orchestrator.config import S3Settings
from orchestrator.domain.errors import ConfigError
from workers.modelfiles import layout, manifest
from workers.modelfiles.bucket import BucketRemote
from workers.modelfiles.manifest import Entry, Manifest
from workers.modelfiles.progress import Doing, OnProgress, Progress, silent


def push(directory: Path, destination: str, s3: S3Settings, *, on_progress: OnProgress = silent) -> Manifest:
    """Upload a checkpoint or an adapter, each file read back and compared, the manifest last.

    One that was broken off is simply pushed again. Raises `ConfigError` when `directory` is not whole, or when there is
    a manifest at the destination: what is published under a name never changes.
    """
    if not directory.is_dir():
        raise ConfigError(f"{directory} is no directory")
    layout.require_whole(directory)
    for path in directory.rglob("*"):
        if path.is_symlink() and path.is_dir():
            raise ConfigError(f"{path} is a link to a directory, which a push does not follow")
    remote = BucketRemote.parse(destination, s3)
    if remote.only is not None:
        raise ConfigError(f"{destination} must name a prefix, not a file")
    if any(listed.key == remote.prefix + manifest.NAME for listed in remote.objects.list_objects(remote.prefix)):
        raise ConfigError(f"{destination} is taken: what is published under a name never changes")
    files = _upload(directory, remote, destination, on_progress)
    told = "".join(f"{name} {entry.size} {entry.sha256}\n" for name, entry in sorted(files.items()))
    revision = hashlib.sha256(told.encode()).hexdigest()[:16]
    published = Manifest(source=destination, revision=revision, files=files)
    remote.objects.put(remote.prefix + manifest.NAME, published.to_json(), "application/json")
    return published


def _upload(directory: Path, remote: BucketRemote, destination: str, on_progress: OnProgress) -> dict[str, Entry]:
    names = layout.wanted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    # The index last: a prefix that lacks it is taken for no model, should the push break off.
    names.sort(key=lambda name: name == layout.INDEX)
    total = sum((directory / name).stat().st_size for name in names)
    files: dict[str, Entry] = {}
    done = 0
    for name in names:
        on_progress(Progress(source=destination, doing=Doing.SENDING, done=done, total=total))
        artifact = remote.objects.upload(remote.prefix + name, directory / name, "application/octet-stream")
        files[name] = Entry(artifact.size, artifact.sha256)
        done += artifact.size
    on_progress(Progress(source=destination, doing=Doing.SENDING, done=done, total=total))
    return files
