"""One S3 bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from orchestrator.domain.job import Artifact


class Signed(NamedTuple):
    """URLs by key, and the seconds for which they open."""

    reads: dict[str, str]
    writes: dict[str, str]
    lifetime_s: float


class ClaimObjects(Protocol):
    """The bucket as a render needs it: its inputs, and its claim's outputs. The calls are those of `ObjectStore`."""

    def put(self, key: str, data: bytes, content_type: str) -> Artifact: ...

    def upload(
        self, key: str, path: Path, content_type: str, *, on_progress: Callable[[], None] | None = None
    ) -> Artifact: ...

    def get(self, key: str) -> bytes: ...


class ObjectStore(Protocol):
    """One S3 bucket. Calls block, so async code runs them in a thread.

    They raise `ObjectsUnavailable` when S3 does not answer after the retries, `NotFound` for a missing key, and
    `IntegrityError` when what is read back is not what was written.
    """

    def put(self, key: str, data: bytes, content_type: str) -> Artifact:
        """Write a small object and read it back."""
        ...

    def upload(
        self, key: str, path: Path, content_type: str, *, on_progress: Callable[[], None] | None = None
    ) -> Artifact:
        """Upload a file (multipart when it is large), read it back, and compare the SHA-256.

        `on_progress` is called as bytes move in either direction, from several threads; it must not raise.
        """
        ...

    def copy(self, source: str, key: str) -> None:
        """Make another object of an object's bytes and content type, within S3; what `key` was before is replaced.

        For objects of up to 5 GB, which is S3's bound for one copy: a larger one is `ObjectsRefused`.
        """
        ...

    def verify(self, artifact: Artifact, *, on_progress: Callable[[], None] | None = None) -> None:
        """Read the object back in chunks and compare its size and SHA-256."""
        ...

    def get(self, key: str) -> bytes: ...

    def size(self, key: str) -> int:
        """Bytes of the object."""
        ...

    def stream(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes `start` to `end` (inclusive; None is the last) in chunks."""
        ...

    def list_keys(self, prefix: str) -> Iterator[str]: ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete; missing keys are no error."""
        ...

    def presign_put(self, key: str, *, lifetime_s: int) -> str:
        """The same for a PUT, which writes the object, once or several times."""
        ...

    def presign(self, key: str, *, lifetime_s: int, filename: str | None = None) -> str:
        """A GET URL on the public endpoint that opens without a header until `lifetime_s` from now, and says so.

        Signed with temporary credentials it says, and opens, no longer than those are good.
        """
        ...
