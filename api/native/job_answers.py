"""A job as its owner reads it: its video, who had it when, why it waits, what it used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Self

from pydantic import BaseModel, Field, JsonValue

from api.admin.job_answers import JOB_EXAMPLE, JobAttempt, JobFailure, attempt_of, failure_of
from api.openai.schemas import VIDEO_EXAMPLE, Video
from api.openai.translate import video_of
from api.wire.paging import Identified, Item, Listing
from api.wire.replies import unix
from orchestrator.domain.job import public_id
from orchestrator.domain.life import Happening, Span
from orchestrator.domain.states import JobState
from orchestrator.domain.waiting import WaitCode
from orchestrator.intake.job_search import JobStory
from orchestrator.ports.any_jobs import JobSeen
from orchestrator.ports.job_search import Count, JobsFound

ROW_EXAMPLE: dict[str, JsonValue] = {
    **{
        name: JOB_EXAMPLE[name]
        for name in (
            "id", "state", "pool", "priority", "campaign", "created_at", "started_at", "finished_at",
            "cancel_requested", "claims", "failures", "evictions", "max_attempts", "cluster", "worker", "failure",
        )
    },
    "object": "job",
    "video": VIDEO_EXAMPLE,
}  # fmt: skip
_SPAN: dict[str, JsonValue] = {"attempt": 1, "stage": "waiting", "begins_at": 1758941485.0, "ends_at": 1758941490.25}
STORY_EXAMPLE: dict[str, JsonValue] = {
    **ROW_EXAMPLE,
    "made_by": "cgm_Zk41mP0aQe8RtUv3",
    "custom_id": None,
    "attempts": JOB_EXAMPLE["attempts"],
    "waits": [{"code": "turn", "message": "its turn: before it go 3 of its own tenant's (540 GPU seconds)"}],
    "spans": [_SPAN],
    "happenings": [{"at": 1758941485.0, "what": "accepted", "attempt": None, "detail": None}],
    "usage": [{"claim": 1, "outcome": "lost", "gpu_seconds": 112.0, "charge": 112.0, "at": 1758942485}],
}
COUNTS_EXAMPLE: dict[str, JsonValue] = {
    "object": "job.counts",
    "states": {state.value: {"count": 3, "about": False} for state in JobState},
    "total": {"count": 18, "about": False},
}


class Reason(BaseModel):
    """Why a job waits."""

    code: WaitCode
    message: str


class SpanObject(BaseModel):
    """A stretch of a job's life. Times are Unix seconds with their fractions."""

    attempt: int = Field(description="The claim's number; of waiting, that of the claim that ended it, or would.")
    stage: str = Field(
        description="`waiting`; `claim` and `assignment` (the way to its worker), `assigned` (its input is loaded), "
        "`encoding`, `denoising`, `preempted`, `decoding`, `finishing`, `uploading`; or `rendering`, where no more is "
        "known of an attempt."
    )
    begins_at: float
    ends_at: float | None = Field(description="Null while it goes on.")


class HappeningObject(BaseModel):
    """One thing that befell a job."""

    at: float
    what: str = Field(
        description="`accepted`, `claimed`, `attempt_ended`, `cancel_requested`, `succeeded`, `failed`, `cancelled`."
    )
    attempt: int | None
    detail: str | None = Field(description="The worker, how an attempt ended, or a failure's code.")


class UsedObject(BaseModel):
    """What an attempt was booked with."""

    claim: int
    outcome: str
    gpu_seconds: float
    charge: float = Field(description="What limits count of it.")
    at: int


class JobRow(Identified):
    """A job in a list: its video as `/v1/videos` has it, and what became of it so far."""

    object: Literal["job"] = "job"
    state: JobState
    pool: str
    priority: int
    campaign: str | None = Field(description="The campaign or the batch that it is a row of.")
    created_at: int
    started_at: int | None
    finished_at: int | None
    cancel_requested: bool
    claims: int
    failures: int = Field(description="Counted against `max_attempts`.")
    evictions: int
    max_attempts: int
    cluster: str | None
    worker: str | None = Field(description="Who holds it, or ended it.")
    failure: JobFailure | None
    video: Video


