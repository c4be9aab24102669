"""The store of jobs, leases and heartbeats."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol
from uuid import UUID

from orchestrator.domain.job import Artifact, Checkpoint, Claim, Failure, Incident, Job, NewJob, WorkerRef
from orchestrator.domain.loading import WorkerLoad
from orchestrator.domain.outcome import AttemptOutcome, Settlement
from orchestrator.domain.outlooks import LaneOutlook
from orchestrator.domain.pausing import Pause
from orchestrator.domain.states import JobState
from orchestrator.domain.waiting import Turn
from orchestrator.domain.warmth import Warmth
from orchestrator.domain.worker_time import Spent
from orchestrator.policy.guarantees import Standing


class Settled(StrEnum):
    """What a guarded write found."""

    # This write ended the claim.
    APPLIED = "applied"
    # An earlier write with this token ended it, and its reply was lost.
    ALREADY = "already"
    # The token is no longer the row's. The caller must stop, and delete nothing.
    STALE = "stale"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleResult:
    """What became of one settlement."""

    settled: Settled
    # Where the job stands now: `cancelled` when a request came first. None when the job is gone.
    state: JobState | None
    # From when until when the claim was held, by the database's clock; None where this write did not end it.
    claimed_at: datetime | None = field(default=None, compare=False)
    ended_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One running render's place."""

    job_id: UUID
    # It is written only while the row carries it.
    token: UUID
    # The word of a `Stage`.
    stage: str
    # Denoise steps done.
    step: int
    preview: Artifact | None = None
    # None keeps the last one.
    checkpoint: Checkpoint | None = None
    incidents: tuple[Incident, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A worker's row."""

    cluster: str
    worker: WorkerRef
    pool: str
    # Grows by one each time its dispatcher has heard from it.
    beat: int
    # Once false, for good.
    alive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of a tenant's jobs, in the order asked for."""

    jobs: Sequence[Job]
    # The listing goes on after the last of them.
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedAttempt:
    """How one claim of a job ended."""

    # The claim's.
    number: int
    outcome: AttemptOutcome
    failure: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A job as it stands, and how it came there."""

    job: Job
    # In the order of their numbers.
    ended: Sequence[EndedAttempt]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """How many jobs of a pool are in a live state."""

    pool: str
    state: JobState
    count: int
    # For how long the oldest has been in it.
    oldest_age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A job whose objects may be deleted."""

    job_id: UUID
    # None: all go, and then the row. Else the row stays, and of the claim of this number all but the checkpoints; 0 is
    # no claim's number.
    keep: int | None = None


class JobStore(Protocol):
    """Jobs, leases and heartbeats in PostgreSQL. Every method may raise `StoreUnavailable`; none is half done then."""

    # submitting and reading
    async def submit(self, job: NewJob) -> Job:
        """Insert one job, `queued` (or `held`); returns after the commit. Concurrent calls share a transaction.

        The first job of the same idempotency key is returned in its place; `KeyReused` when its request was another.
        Raises `LimitExceeded` when the tenant may have no more, and inserts nothing then.
        """
        ...

    async def find_submitted(self, tenant: str, idempotency_key: str) -> tuple[Job, str | None] | None:
        """The job that was submitted with this key, and the hash of its request."""
        ...

    async def get(self, job_id: UUID, tenant: str) -> Job | None: ...

    async def snapshots(self, ids: Collection[UUID]) -> Mapping[UUID, Snapshot]:
        """Those of these jobs, of any tenant, that are there, in one statement."""
        ...

    async def list_jobs(
        self, tenant: str, *, limit: int, after: UUID | None = None, order: Literal["asc", "desc"] = "desc"
    ) -> Page:
        """Jobs by creation order. Raises `NotFound` when `after` is no job of this tenant."""
        ...

    async def request_cancel(self, job_id: UUID, tenant: str, *, recorded: bool = False) -> Job | None:
        """Cancel a waiting job at once, or leave a running one a request; the job as it stands then.

        `recorded` in the audit log where it changes anything: somebody else than its owner asks.
        """
        ...

    async def delete(self, job_id: UUID, tenant: str) -> bool:
        """Cancel if need be and hide the job from its owner: a tombstone, until its objects are swept."""
        ...

    # owning
    async def deployment_id(self) -> str:
        """The id of this database's deployment, made at the first migration; names the Ray namespace."""
        ...

    async def check_writes(self) -> None:
        """Raise `StoreUnavailable` unless the database takes writes."""
        ...

    async def next_epoch(self, cluster: str) -> int:
        """A number for a dispatcher of `cluster` that is greater than every earlier one."""
        ...

    async def claim(
        self,
        pool: str,
        cluster: str,
        slots: Sequence[WorkerRef],
        *,
        more_urgent_than: int | None = None,
        warm: Mapping[WorkerRef, Warmth] | None = None,
        without: Collection[str] = (),
    ) -> list[Claim]:
        """Claim up to one job per slot, shared fairly, each with a fresh token; no more than are ready.

        None while the pool is paused. With `more_urgent_than`, only jobs of a smaller priority number; `without` these
        tenants', whose lanes stay as they are. What workers are `warm` for orders who of the claimed gets which slot,
        and nothing else.
        """
        ...

    async def running(self, cluster: str) -> list[Claim]:
        """Every running claim of this cluster, as adoption and reconciliation need them. `age_s` is set."""
        ...

    async def cancel_requests(self, cluster: str) -> set[UUID]:
        """Tokens of running claims of this cluster whose owner asked to cancel."""
        ...

    async def settle(self, settlements: Sequence[Settlement]) -> list[SettleResult]:
        """End claims: state, attempt, usage, lane and outbox in one transaction. A result each, in order."""
        ...

    async def record_progress(self, progress: Sequence[Progress]) -> None:
        """Where renders stand; silently drops what no longer owns its row."""
        ...

    async def beat(self, cluster: str, workers: Mapping[WorkerRef, str]) -> set[WorkerRef]:
        """Register or beat these workers (worker to pool); returns those that were declared dead before."""
        ...

    async def record_loads(self, cluster: str, loads: Sequence[WorkerLoad]) -> None:
        """How all workers of this cluster stand with their models; what is not among them is forgotten."""
        ...

    async def record_quarantine(self, cluster: str, worker: WorkerRef, pool: str, jobs: Collection[UUID]) -> None:
        """A life of a worker gets no more jobs, since these failed there one after the other. Once, however often."""
        ...

    async def record_worker_time(self, sums: Sequence[Spent]) -> None:
        """Add to what workers have spent in this hour, by the database's clock."""
        ...

    async def worker_loads(self) -> list[WorkerLoad]:
        """What the dispatchers of all clusters have recorded last, if that was within ten minutes."""
        ...

    async def turn(self, job_id: UUID) -> Turn | None:
        """Where a job stands in its pool's queue; None for one that is not queued."""
        ...

    async def lane_outlook(self, pool: str, tenant: str, priority: int) -> LaneOutlook | None:
        """When jobs of this lane begin, else those of whoever comes new at its priority or the next less urgent one.

        None where nothing is known that is less than ten minutes old.
        """
        ...

    async def campaign_turn(self, number: int) -> Turn | None:
        """The same of a campaign's first job; None for one that has none in the queue."""
        ...

    async def wake_due(self) -> int:
        """Make queued jobs whose time has come claimable; how many."""
        ...

    def wakeups(self) -> AbstractAsyncContextManager[Wakeups]:
        """Listen for new work, from this process or another."""
        ...

    # rescuing
    async def heartbeats(self) -> list[Heartbeat]:
        """Every worker that is alive by its row."""
        ...

    async def declare_dead(self, cluster: str, worker: WorkerRef, *, beat: int | None = None) -> bool:
        """Mark one incarnation dead for good; with `beat`, only if it has not beaten since. False if it had, or was."""
        ...

    async def orphaned(self) -> list[Claim]:
        """Running claims whose worker is dead by its row, or has none."""
        ...

    # sharing
    async def standings(self, pool: str) -> list[Standing]:
        """How tenants stand in a pool where one runs less than it is guaranteed and has jobs waiting; else nothing."""
        ...

    # pausing
    async def pause(self, pool: str, *, reason: str, by: str) -> None:
        """Let no claim be made of a pool, or of any (`EVERY`), from now on. One that stands gets the new reason."""
        ...

    async def resume(self, pool: str, *, by: str) -> bool:
        """End the pause of a pool, or the one of `EVERY`; False when none stands."""
        ...

    async def pauses(self) -> list[Pause]:
        """The last pause of each pool and of `EVERY`, whether it stands or not."""
        ...

    # keeping house
    async def queue_depth(self) -> list[QueueDepth]: ...

    async def objects_to_sweep(self, *, keep_s: float, losers_after_s: float, limit: int) -> list[Sweep]:
        """Deleted jobs, jobs that ended `keep_s` ago, and ended jobs with losing claims `losers_after_s` ago.

        A deleted job with losing claims comes at once, and then again; so does an ended one that has checkpoints.
        """
        ...

    async def swept(self, sweeps: Sequence[Sweep]) -> None:
        """The objects are gone: drop the tombstones and pruned rows, remember what lost its losers' or checkpoints."""
        ...

    async def prune_history(self, *, keep_s: float) -> int:
        """Delete what is older than `keep_s` seconds of the outbox, of dead workers and of ended clusters' orders."""
        ...


class Wakeups(Protocol):
    """A subscription to new work."""

    async def wait(self, timeout_s: float) -> bool:
        """Wait for work or the timeout; True when something was announced. Several announcements may come as one."""
        ...
