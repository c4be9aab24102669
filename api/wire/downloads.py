"""The bucket as its callers see it: bytes and signed URLs, in threads that nothing else waits for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import contextmanager
from threading import Lock

from api.wire.ranges import ByteRange
from orchestrator.domain.errors import IntegrityError, InvalidField, NotFound, ObjectsUnavailable
from orchestrator.domain.job import Artifact
from orchestrator.kit.threads import Threads
from orchestrator.ports import ObjectStore

DEADLINE_S = 10.0
_READERS = 32
_SIGNERS = 4


class Downloads:
    """Every call ends within `DEADLINE_S` or raises `ObjectsUnavailable`.

    Signing has threads apart from reading: it needs credentials, which may come over a network, but not S3 itself.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._reading = Threads("s3-read", count=_READERS, deadline_s=DEADLINE_S)
        self._signing = Threads("s3-sign", count=_SIGNERS, deadline_s=DEADLINE_S)

    async def sign(self, artifact: Artifact, *, lifetime_s: int, filename: str | None = None) -> str:
        """A URL that opens without a header for `lifetime_s` seconds."""
        with _in_time():
            return await self._signing.run(
                self._objects.presign, artifact.key, lifetime_s=lifetime_s, filename=filename
            )

    async def check(self, artifact: Artifact) -> None:
        """Raise `NotFound` when the object is gone, and `IntegrityError` when its size is not the recorded one."""
        with _in_time():
            await self._reading.run(self._check, artifact)

    async def open(self, artifact: Artifact, part: ByteRange | None) -> AsyncGenerator[bytes, None]:
        """The object's bytes, or those of one range, in chunks; checked, and the first chunk already there."""
        with _in_time():
            first, rest = await self._reading.run(self._begin, artifact, part)
        return self._go_on(first, rest)

    async def made(self, make: Callable[[ObjectStore], Iterator[bytes]], *, gone: str) -> AsyncGenerator[bytes, None]:
        """What is made of objects, piece by piece, none of them empty; the first one is already there.

        Raises `NotFound` with `gone` where an object is.
        """
        with _in_time():
            first, rest = await self._reading.run(self._first, make, gone)
        return self._go_on(first, rest)

    async def small(self, key: str, *, gone: str) -> bytes:
        """All of a small object. Raises `NotFound` with `gone` where it is."""
        with _in_time():
            data, _ = await self._reading.run(self._first, lambda objects: iter([objects.get(key)]), gone)
        return data

    def _first(self, make: Callable[[ObjectStore], Iterator[bytes]], gone: str) -> tuple[bytes, Iterator[bytes]]:
        try:
            pieces = make(self._objects)
            return next(pieces, b""), pieces
        except NotFound:
            raise NotFound(gone) from None

    def _check(self, artifact: Artifact) -> None:
        try:
            size = self._objects.size(artifact.key)
        except NotFound:
            raise NotFound("the file of this video is gone") from None
        if size != artifact.size:
            raise IntegrityError(f"{artifact.key} has {size} bytes; recorded are {artifact.size}")

    def _begin(self, artifact: Artifact, part: ByteRange | None) -> tuple[bytes, Iterator[bytes]]:
        self._check(artifact)
        start, end = (0, None) if part is None else (part.start, part.end)
        chunks = self._objects.stream(artifact.key, start=start, end=end)
        try:
            return next(chunks, b""), chunks
        except NotFound:  # deleted since it was checked
            raise NotFound("the file of this video is gone") from None
        except InvalidField as error:
            raise IntegrityError(str(error)) from error

    async def _go_on(self, first: bytes, rest: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
        pieces = _Pieces(rest)
        try:
            yield first
            with _in_time():
                while chunk := await self._reading.run(pieces.next):
                    yield chunk
        finally:
            pieces.close()


class _Pieces:
    """What threads read piece by piece, closed as soon as nobody wants more of it: it may hold a connection to S3."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._reading = Lock()
        self._unwanted = False

    def next(self) -> bytes:
        """The next one; empty at the end."""
        with self._reading:
            piece = b"" if self._unwanted else next(self._pieces, b"")
        if self._unwanted:  # meanwhile: then it could not be closed
            self.close()
        return piece

    def close(self) -> None:
        """Let go of it now, or once the thread that reads a piece has it. Never waits."""
        self._unwanted = True
        if self._reading.acquire(blocking=False):
            try:
                if isinstance(self._pieces, Generator):
                    self._pieces.close()
            finally:
                self._reading.release()


@contextmanager
def _in_time() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise ObjectsUnavailable(f"S3 did not answer within {DEADLINE_S:g} s") from None
