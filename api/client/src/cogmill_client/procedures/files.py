"""Files: uploaded, listed, downloaded, deleted."""

from __future__ import annotations

import mimetypes
import os
from pathlib import Path
from typing import IO, Literal
from uuid import uuid4

from cogmill_client.bodies import existing
from cogmill_client.downloads import fetch
from cogmill_client.effects import Items, Request, Steps
from cogmill_client.errors import ConfigurationError
from cogmill_client.exchange import answer_of, reads
from cogmill_client.models.base import Deleted
from cogmill_client.models.files import FileObject
from cogmill_client.paging import listed
from cogmill_client.urls import at, query


def upload(
    file: str | os.PathLike[str] | bytes | IO[bytes],
    *,
    purpose: str,
    filename: str | None = None,
    expires_after_s: int | None = None,
) -> Steps[FileObject]:
    """Keep a file: a path, bytes, or a stream opened for binary reading.

    `purpose` is batch, vision, campaign or user_data.
    """
    form = {"purpose": purpose}
    if expires_after_s is not None:
        form |= {"expires_after[anchor]": "created_at", "expires_after[seconds]": str(expires_after_s)}
    if isinstance(file, bytes):
        return _sent(form, filename or "upload", file, repeatable=True)
    if isinstance(file, str | os.PathLike):
        return _from_path(form, existing(file, "file"), filename)
    name = filename or Path(str(getattr(file, "name", "upload"))).name
    if file.seekable():
        return _sent(form, name, file, repeatable=True)
    return _sent(form, name, _Pipe(file), repeatable=False)


def retrieve(file_id: str) -> Steps[FileObject]:
    """What is known of a file."""
    return answer_of(Request(method="GET", url=at("/v1/files/{}", file_id)), reads(FileObject))


def list_(
    *,
    purpose: str | None = None,
    limit: int | None = None,
    after: str | None = None,
    order: Literal["asc", "desc"] = "desc",
) -> Items[FileObject]:
    """All files by creation, or `limit` of them, fetched page by page."""
    return listed("/v1/files", FileObject, query(purpose=purpose, order=order), limit=limit, after=after)


def download(file_id: str, path: str | os.PathLike[str]) -> Steps[Path]:
    """Save a file's bytes, compared with the SHA-256 that was recorded."""
    return fetch(Request(method="GET", url=at("/v1/files/{}/content", file_id)), Path(path))


def delete(file_id: str) -> Steps[Deleted]:
    """Delete a file."""
    return answer_of(Request(method="DELETE", url=at("/v1/files/{}", file_id)), reads(Deleted))


def _from_path(form: dict[str, str], path: Path, filename: str | None) -> Steps[FileObject]:
    with path.open("rb") as file:
        return (yield from _sent(form, filename or path.name, file, repeatable=True))


class _Pipe:
    """A stream of unknown length. httpx would believe the size that the system tells of a pipe, which is 0."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.read = stream.read


def _sent(form: dict[str, str], name: str, file: bytes | IO[bytes] | _Pipe, *, repeatable: bool) -> Steps[FileObject]:
    if not name:
        raise ConfigurationError("filename: a file needs a name")
    request = Request(
        method="POST",
        url="/v1/files",
        form=form,
        file=(name, file, mimetypes.guess_type(name)[0] or "application/octet-stream"),
        headers={"idempotency-key": str(uuid4())},
        repeatable=repeatable,
    )
    return answer_of(request, reads(FileObject))
