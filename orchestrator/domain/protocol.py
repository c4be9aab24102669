"""What dispatcher and worker say to each other: level-triggered values, versioned, picklable.

A call carries a `Caller`; an answer is the worker's whole present state, never a log of events, so that either side
may restart at any moment and simply ask again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from orchestrator.domain.job import (
    Artifact,
    Checkpoint,
    Claim,
    Failure,
    Incident,
    RenderSpec,
    VideoResult,
    WorkerRef,
)

PROTOCOL_VERSION = 3


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
    """The stages of a render, in order. Those before finishing need the GPU; finishing and uploading hold a CPU thread.

    A `preempted` render waits in its worker's memory while a more urgent one steps, and then goes back to denoising.
    """

    ASSIGNED = "assigned"
    ENCODING = "encoding"
    DENOISING = "denoising"
    PREEMPTED = "preempted"
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
    """One claimed job, as a worker gets it. Idempotent by `token`; meant for one incarnation only.

    `checkpoint` is where an earlier attempt left it; `priority` 0 is the most urgent.
    """

    job_id: UUID
    claim: int
    token: UUID
    spec: RenderSpec
    priority: int
    incarnation: str
    checkpoint: Checkpoint | None = None

    @classmethod
    def of(cls, claim: Claim) -> Assignment:
        return cls(
            job_id=claim.job_id,
            claim=claim.number,
            token=claim.token,
            spec=claim.spec,
            priority=claim.priority,
            incarnation=claim.worker.incarnation,
            checkpoint=claim.checkpoint,
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
    """The render was cancelled, or told to leave before it began."""

    gpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedBack:
    """The render was evicted before its end; `checkpoint` is where it can go on, None when none could be stored."""

    reason: str
    checkpoint: Checkpoint | None = None
    gpu_seconds: float = 0.0


End = Rendered | Broke | Stopped | HandedBack


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderStatus:
    """One held render. `step` of `steps` are done; `progress_age_s` is seconds since anything last moved.

    `preview` is one frame of what is coming, once there is one; `checkpoint` the newest that is in S3.
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
    checkpoint: Checkpoint | None = None
    incidents: tuple[Incident, ...] = ()
    end: End | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """All that a worker knows of itself. `plan` is the fingerprint of the plan that it was started from.

    `version` grows with every change and is what the next poll passes back; `free_in_s` estimates the seconds until
    another render could start stepping; `room` is how many more assignments it would accept now. `interrupts` is what
    it would interrupt: a render of a smaller priority number than this would be stepping one step later; None when
    nothing is to be interrupted, or may be. `adapters` are the LoRA adapters in its memory. `numerics` is the
    fingerprint of an unbatched `exact` render here, empty until the model is loaded;
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
    interrupts: int | None = None
    adapters: tuple[str, ...] = ()
    numerics: str = ""
    renders: tuple[RenderStatus, ...] = ()
    error: str | None = None
