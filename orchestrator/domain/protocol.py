"""What dispatcher and worker say to each other: level-triggered values, versioned, picklable.

A call carries a `Caller`; an answer is the worker's whole present state, never a log of events, so that either side
may restart at any moment and simply ask again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from orchestrator.domain.job import Artifact, Claim, Failure, RenderSpec, VideoResult, WorkerRef

PROTOCOL_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls: a dispatcher's epoch, which PostgreSQL hands out and which only grows. Workers refuse an older one."""

    epoch: int
    protocol: int = PROTOCOL_VERSION


class WorkerState(StrEnum):
    """`broken` means that the model could not be loaded; the status says why."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    BROKEN = "broken"


class Stage(StrEnum):
    """The stages of a render, in order. The first four hold the GPU; finishing and uploading hold a CPU thread."""

    ASSIGNED = "assigned"
    ENCODING = "encoding"
    DENOISING = "denoising"
    DECODING = "decoding"
    FINISHING = "finishing"
    UPLOADING = "uploading"
    ENDED = "ended"


class Answer(StrEnum):
    """A worker's answer to `assign`. Everything but `accepted` is a refusal that leaves nothing behind."""

    ACCEPTED = "accepted"
    FULL = "full"
    NOT_READY = "not_ready"
    DRAINING = "draining"
    WRONG_MODEL = "wrong_model"
    WRONG_INCARNATION = "wrong_incarnation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One claimed job, as a worker gets it. Idempotent by `token`; meant for one incarnation only."""

    job_id: UUID
    claim: int
    token: UUID
    spec: RenderSpec
    priority: int
    incarnation: str

    @classmethod
    def of(cls, claim: Claim) -> Assignment:
        return cls(
            job_id=claim.job_id,
            claim=claim.number,
            token=claim.token,
            spec=claim.spec,
            priority=claim.priority,
            incarnation=claim.worker.incarnation,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The render is finished and its objects, `result.json` last, are in S3."""

    result: VideoResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Broke:
    """The render ended without a video. `gpu_seconds` is what it cost up to there."""

    failure: Failure
    gpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The render was cancelled, or released before it started."""

    gpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderStatus:
    """One held render. `step` of `steps` are done; `progress_age_s` is seconds since anything last moved.

    `preview` is one frame of what is coming, once there is one.
    `end` is None until the render is over, and then stays until `forget(token)`.
    """

    token: UUID
    job_id: UUID
    claim: int
    stage: Stage
    step: int
    steps: int
    progress_age_s: float
    stages: Mapping[str, float] = field(default_factory=dict)
    preview: Artifact | None = None
    end: Rendered | Broke | Stopped | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """All that a worker knows of itself. `plan` is the fingerprint of the plan that it was started from.

    `version` grows with every change and is what the next poll passes back; `free_in_s` estimates the seconds until
    another render could start stepping; `room` is how many more assignments it would accept now;
    `step_s` is the mean time of the last denoise steps; `gpu_busy_s` is a counter of seconds since the process began.
    """

    worker: WorkerRef
    pool: str
    plan: str
    model: str
    state: WorkerState
    version: int
    free_in_s: float
    room: int
    step_s: float
    gpu_busy_s: float
    renders: tuple[RenderStatus, ...] = ()
    error: str | None = None
