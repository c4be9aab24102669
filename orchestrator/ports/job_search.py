"""The store of jobs as they are looked for: found by filters, counted by state, seen whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from orchestrator.domain.job_filter import JobFilter
from orchestrator.domain.states import JobState
from orchestrator.ports.any_jobs import JobSeen
from orchestrator.ports.webhooks import WebhookDelivery

# Rows that one search reads at most, and jobs that one count counts at most.
WINDOW = 20_000
MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsFound:
    """A page of a search."""

    jobs: Sequence[JobSeen]
    # The search goes on behind `last`, which need not be one of the jobs.
    has_more: bool
    last: UUID | None
    # Where it stopped although the page is not full: everything up to the job that was created then has been looked at.
    searched_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """How many."""

    count: int
    # Not counted, but estimated.
    about: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What one attempt of a job was booked with."""

    claim: int
    outcome: str
    gpu_seconds: float
    # What limits count; None: the GPU seconds.
    charge: float | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class JobWhole:
    """What is kept of one job beside its row and its attempts."""

    # The database's clock.
    now: datetime
    run_at: datetime
    claimed_at: datetime | None
    cancel_requested_at: datetime | None
    # The id of the key that asked for it.
    made_by: str | None
    custom_id: str | None
    # Where in which trace it was asked for.
    trace: str | None
    # Why its campaign holds it.
    pauses: Sequence[str]
    usage: Sequence[Used]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveriesFound:
    """The deliveries of a job's webhooks."""

    deliveries: Sequence[WebhookDelivery]
    # All that may be its were looked at.
    complete: bool


class JobSearchStore(Protocol):
    """Every method may raise `StoreUnavailable`; deleted jobs are nobody's."""

    async def search_jobs(
        self, wanted: JobFilter, *, limit: int, after: UUID | None = None, newest_first: bool = True
    ) -> JobsFound:
        """Behind the job `after`, which need not be there any more. Reads at most `WINDOW` rows."""
        ...

    async def count_jobs(self, wanted: JobFilter) -> Mapping[JobState, Count]:
        """Of each state, whatever states are wanted. Those beyond `MOST_COUNTED` may be estimated."""
        ...

    async def seen_job(self, job_id: UUID, tenant: str | None) -> JobSeen | None:
        """The same as `any_job`, where it is this tenant's; None is any."""
        ...

    async def whole_job(self, job_id: UUID) -> JobWhole | None: ...

    async def untold_job(self, job_id: UUID) -> bool:
        """Whether its end is to be told, and nobody has yet. Reads all that is to be: no page asks so every time."""
        ...

    async def deliveries_of_job(self, job_id: UUID, tenant: str, *, limit: int) -> DeliveriesFound:
        """The first `limit`, the newest in front. Reads at most `WINDOW` of the tenant's, from the job's end on."""
        ...