class Searched(Listing[Item]):
    """A page of what was searched for.

    `last_id` is where the next page goes on, which need not be the last job of this one: a search reads so many rows
    and no more, and says by `searched_until` how far it has come.
    """

    searched_until: int | None = Field(
        None, description="All jobs created since (or until, in ascending order) were looked at; null: no need to say."
    )

    @classmethod
    def found(cls, found: JobsFound, items: Sequence[Item]) -> Self:
        """The page of these objects of what was found."""
        page = cls.of(items, has_more=found.has_more)
        last = page.last_id if found.last is None else public_id(found.last)
        return page.model_copy(update={"last_id": last, "searched_until": unix(found.searched_until)})


class JobRows(Searched[JobRow]):
    """A page of a tenant's jobs."""


class OwnJob(JobRow):
    """A job whole."""

    made_by: str | None = Field(description="The id of the key that asked for it.")
    custom_id: str | None = Field(description="Of a row of a campaign or a batch.")
    attempts: list[JobAttempt] = Field(description="In their order.")
    waits: list[Reason] = Field(description="Why it waits: what must change first comes first.")
    spans: list[SpanObject] = Field(description="Its life in stretches, in order.")
    happenings: list[HappeningObject]
    usage: list[UsedObject]


class CountObject(BaseModel):
    """How many."""

    count: int
    about: bool = Field(description="Estimated, where counting would take long.")


class JobCounts(BaseModel):
    """How many jobs stand how."""

    object: Literal["job.counts"] = "job.counts"
    states: dict[JobState, CountObject]
    total: CountObject


def row_of(seen: JobSeen, *, keep_s: float) -> JobRow:
    """A job in a list."""
    job = seen.job
    return JobRow(
        id=public_id(job.id),
        state=job.state,
        pool=job.pool,
        priority=job.priority,
        campaign=seen.campaign,
        created_at=unix(job.created_at),
        started_at=unix(job.started_at),
        finished_at=unix(job.finished_at),
        cancel_requested=job.cancel_requested,
        claims=job.claims,
        failures=job.failures,
        evictions=job.evictions,
        max_attempts=job.max_attempts,
        cluster=seen.cluster,
        worker=seen.worker,
        failure=failure_of(job.failure),
        video=video_of(job, keep_s=keep_s),
    )


def page_of(found: JobsFound, *, keep_s: float) -> JobRows:
    """A page of a search."""
    return JobRows.found(found, [row_of(each, keep_s=keep_s) for each in found.jobs])


def own_of(story: JobStory, *, keep_s: float) -> OwnJob:
    """A job whole."""
    row = row_of(replace(story.seen, job=story.job), keep_s=keep_s)
    return OwnJob(
        **{name: getattr(row, name) for name in JobRow.model_fields},
        made_by=story.made_by,
        custom_id=story.custom_id,
        attempts=[attempt_of(each) for each in story.seen.attempts],
        **life_of(story),
    )


def life_of(story: JobStory) -> dict[str, list[BaseModel]]:
    """What owners and administrators are both told of it."""
    return {
        "waits": [Reason(code=wait.code, message=wait.message) for wait in story.waits],
        "spans": [_span(span) for span in story.spans],
        "happenings": [_happening(each) for each in story.happenings],
        "usage": [
            UsedObject(
                claim=used.claim,
                outcome=used.outcome,
                gpu_seconds=used.gpu_seconds,
                charge=used.gpu_seconds if used.charge is None else used.charge,
                at=unix(used.at),
            )
            for used in story.usage
        ],
    }


def counts_of(found: dict[JobState, Count]) -> JobCounts:
    """The counts of each state, and of all."""
    states = {state: CountObject(count=each.count, about=each.about) for state, each in found.items()}
    about = any(each.about for each in states.values())
    return JobCounts(states=states, total=CountObject(count=sum(each.count for each in states.values()), about=about))


def _span(span: Span) -> SpanObject:
    ends = None if span.ends is None else span.ends.timestamp()
    return SpanObject(attempt=span.attempt, stage=span.stage, begins_at=span.begins.timestamp(), ends_at=ends)


def _happening(each: Happening) -> HappeningObject:
    return HappeningObject(at=each.at.timestamp(), what=each.what, attempt=each.attempt, detail=each.detail)
