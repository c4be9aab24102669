"""What administrators read: tenants, keys, pools, workers, and jobs of any tenant."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cogmill_client.models.base import Answer, Identified, OrNewer
from cogmill_client.models.campaigns import (
    Approval,
    Budget,
    CampaignState,
    Counts,
    Forecast,
    OnDeadline,
    PauseReason,
    Schedule,
    Spent,
)
from cogmill_client.models.keys import Key
from cogmill_client.models.rows import PlanPool

# A limit of one's own: `none` is that there is none, None that the deployment's holds.
OwnLimit = float | Literal["none"] | None


class Tenant(Identified):
    """Who asks for videos; its id is its name."""

    object: Literal["tenant"]
    weight: float
    limits: dict[str, OwnLimit]


class TenantLimit(Answer):
    """One limit: the tenant's own, what holds (None is no limit), and what counts against it now."""

    object: Literal["tenant.limit"]
    limit: str
    own: OwnLimit
    effective: float | None
    used: float | None


class TenantLimits(Answer):
    """Every limit of a tenant."""

    object: Literal["tenant.limits"]
    tenant: str
    data: list[TenantLimit]


class TenantShare(Answer):
    """What a tenant has of a pool."""

    object: Literal["tenant.share"]
    tenant: str
    pool: str
    guaranteed: int
    running: int | None


class TenantBudgetAction(Answer):
    """What happens at a percentage."""

    percent: int
    do: str


class TenantBudget(Answer):
    """What a tenant's campaigns and batches may use in each period."""

    object: Literal["tenant.budget"]
    tenant: str
    period: str
    unit: str
    amount: float
    actions: list[TenantBudgetAction]
    reserved: float
    used: float


class LiftedBudget(Answer):
    """Whether there was one to lift."""

    object: Literal["tenant.budget.deleted"]
    deleted: bool


class TenantKey(Key):
    """A key of some tenant, without its secret."""

    tenant: str


class TenantKeyWithSecret(TenantKey):
    """The whole key is shown once, when it is made."""

    key: str


class PoolPause(Answer):
    """A pause that stands: of one pool, or of the whole queue."""

    object: Literal["pause"]
    of: Literal["pool", "queue"]
    reason: str
    paused_by: str
    paused_at: int


class PoolForecast(Answer):
    """When all that a pool has to render is done; None is never."""

    low_at: int | None
    likely_at: int | None
    high_at: int | None
    made_at: int
    reason: str | None


class Pool(Answer):
    """A pool of workers. While it is paused nothing new begins there."""

    id: str
    object: Literal["pool"]
    model: str
    paused: bool
    pauses: list[PoolPause]
    queued: int
    running: int
    forecast: PoolForecast | None


class WorkerOrder(Answer):
    """What stands for a worker until it is carried out, or lifted."""

    object: Literal["worker.order"]
    kind: Annotated[Literal["drain", "replace"], OrNewer]
    within_s: float | None
    left_s: float | None
    asked_by: str
    asked_at: int


class WorkerRender(Answer):
    """A job that a worker holds, and how far its render is."""

    object: Literal["worker.render"]
    job: str
    tenant: str
    campaign: str | None
    priority: int
    stage: (
        Annotated[
            Literal["assigned", "encoding", "denoising", "preempted", "decoding", "finishing", "uploading", "ended"],
            OrNewer,
        ]
        | None
    )
    step: int
    steps: int
    claimed_at: int


class Worker(Identified):
    """A worker; its id is its cluster and its name, with a colon between."""

    object: Literal["worker"]
    cluster: str
    name: str
    pool: str
    incarnation: str | None
    beat_at: int | None
    state: Annotated[Literal["starting", "loading", "loaded", "broken"], OrNewer] | None
    model: str | None
    failures: int
    reason: str
    detail: str
    adapters: list[str]
    running: int
    renders: list[WorkerRender]
    order: WorkerOrder | None


class JobFailure(Answer):
    """Why an attempt or a job has failed."""

    code: str
    message: str
    retryable: bool


