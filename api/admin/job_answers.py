"""A job as administrators read it: what was asked of the fleet, where it went, what befell it; no prompt, no video."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from api.wire.paging import Identified
from api.wire.replies import unix
from orchestrator.domain.job import Failure, public_id
from orchestrator.domain.life import Attempt
from orchestrator.domain.outcome import AttemptOutcome
from orchestrator.domain.states import JobState
from orchestrator.ports.any_jobs import Fate, JobSeen, LetterEnd

_FAILURE: dict[str, JsonValue] = {
    "code": "worker_lost",
    "message": "the worker main-0 vanished while it held the render",
    "retryable": True,
}
JOB_EXAMPLE: dict[str, JsonValue] = {
    "id": "video_0198c5a7e3b97d6f8a0c1f2e3d4c5b6a",
    "object": "job",
    "tenant": "acme",
    "state": "failed",
    "pool": "main",
    "model": "cogvideox-5b",
    "priority": 10,
    "size": "720x480",
    "num_frames": 49,
    "steps": 50,
    "profile": "exact",
    "predicted_gpu_seconds": 180.5,
    "campaign": None,
    "created_at": 1758941485,
    "started_at": 1758941490,
    "finished_at": 1758942485,
    "cancel_requested": False,
    "claims": 3,
    "failures": 3,
    "evictions": 0,
    "max_attempts": 3,
    "stage": "denoising",
    "step": 31,
    "cluster": "default",
    "worker": "main-0",
    "incidents": ["preempted"],
    "failure": _FAILURE,
    "attempts": [
        {
            "object": "job.attempt",
            "number": 3,
            "outcome": "lost",
            "cluster": "default",
            "worker": "main-0",
            "incarnation": "6f1c0a",
            "gpu_seconds": 112.0,
            "claimed_at": 1758942301,
            "ended_at": 1758942485,
            "failure": _FAILURE,
        }
    ],
    "dead_letter": None,
}


class JobFailure(BaseModel):
    """Why an attempt or a job has failed."""

    code: str
    message: str
    retryable: bool = Field(description="Whether another attempt could have ended differently.")


class JobAttempt(BaseModel):
    """One claim that has ended, and where."""

    object: Literal["job.attempt"] = "job.attempt"
    number: int
    outcome: AttemptOutcome
    cluster: str
    worker: str
    incarnation: str
    gpu_seconds: float
    claimed_at: int
    ended_at: int
    failure: JobFailure | None


class DeadLetterEnd(BaseModel):
    """Who looked after a dead letter, and how."""

    fate: Fate
    successor: str | None = Field(description="The job that was queued in its place.")
    ended_by: str
    ended_at: int


class JobObject(Identified):
    """A job of some tenant. What it shows is its tenant's, and not told here."""

    object: Literal["job"] = "job"
    tenant: str
    state: JobState
    pool: str
    model: str
    priority: int
    size: str
    num_frames: int
    steps: int
    profile: str
    predicted_gpu_seconds: float
    campaign: str | None = Field(description="The campaign or the batch that it is a row of.")
    created_at: int
    started_at: int | None
    finished_at: int | None
    cancel_requested: bool
    claims: int
    failures: int = Field(description="Counted against `max_attempts`.")
    evictions: int
    max_attempts: int
    stage: str | None = Field(description="Where its render is, or was when it was last heard of.")
    step: int
    cluster: str | None
    worker: str | None = Field(description="Who holds it, or ended it.")
    incidents: list[str] = Field(description="What was remarkable about its render.")
    failure: JobFailure | None
    attempts: list[JobAttempt] = Field(description="In their order.")
    dead_letter: DeadLetterEnd | None = Field(description="Null unless somebody has looked after it as one.")


def job_of(seen: JobSeen) -> JobObject:
    """A job's object."""
    job = seen.job
    return JobObject(
        id=public_id(job.id),
        tenant=job.tenant,
        state=job.state,
        pool=job.pool,
        model=job.spec.model,
        priority=job.priority,
        size=f"{job.spec.width}x{job.spec.height}",
        num_frames=job.spec.num_frames,
        steps=job.spec.num_inference_steps,
        profile=job.spec.profile,
        predicted_gpu_seconds=job.cost,
        campaign=seen.campaign,
        created_at=unix(job.created_at),
        started_at=unix(job.started_at),
        finished_at=unix(job.finished_at),
        cancel_requested=job.cancel_requested,
        claims=job.claims,
        failures=job.failures,
        evictions=job.evictions,
        max_attempts=job.max_attempts,
        stage=job.stage,
        step=job.step,
        cluster=seen.cluster,
        worker=seen.worker,
        incidents=[incident.value for incident in job.incidents],
        failure=failure_of(job.failure),
        attempts=[attempt_of(each) for each in seen.attempts],
        dead_letter=None if seen.letter is None else _end(seen.letter),
    )


def failure_of(failure: Failure | None) -> JobFailure | None:
    if failure is None:
        return None
    return JobFailure(code=failure.code, message=failure.message, retryable=failure.retryable)


def attempt_of(each: Attempt) -> JobAttempt:
    return JobAttempt(
        number=each.number,
        outcome=each.outcome,
        cluster=each.cluster,
        worker=each.worker,
        incarnation=each.incarnation,
        gpu_seconds=each.gpu_seconds,
        claimed_at=unix(each.claimed_at),
        ended_at=unix(each.ended_at),
        failure=failure_of(each.failure),
    )


def _end(end: LetterEnd) -> DeadLetterEnd:
    successor = None if end.successor is None else public_id(end.successor)
    return DeadLetterEnd(fate=end.fate, successor=successor, ended_by=end.ended_by, ended_at=unix(end.ended_at))
