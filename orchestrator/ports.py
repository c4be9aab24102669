"""What the loops and use-cases may touch: the store, the workers, the objects, the clock. One contract suite each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol
from uuid import UUID

from orchestrator.config import LogSettings, S3Settings
from orchestrator.domain.job import Artifact, Claim, Job, NewJob, WorkerRef
from orchestrator.domain.outcome import Settlement
from orchestrator.domain.protocol import Answer, Assignment, Caller, WorkerStatus
from orchestrator.domain.states import JobState

# ---------------------------------------------------------------- the store


class Settled(StrEnum):
    """What a guarded write found.

    `applied`: this write ended the claim. `already`: an earlier write with this token did, and its reply was lost.
    `stale`: the token is no longer the row's; the caller must stop and delete nothing.
    """

    APPLIED = "applied"
    ALREADY = "already"
    STALE = "stale"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleResult:
    """`state` is where the job stands now (`cancelled` when the request came first); None when the job is gone."""

    settled: Settled
    state: JobState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One running render's place, written only while the row carries `token`."""

    job_id: UUID
    token: UUID
    stage: str
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A worker's row. `beat` grows by one each time its dispatcher has heard from it; `alive` ends for good."""

    cluster: str
    worker: WorkerRef
    pool: str
    beat: int
    alive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """`jobs` in the order asked for; `has_more` when the listing goes on after the last of them."""

    jobs: Sequence[Job]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """How many jobs of a pool are in a live state, and for how long the oldest has waited there, in seconds."""

    pool: str
    state: JobState
    count: int
    oldest_age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A job whose objects may be deleted, in whole or (losers) but for the winning claim's prefix `keep`."""

    job_id: UUID
    keep: int | None = None


class JobStore(Protocol):
    """Jobs, leases and heartbeats in PostgreSQL. Every method may raise `StoreUnavailable`; none is half done then."""

    # submitting and reading
    async def submit(self, job: NewJob) -> Job:
        """Insert one job, `queued` (or `held`); returns after the commit. Concurrent calls share a transaction."""
        ...

    async def get(self, job_id: UUID, tenant: str) -> Job | None: ...

    async def list_jobs(
        self, tenant: str, *, limit: int, after: UUID | None = None, order: Literal["asc", "desc"] = "desc"
    ) -> Page:
        """Jobs by creation order. Raises `NotFound` when `after` is no job of this tenant."""
        ...

    async def request_cancel(self, job_id: UUID, tenant: str) -> Job | None:
        """Cancel a waiting job at once, or leave a running one a request; the job as it stands then."""
        ...

    async def delete(self, job_id: UUID, tenant: str) -> bool:
        """Cancel if need be and hide the job from its owner: a tombstone, until its objects are swept."""
        ...

    # owning
    async def deployment_id(self) -> str:
        """The id of this database's deployment, made at the first migration; names the Ray namespace."""
        ...

    async def next_epoch(self, cluster: str) -> int:
        """A number for a dispatcher of `cluster` that is greater than every earlier one."""
        ...

    async def claim(self, pool: str, cluster: str, slots: Sequence[WorkerRef]) -> list[Claim]:
        """Claim up to one job per slot, shared fairly, each with a fresh token; no more than are ready."""
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

    # keeping house
    async def queue_depth(self) -> list[QueueDepth]: ...

    async def objects_to_sweep(self, *, keep_s: float, losers_after_s: float, limit: int) -> list[Sweep]:
        """Deleted jobs, jobs that ended `keep_s` ago, and ended jobs with losing claims `losers_after_s` ago."""
        ...

    async def swept(self, sweeps: Sequence[Sweep]) -> None:
        """The objects are gone: drop the tombstones and pruned rows, remember the losers as swept."""
        ...

    async def prune_history(self, *, keep_s: float) -> int:
        """Delete outbox rows and dead workers' rows that are older than `keep_s` seconds; how many."""
        ...


class Wakeups(Protocol):
    """A subscription to new work."""

    async def wait(self, timeout_s: float) -> bool:
        """Wait for work or the timeout; True when something was announced. Several announcements may come as one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as the database knows it: no secret, which is derived from the master key and `id`."""

    id: str
    tenant: str
    name: str
    created_at: datetime
    revoked_at: datetime | None = None


class KeyStore(Protocol):
    """API keys and the tenants that they belong to."""

    async def add_key(self, key_id: str, tenant: str, name: str) -> ApiKey:
        """Insert a key, and its tenant if it is new."""
        ...

    async def list_keys(self, tenant: str | None = None) -> list[ApiKey]: ...

    async def revoke_key(self, key_id: str) -> bool:
        """Revoke for good; False when there is no such key or it was revoked before."""
        ...

    async def find_key(self, key_id: str) -> ApiKey | None: ...


# ---------------------------------------------------------------- the workers


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """All it takes to start one worker: its name, its pool, the checkpoint to load, and the bucket to upload to.

    `family` names the catalogue's entry; `path` is a diffusers checkpoint's directory on the worker's node.
    """

    name: str
    pool: str
    model: str
    family: str
    path: Path
    s3: S3Settings
    log: LogSettings = field(default_factory=LogSettings)
    gpus: int = 1

    @property
    def fingerprint(self) -> str:
        """16 hex digits that differ when anything differs that a running worker would not notice."""
        secret = self.s3.secret_key.get_secret_value() if self.s3.secret_key is not None else ""
        told = (self.model, self.family, self.path, self.gpus, self.s3.model_dump_json(), secret, self.log)
        return hashlib.sha256(repr(tuple(map(str, told))).encode()).hexdigest()[:16]


class WorkerPool(Protocol):
    """The workers of one cluster in one deployment's namespace.

    Calls raise `WorkerUnreachable`, `WorkerLost` or `StaleEpoch`; none of them waits on a render.
    """

    async def list_workers(self) -> list[str]:
        """Names of the workers that exist now, whoever started them."""
        ...

    async def start(self, plan: WorkerPlan) -> None:
        """Start a worker, detached; does nothing when one of that name exists."""
        ...

    async def kill(self, name: str, *, restart: bool) -> None:
        """End its process now. With `restart` it comes back as a new incarnation; without, it is gone."""
        ...

    async def poll(self, name: str, caller: Caller, *, version: int, timeout_s: float) -> WorkerStatus:
        """The worker's state, as soon as its version differs from `version`, or after `timeout_s`."""
        ...

    async def assign(self, name: str, caller: Caller, assignment: Assignment) -> Answer: ...

    async def release(self, name: str, caller: Caller, token: UUID) -> bool:
        """Take back an assignment that has not started; it ends as `Stopped`. False when it has, or is not held."""
        ...

    async def cancel(self, name: str, caller: Caller, token: UUID) -> None:
        """Stop a render within one denoise step; it ends as `Stopped`. Unknown tokens are ignored."""
        ...

    async def forget(self, name: str, caller: Caller, token: UUID) -> None:
        """Drop an ended render. Unknown tokens are ignored."""
        ...

    async def drain(self, name: str, caller: Caller) -> None:
        """Accept no more assignments; what is held goes on to its end."""
        ...


# ---------------------------------------------------------------- the objects


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

    def presign(self, key: str, *, lifetime_s: int, filename: str | None = None) -> str:
        """A GET URL on the public endpoint that opens without a header until `lifetime_s` from now."""
        ...


class Clock(Protocol):
    """Time for the loops, in seconds: monotonic to measure, asleep to wait."""

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...