class JobAttempt(Answer):
    """One claim that has ended, and where."""

    object: Literal["job.attempt"]
    number: int
    outcome: Annotated[Literal["succeeded", "failed", "lost", "evicted", "released", "cancelled"], OrNewer]
    cluster: str
    worker: str
    incarnation: str
    gpu_seconds: float
    claimed_at: int
    ended_at: int
    failure: JobFailure | None


class DeadLetterEnd(Answer):
    """Who looked after a dead letter, and how."""

    fate: Annotated[Literal["released", "forgotten"], OrNewer]
    successor: str | None
    ended_by: str
    ended_at: int


class Job(Identified):
    """A job of some tenant, without what it shows."""

    object: Literal["job"]
    tenant: str
    state: Annotated[Literal["held", "queued", "running", "succeeded", "failed", "cancelled"], OrNewer]
    pool: str
    model: str
    priority: int
    size: str
    num_frames: int
    steps: int
    profile: str
    predicted_gpu_seconds: float
    campaign: str | None
    created_at: int
    started_at: int | None
    finished_at: int | None
    cancel_requested: bool
    claims: int
    failures: int
    evictions: int
    max_attempts: int
    stage: str | None
    step: int
    cluster: str | None
    worker: str | None
    incidents: list[str]
    failure: JobFailure | None
    attempts: list[JobAttempt]
    dead_letter: DeadLetterEnd | None


class TenantCampaign(Identified):
    """A campaign of some tenant, without what it shows."""

    object: Literal["campaign"]
    tenant: str
    name: str | None
    state: Annotated[CampaignState, OrNewer]
    pause_reasons: list[Annotated[PauseReason, OrNewer]]
    version: int
    created_at: int
    started_at: int | None
    ended_at: int | None
    run_at: int | None
    deadline: int | None
    on_deadline: Annotated[OnDeadline, OrNewer]
    variants: int
    sample: int
    approval: Annotated[Approval, OrNewer]
    priority: int
    max_running: int | None
    budget: Budget | None
    schedule: Schedule | None
    schedule_of: str | None
    records_read: int
    error_code: str | None
    pools: list[PlanPool]
    approved_gpu_seconds: float | None
    counts: Counts
    spent: Spent
    forecast: Forecast | None
    waiting_for: str | None


class FailureCount(Answer):
    """How many rows failed with a code."""

    code: str
    rows: int


class TenantCampaignWhole(TenantCampaign):
    """The same, with why its rows failed."""

    failures: list[FailureCount]


class TraceSpan(Answer):
    """Something that went on for a while, as a part of its parent; moments are seconds of Unix time."""

    number: int
    parent: int | None
    name: str
    began_at: float
    # None while it goes on.
    ended_at: float | None
    seconds: float
    note: str


class JobTrace(Identified):
    """The life of a job."""

    object: Literal["job.trace"]
    tenant: str
    pool: str
    model: str
    state: Annotated[Literal["held", "queued", "running", "succeeded", "failed", "cancelled"], OrNewer]
    campaign: str | None
    trace_id: str | None
    # Each behind its parent.
    spans: list[TraceSpan]


class Parked(Identified):
    """What was put aside since it broke the loop that met it."""

    object: Literal["parked"]
    kind: Annotated[Literal["batch", "campaign", "event"], OrNewer]
    tenant: str
    error: str
    at: int


class Resumed(Answer):
    """It is met again."""

    id: str
    object: Literal["parked.resumed"]
    resumed: bool


class AuditEntry(Identified):
    """What somebody did, on what, and what it changed. None: nobody's, nothing, or taken by an erasure."""

    object: Literal["audit.entry"]
    # Seconds since 1970.
    at: int
    action: str
    outcome: str
    actor: str | None
    actor_tenant: str | None
    address: str | None
    request_id: str | None
    tenant: str | None
    subject: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    erased: list[str]
    seal: int | None


class Erasure(Identified):
    """The erasure of a tenant, whose name is gone once it is finished."""

    object: Literal["tenant.erasure"]
    status: Annotated[Literal["in_progress", "finished"], OrNewer]
    tenant: str | None
    usage: Annotated[Literal["erased", "kept_unnamed"], OrNewer]
    requested_at: int
    requested_by: str
    erased: dict[str, int]
    waits_for: str | None
    finished_at: int | None
