"""What is sent in pieces: a file or a stream of any size, with no more in memory than one piece."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any

from cogmill_client.errors import ConfigurationError

PIECE_BYTES = 256 * 1024


Opened = Callable[[], AbstractContextManager[Any]]


def _pieces(opened: Opened) -> Iterator[bytes]:
    with opened() as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


async def _async_pieces(opened: Opened) -> AsyncIterator[bytes]:
    with opened() as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece


class FileBody:
    """The bytes of a file on disk, which is opened anew for each try."""

    repeatable = True

    def __init__(self, path: Path, content_type: str) -> None:
        self._path, self._content_type = path, content_type

    def headers(self) -> Mapping[str, str]:
        return {"content-type": self._content_type, "content-length": str(self._path.stat().st_size)}

    def stream(self) -> Iterator[bytes]:
        return _pieces(lambda: self._path.open("rb"))

    def async_stream(self) -> AsyncIterator[bytes]:
        return _async_pieces(lambda: self._path.open("rb"))


class StreamBody:
    """The bytes of a stream, which can be read only once: a request with it is never sent again."""

    repeatable = False

    def __init__(self, stream: IO[bytes] | Iterable[bytes], content_type: str) -> None:
        self._stream, self._content_type = stream, content_type

    def headers(self) -> Mapping[str, str]:
        return {"content-type": self._content_type}

    def stream(self) -> Iterator[bytes]:
        return _pieces(lambda: nullcontext(_readable(self._stream)))

    def async_stream(self) -> AsyncIterator[bytes]:
        return _async_pieces(lambda: nullcontext(_readable(self._stream)))


def _readable(stream: IO[bytes] | Iterable[bytes]) -> Any:
    return stream if hasattr(stream, "read") else _Reader(stream)


class _Reader:
    """`read` of an iterable; a piece is as large as it comes."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)

    def read(self, _: int) -> bytes:
        return next((piece for piece in self._pieces if piece), b"")


def existing(path: str | os.PathLike[str], param: str) -> Path:
    """A file that is there. Raises `ConfigurationError`."""
    found = Path(path)
    if not found.is_file():
        raise ConfigurationError(f"{param}: there is no file {str(path)!r}")
    return found
