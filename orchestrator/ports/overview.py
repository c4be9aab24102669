"""What the overview is told from: how the queue stands, how it stood, and which lives of workers were given up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from orchestrator.domain.outlooks import LaneOutlook


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedLane:
    """What one tenant has in one pool at one priority: waiting and due, and running."""

    pool: str
    priority: int
    tenant: str
    waiting: int = 0
    running: int = 0
    # For how long the oldest that waits might have begun; None where none waits.
    oldest_wait_s: float | None = None


class FlowSubject(StrEnum):
    """What samples are told apart by, one at a time."""

    POOL = "pool"
    PRIORITY = "priority"
    TENANT = "tenant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Jobs that ended, by how."""

    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0

    def __add__(self, other: Ends) -> Ends:
        return Ends(
            succeeded=self.succeeded + other.succeeded,
            failed=self.failed + other.failed,
            cancelled=self.cancelled + other.cancelled,
        )

    @property
    def all(self) -> int:
        return self.succeeded + self.failed + self.cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowPoint:
    """One step of the history: what came and ended in it, and what waited and ran at its end."""

    at: datetime
    accepted: int
    waiting: int
    running: int
    ended: Ends
    # Seconds of workers, and of these those in which they rendered; None where none were seen.
    busy_s: float | None = None
    worker_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """What was seen of a pool in its last samples, for alerts."""

    # The least that waited at the end of any of them.
    least_waiting: int = 0
    busy_s: float = 0.0
    worker_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What else alerts are made of, of one tenant or of all."""

    # Seconds since the newest claim of those that run, by pool.
    claimed_s: Mapping[str, float] = field(default_factory=dict)
    # Campaigns that are at risk, and what would help.
    at_risk: Mapping[str, str] = field(default_factory=dict)
    # Webhooks that were given up within the hour.
    given_up: int = 0
    # Age of the oldest event that is no webhook yet, and of the oldest audit entry without a seal.
    outbox_s: float = 0.0
    unsealed_s: float = 0.0
    # What waits for an administrator; counted up to a thousand.
    dead_letters: int = 0
    parked: int = 0
    # Lives of workers that were given up within six hours, by pool.
    quarantined: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedJob:
    """A job that failed on a worker that was then given up; None is what nobody knows any more."""

    id: str
    tenant: str
    code: str | None
    message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """A life of a worker that got no more jobs, and why."""

    cluster: str
    worker: str
    incarnation: str
    pool: str
    at: datetime
    jobs: Sequence[QuarantinedJob]


class OverviewStore(Protocol):
    """The queue as it stands and stood. Every method may raise `StoreUnavailable`; a tenant of None is all of them."""

    async def queued_lanes(self, tenant: str | None) -> list[QueuedLane]:
        """What is due or runs, by lane. What waits is counted by an index alone."""
        ...

    async def not_due(self, tenant: str | None) -> Mapping[str, int]:
        """What waits for its time, or for a yes, by pool; of one tenant all of it, under the empty name."""
        ...

    async def ends_since(
        self, subject: FlowSubject, name: str | None, *, hours: float, most: int
    ) -> Mapping[str, Ends]:
        """By name, from the samples; those with the most ends."""
        ...

    async def lane_outlooks(self, tenant: str | None) -> list[LaneOutlook]:
        """Those less than ten minutes old."""
        ...

    async def quiet(self, *, minutes: int) -> Mapping[str, Quiet]:
        """By pool."""
        ...

    async def signs(self, tenant: str | None, *, not_codes: Sequence[str]) -> Signs:
        """`not_codes`: failures with these are no dead letters."""
        ...

    async def flow(
        self, subject: FlowSubject, name: str | None, *, since: datetime, until: datetime, step_s: int
    ) -> list[FlowPoint]:
        """The history of one name, or of all of a subject together."""
        ...

    async def list_quarantines(self, *, pool: str | None, limit: int) -> list[Quarantine]:
        """The last ones, newest first."""
        ...


class SampleStore(Protocol):
    """Who samples. Every method may raise `StoreUnavailable`."""

    async def sample_flow(self) -> bool:
        """Whether a sample was taken: by the first who asks in a minute."""
        ...

    async def thin_samples(self) -> int:
        """Merge and delete what is too old for its step; how many rows went."""
        ...

    async def prune_quarantines(self, *, keep_s: float) -> int: ...
