"""The store of batches, and how a dialect reads and writes their lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from orchestrator.domain.batch import Batch, BatchStatus, Item, ItemError, LineError
from orchestrator.domain.job import Artifact, Job
from orchestrator.domain.request import VideoRequest
from orchestrator.ports.campaign_values import Hold
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
    # The key that makes it, and with it its jobs.
    made_by: str | None = None
    # Where in which trace it was asked for.
    trace: str | None = None


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
    """Batches' faces in PostgreSQL. Every method may raise `StoreUnavailable`; none is half done then.

    What works on their rows is in `CampaignStore`.
    """

    async def add_batch(self, batch: NewBatch, *, priority: int) -> Batch:
        """Insert one, and its rows' place; `priority` is that of their jobs.

        Raises `LimitExceeded` where its tenant's quotas have no room, however many come at once.
        """
        ...

    async def get_batch(self, batch_id: str, tenant: str) -> Batch | None: ...

    async def list_batches(self, tenant: str, *, limit: int, after: str | None = None) -> BatchPage:
        """Batches behind the id `after`, whether that one still exists or not."""
        ...

    async def cancel_batch(self, batch_id: str, tenant: str) -> Batch | None:
        """Ask for the end of a batch that is validating or in progress; the batch as it stands then."""
        ...

    async def end_batch(self, hold: Hold, end: BatchEnd) -> None:
        """The last write: status, counts, files, the input's tombstone and the outbox row in one transaction.

        Raises `LeaseLost`, and writes nothing, when another holds the batch now, or it has changed.
        """
        ...

    async def adopt_batches(self, *, priority: int) -> int:
        """Take over what the release before has begun; how many."""
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
