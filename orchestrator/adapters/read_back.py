"""What an upload is before it leaves, and whether it arrived as that."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from orchestrator.domain.errors import IntegrityError
from orchestrator.domain.job import Artifact


def of_bytes(key: str, data: bytes, content_type: str) -> Artifact:
    """The object that these bytes will be."""
    return Artifact(key=key, size=len(data), sha256=hashlib.sha256(data).hexdigest(), content_type=content_type)


def of_file(key: str, path: Path, content_type: str) -> Artifact:
    """The object that a file will be.

    Hashed in a pass of its own: its parts are then read concurrently and again on a retry, and what matters is the file
    as it was handed over, whatever becomes of it on its way.
    """
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Artifact(key=key, size=path.stat().st_size, sha256=sha256, content_type=content_type)


def compare(artifact: Artifact, chunks: Iterable[bytes], on_progress: Callable[[], None] | None = None) -> None:
    """Raise `IntegrityError` unless what is read is what was written; `on_progress` is told of every chunk."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        if on_progress is not None:
            on_progress()
    if (size, digest.hexdigest()) != (artifact.size, artifact.sha256):
        raise IntegrityError(
            f"{artifact.key} reads back as {size} bytes with SHA-256 {digest.hexdigest()}; "
            f"written were {artifact.size} bytes with {artifact.sha256}"
        )
