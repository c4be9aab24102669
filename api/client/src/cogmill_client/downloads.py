"""A file fetched to disk: taken up again where it broke off, compared with its SHA-256, whole or not there at all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from cogmill_client.effects import Close, Read, Request, Retries, Sleep, Steps, run
from cogmill_client.errors import ApiError, ChecksumMismatch, ConfigurationError, ConnectionFailed
from cogmill_client.exchange import backoff_s, sent

_SHA256 = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")
_PIECE_BYTES = 1024 * 1024


@dataclass(slots=True)
class _Partial:
    """What is on disk so far, and the digest of it."""

    path: Path
    size: int
    digest: hashlib._Hash

    @classmethod
    def found(cls, path: Path, *, resume: bool) -> _Partial:
        if not resume:
            path.unlink(missing_ok=True)
        digest, size = hashlib.sha256(), 0
        if path.is_file():
            with path.open("rb") as file:
                while piece := file.read(_PIECE_BYTES):
                    digest.update(piece)
                    size += len(piece)
        return cls(path, size, digest)

    def write(self, piece: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(piece)
        self.digest.update(piece)
        self.size += len(piece)

    def start_over(self) -> None:
        self.path.unlink(missing_ok=True)
        self.digest, self.size = hashlib.sha256(), 0


def fetch(
    request: Request,
    path: Path,
    *,
    sha256: str | None = None,
    resume: bool = True,
    seen: Callable[[int], object] | None = None,
) -> Steps[Path]:
    """Save the answer of a GET as `path`. What an earlier call left in `path` with `.part` behind it is not read again.

    The bytes must have `sha256`, or where that is None the one that the ETag is. `seen` is told how many bytes are
    there. Raises `ApiError`, `ConnectionFailed`, and `ChecksumMismatch`, after which nothing is left.
    """
    if path.is_dir() or not path.name:
        raise ConfigurationError(f"{path} is a directory: name a file")
    partial = yield from run(lambda: _prepared(path, resume=resume))
    continued = partial.size > 0
    while True:
        recorded = yield from _filled(request, partial, seen)
        wanted = sha256 or recorded
        if wanted is None or partial.digest.hexdigest() == wanted:
            yield from run(lambda: _finish(partial, path))
            return path
        yield from run(partial.start_over)
        if not continued:
            raise ChecksumMismatch(f"what came for {path} does not have the recorded SHA-256 {wanted}")
        continued = False  # what was there may have been another file's beginning: once more, from the start


def _filled(request: Request, partial: _Partial, seen: Callable[[int], object] | None) -> Steps[str | None]:
    """Append what is missing; the SHA-256 that the answer names, if it does."""
    retries: int = yield Retries()
    failed = 0
    recorded: str | None = None
    while True:
        before = partial.size
        try:
            response = yield from _opened(request, partial)
            recorded = _recorded(response)
            yield from _appended(response, partial, seen)
            return recorded
        except httpx.HTTPError as error:
            failed = 0 if partial.size > before else failed + 1
            if failed > retries:
                raise ConnectionFailed(f"{partial.path.stem}: the download broke off: {error}") from error
            yield Sleep(backoff_s(failed))


def _opened(request: Request, partial: _Partial) -> Steps[httpx.Response]:
    """An answer that goes on behind what is there; one from the start empties the partial file."""
    headers = {**request.headers, "accept-encoding": "identity"}
    if partial.size:
        headers["range"] = f"bytes={partial.size}-"
    asked = Request(method="GET", url=request.url, query=request.query, headers=headers, anonymous=request.anonymous)
    try:
        response: httpx.Response = yield from sent(asked, open_=True)
    except ApiError as error:
        if error.status != 416 or not partial.size:
            raise
        yield from run(partial.start_over)  # longer than the file: not of this one
        return (yield from _opened(request, partial))
    found = _RANGE.fullmatch(response.headers.get("content-range", ""))
    if partial.size and not (response.status_code == 206 and found and int(found[1]) == partial.size):
        if response.status_code == 206:
            yield Close(response)
            yield from run(partial.start_over)
            return (yield from _opened(request, partial))
        yield from run(partial.start_over)
    return response


def _appended(response: httpx.Response, partial: _Partial, seen: Callable[[int], object] | None) -> Steps[None]:
    gathered = bytearray()
    try:
        while (piece := (yield Read(response))) is not None:
            gathered += piece
            if len(gathered) >= _PIECE_BYTES:
                yield from _flushed(gathered, partial, seen)
        yield Close(response)
    finally:
        # Also what came before the connection broke, or the caller stopped: it is not fetched again.
        if gathered:
            partial.write(bytes(gathered))
    if seen is not None:
        seen(partial.size)


def _flushed(gathered: bytearray, partial: _Partial, seen: Callable[[int], object] | None) -> Steps[None]:
    data = bytes(gathered)
    gathered.clear()
    yield from run(lambda: partial.write(data))
    if seen is not None:
        seen(partial.size)


def _prepared(path: Path, *, resume: bool) -> _Partial:
    path.parent.mkdir(parents=True, exist_ok=True)
    return _Partial.found(path.with_name(f"{path.name}.part"), resume=resume)


def _finish(partial: _Partial, path: Path) -> None:
    partial.path.touch()  # an empty file has no piece
    partial.path.replace(path)


def _recorded(response: httpx.Response) -> str | None:
    etag = str(response.headers.get("etag", "")).removeprefix("W/").strip('"')
    return etag if _SHA256.fullmatch(etag) else None


def sha256_of(path: Path) -> str:
    """Of a file's bytes, in lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
