"""The store of batches and their requests, and how a dialect reads and writes their lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from orchestrator.domain.batch import Batch, BatchStatus, Item, ItemError, LineError, NewItem, Tally
from orchestrator.domain.job import Artifact, Job
from orchestrator.domain.request import VideoRequest
from orchestrator.ports.files import NewFile


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """What `add_batch` inserts, as `validating`. `Batch` explains the fields that it has, too."""

    id: str
    tenant: str
    dialect: str
    endpoint: str
    completion_window: str
    # Seconds from its insertion to its expiry.
    window_s: float
    input_file: str
    delete_input: bool
    output_lifetime_s: float | None
    metadata: Mapping[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A batch as who works on it holds it."""

    batch: Batch
    # Fresh for each lease. Whatever the holder writes is filtered on it.
    token: UUID
    # Its time was over at the moment of the lease.
    overdue: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPage:
    """A page of a tenant's batches, the newest first."""

    batches: Sequence[Batch]
    # The listing goes on after the last of them.
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEnd:
    """How a batch ended."""

    # Its last.
    status: BatchStatus
    # Why its file was not accepted.
    errors: Sequence[LineError] | None = None
    # Lines that ended in a video, and without one.
    completed: int = 0
    failed: int = 0
    # Its files, whose objects are in S3 already.
    output: NewFile | None = None
    error_output: NewFile | None = None


class BatchStore(Protocol):
    """Batches in PostgreSQL. Every method may raise `StoreUnavailable`; none is half done then.

    Those that take a `Hold` raise `LeaseLost`, and write nothing, when another holds the batch now, or its status is no
    longer the hold's.
    """

    # for its owner
    async def add_batch(self, batch: NewBatch) -> Batch: ...

    async def get_batch(self, batch_id: str, tenant: str) -> Batch | None: ...

    async def list_batches(self, tenant: str, *, limit: int, after: str | None = None) -> BatchPage:
        """Batches behind the id `after`, whether that one still exists or not."""
        ...

    async def cancel_batch(self, batch_id: str, tenant: str) -> Batch | None:
        """Ask for the end of a batch that is validating or in progress; the batch as it stands then."""
        ...

    # for whoever works on it
    async def lease_batch(self, lease_s: float) -> Hold | None:
        """The live batch that has waited longest and that nobody holds; None when none is due."""
        ...

    async def renew_batch(self, hold: Hold, lease_s: float) -> None:
        """Go on holding it, whatever its status is by now."""
        ...

    async def release_batch(self, hold: Hold, *, pause_s: float) -> None:
        """Let go; nobody needs to look at it for `pause_s` seconds. Does nothing when another holds it."""
        ...

    async def park_batch(self, hold: Hold, error: str) -> None:
        """Let go of what nobody foresaw, and keep `error` as evidence: nobody looks at it before it expires.

        Then once more, to end it, and then never, unless `unpark_batch` or a cancel wakes it. Does nothing when another
        holds it.
        """
        ...

    async def add_items(self, hold: Hold, items: Sequence[NewItem]) -> None:
        """Insert requests; those whose line is there already stay as they are."""
        ...

    async def begin_batch(self, hold: Hold, *, total: int) -> None:
        """validating -> in_progress."""
        ...

    async def settle_items(self, hold: Hold) -> Tally:
        """Note which submitted requests have ended since."""
        ...

    async def waiting_items(self, hold: Hold, *, limit: int) -> list[NewItem]:
        """The next requests to submit, in the order of the file."""
        ...

    async def record_items(self, hold: Hold, submitted: Sequence[int], refused: Mapping[int, ItemError]) -> None:
        """Note which waiting lines have a job now, and which were refused one."""
        ...

    async def drop_items(self, hold: Hold, error: ItemError) -> list[UUID]:
        """End what still waits with `error`, and note it for what has not ended; jobs that are to be cancelled."""
        ...

    async def finalize_batch(self, hold: Hold) -> None:
        """in_progress -> finalizing."""
        ...

    async def ended_items(self, hold: Hold, *, after: int, limit: int) -> list[tuple[Item, Job | None]]:
        """Requests behind the line `after`, in order, each with its job unless that is gone or deleted."""
        ...

    async def end_batch(self, hold: Hold, end: BatchEnd) -> None:
        """The last write: status, counts, files, the input's tombstone and the outbox row in one transaction."""
        ...

    # keeping house
    async def ended_batches(self, *, older_than_s: float, limit: int) -> dict[str, str]:
        """Ids and tenants of batches that ended so long ago and still have items."""
        ...

    async def live_jobs(self, batch_id: str) -> list[UUID]:
        """Jobs of a batch's items that have not ended."""
        ...

    async def prune_items(self, batch_id: str, *, limit: int) -> int:
        """Delete items of a batch that has ended; how many."""
        ...

    async def prune_batches(self, *, keep_s: float) -> int:
        """Delete batches without items that ended `keep_s` ago; how many."""
        ...


Sign = Callable[[Artifact, str | None], str]


class Lines(Protocol):
    """How one dialect reads the lines of a batch and writes its answers. Pure but for `sign`."""

    def request(self, body: Mapping[str, Any], job_id: UUID) -> VideoRequest:
        """The request in a line's body. Raises a `RequestError`."""
        ...

    def answer(self, batch: Batch, item: Item, job: Job, sign: Sign) -> Mapping[str, Any]:
        """The line of a request whose job has ended. `sign` makes an artefact's URL, under a file name or its own."""
        ...

    def refusal(self, batch: Batch, item: Item, error: ItemError) -> Mapping[str, Any]:
        """The line of a request that was not accepted."""
        ...

    def undone(self, batch: Batch, item: Item, error: ItemError) -> Mapping[str, Any]:
        """The line of a request that was not rendered to an end."""
        ...
