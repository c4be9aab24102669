"""Jobs as their owners find them, and what is done to many at once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cogmill_client.models import admin
from cogmill_client.models.base import Answer, Identified, OrNewer
from cogmill_client.models.videos import Video

JobState = Annotated[Literal["held", "queued", "running", "succeeded", "failed", "cancelled"], OrNewer]
WaitCode = Annotated[
    Literal[
        "paused", "broken", "loading", "starting", "cold", "held", "scheduled", "backing_off", "tenant_limit",
        "pool_limit", "turn", "next", "preempted",
    ],
    OrNewer,
]  # fmt: skip


class Job(Identified):
    """A job in a list."""

    object: Literal["job"]
    state: JobState
    pool: str
    priority: int
    campaign: str | None
    created_at: int
    started_at: int | None
    finished_at: int | None
    cancel_requested: bool
    claims: int
    failures: int
    evictions: int
    max_attempts: int
    cluster: str | None
    worker: str | None
    failure: admin.JobFailure | None
    video: Video


class Reason(Answer):
    """Why a job waits."""

    code: WaitCode
    message: str


class Span(Answer):
    """A stretch of a job's life."""

    attempt: int
    stage: str
    begins_at: float
    ends_at: float | None


class Happening(Answer):
    at: float
    what: str
    attempt: int | None
    detail: str | None


class Used(Answer):
    claim: int
    outcome: str
    gpu_seconds: float
    charge: float
    at: int


class WholeJob(Job):
    """A job with all that befell it."""

    made_by: str | None
    custom_id: str | None
    attempts: list[admin.JobAttempt]
    waits: list[Reason]
    spans: list[Span]
    happenings: list[Happening]
    usage: list[Used]


class JobStory(admin.Job):
    """A job of any tenant with all that befell it, without what it shows."""

    made_by: str | None
    waits: list[Reason]
    spans: list[Span]
    happenings: list[Happening]
    usage: list[Used]


class Count(Answer):
    count: int
    about: bool


class JobCounts(Answer):
    object: Literal["job.counts"]
    states: dict[str, Count]
    total: Count


class Note(Identified):
    object: Literal["note"]
    about: str
    body: str
    author: str
    written_by: str
    created_at: int


class JobFilter(Answer):
    """What a filter says."""

    state: list[JobState] = Field(default_factory=list)
    pool: str | None = None
    model: str | None = None
    priority: int | None = None
    created_from: int | None = None
    created_to: int | None = None
    ended_from: int | None = None
    ended_to: int | None = None
    code: str | None = None
    custom_id: str | None = None
    campaign: str | None = None
    text: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)


class SavedFilter(Identified):
    object: Literal["job_filter"]
    filter: JobFilter
    author: str
    saved_by: str
    saved_at: int


class BulkFailure(Answer):
    job: str
    code: str
    message: str


class BulkAction(Identified):
    """An action on all jobs that matched, and how far it has come."""

    object: Literal["bulk_action"]
    action: Annotated[Literal["cancel", "retry", "priority"], OrNewer]
    tenant: str | None
    filter: JobFilter
    priority: int | None
    state: Annotated[Literal["running", "completed", "cancelled"], OrNewer]
    asked_by: str
    asked_at: int
    ended_at: int | None
    expected: Count
    matched: int
    done: int
    skipped: dict[str, int]
    failed: dict[str, int]
    examples: list[BulkFailure]
    waits_for: str | None

    @property
    def ended(self) -> bool:
        return self.ended_at is not None
