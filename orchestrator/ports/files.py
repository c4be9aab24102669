"""The store of files that tenants upload and that batches leave behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from orchestrator.domain.job import Artifact


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    """A file whose object is in S3 already."""

    id: str
    tenant: str
    # What it is for, in the dialect's word: `batch`, `vision`.
    purpose: str
    # Its caller's name for it.
    filename: str
    object: Artifact
    # Seconds from its row's creation; None is for ever.
    lifetime_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A row as its owner may read it."""

    id: str
    tenant: str
    purpose: str
    filename: str
    object: Artifact
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePage:
    """A page of a tenant's files, in the order asked for."""

    files: Sequence[File]
    # The listing goes on after the last of them.
    has_more: bool


class FileStore(Protocol):
    """Files in PostgreSQL. Every method may raise `StoreUnavailable`; none is half done then."""

    async def check_room(self, tenant: str, *, files: int, size: int) -> None:
        """Raise `LimitExceeded` where the tenant's quotas have no room now for so many more files of so many bytes."""
        ...

    async def add_file(self, file: NewFile) -> File:
        """Insert the row; a second call with the same id returns the first's.

        Raises `LimitExceeded` as `check_room` does, however many come at once; the object of that one is swept.
        """
        ...

    async def get_file(self, file_id: str, tenant: str) -> File | None: ...

    async def list_files(
        self,
        tenant: str,
        *,
        limit: int,
        after: str | None = None,
        order: Literal["asc", "desc"] = "desc",
        purpose: str | None = None,
    ) -> FilePage:
        """Files by creation order, behind the id `after`, whether that one still exists or not."""
        ...

    async def delete_file(self, file_id: str, tenant: str) -> bool:
        """Hide the file from its owner: a tombstone, until its object is swept, which a batch that reads it delays."""
        ...

    async def files_to_sweep(self, *, limit: int) -> dict[str, str]:
        """Bury what has expired; then ids and object keys of files whose objects may be deleted."""
        ...

    async def files_swept(self, ids: Sequence[str]) -> None:
        """The objects are gone: drop the tombstones."""
        ...

    async def add_up_stored(self) -> int:
        """Add what has come and gone to what its tenants have; how many changes these were, thousands at most."""
        ...

    async def files_unknown(self, made: Mapping[str, datetime], *, older_than_s: float) -> set[str]:
        """Those ids (with the time of each) that no row has and that are older than that."""
        ...
