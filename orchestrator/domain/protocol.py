"""What dispatcher and worker say to each other: level-triggered values, versioned, picklable.

A call carries a `Caller`; an answer is the worker's whole present state, never a log of events, so that either side
may restart at any moment and simply ask again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
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
    fill,
)
from orchestrator.domain.timeline import Timeline
from orchestrator.domain.trace import trace_id_of

# Raised by a release that cannot talk to the one before it, because a call or a field means something else, or a class
# that is pickled has moved: workers of another version are ended, and what they render is lost. A release that keeps it
# adopts them (`tests/acceptance/test_upgrade.py`).
PROTOCOL_VERSION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls."""

    # The dispatcher's. PostgreSQL hands it out, and it only grows: workers refuse an older one.
    epoch: int
    protocol: int = PROTOCOL_VERSION


class WorkerState(StrEnum):
    """How a worker stands."""

    LOADING = "loading"
    READY = "ready"
    # It ends what it holds and accepts nothing more.
    DRAINING = "draining"
    # The model could not be loaded; the status says why.
    BROKEN = "broken"


class Stage(StrEnum):
    """The stages of a render, in order. Those before finishing need the GPU, the two behind it hold a CPU thread."""

    ASSIGNED = "assigned"
    # The prompt is encoded, or a checkpoint restored.
    ENCODING = "encoding"
    DENOISING = "denoising"
    # It waits in its worker's memory while a more urgent render steps, and then goes back to denoising.
    PREEMPTED = "preempted"
    DECODING = "decoding"
    FINISHING = "finishing"
    UPLOADING = "uploading"
    ENDED = "ended"


class Answer(StrEnum):
    """A worker's answer to `assign`. Everything but `accepted` is a refusal that leaves nothing behind."""

    ACCEPTED = "accepted"
    FULL = "full"
    # The model is not loaded.
    NOT_READY = "not_ready"
    DRAINING = "draining"
    WRONG_MODEL = "wrong_model"
    # The assignment is meant for an earlier life of this worker.
    WRONG_INCARNATION = "wrong_incarnation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """One claimed job, as a worker gets it."""

    job_id: UUID
    # The claim's number, which names its objects.
    claim: int
    # The claim's. A second assignment with it changes nothing.
    token: UUID
    spec: RenderSpec
    # 0 is the most urgent.
    priority: int
    # The one life of a worker that it is meant for.
    incarnation: str
    # Where an earlier attempt left it.
    checkpoint: Checkpoint | None = None
    # Whose it is: tenants share a worker's finishers. Dispatchers of earlier releases do not say.
    tenant: str = ""
    # Signed URLs by key, the only way to the bucket for a worker without keys: of what the render may read, and write.
    # None where workers have keys. Plain values, so that earlier releases can read the rest.
    reads: Mapping[str, str] | None = field(default=None, repr=False)
    writes: Mapping[str, str] | None = field(default=None, repr=False)
    # It only brings newer URLs: whoever does not hold the render does not begin it.
    renews: bool = False
    # The trace that the job belongs to, for the worker's log; None where it belongs to none.
    trace_id: str | None = None

    def __setstate__(self, state: list[Any]) -> None:
        fill(self, state)

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
            tenant=claim.tenant,
            trace_id=trace_id_of(claim.trace),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The render is finished and its objects, `result.json` last, are in S3."""

    result: VideoResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Broke:
    """The render ended without a video."""

    failure: Failure
    # What it cost up to there; the same in the next ones.
    gpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The render was cancelled, or told to leave before it began."""

    gpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedBack:
    """The render was evicted before its end."""

    reason: str
    # Where it can go on; None when nothing could be stored.
    checkpoint: Checkpoint | None = None
    gpu_seconds: float = 0.0


End = Rendered | Broke | Stopped | HandedBack


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderStatus:
    """One render that a worker holds."""

    token: UUID
    job_id: UUID
    # The claim's number.
    claim: int
    stage: Stage
    # Denoise steps done, and to do.
    step: int
    steps: int
    # Seconds since anything last moved.
    progress_age_s: float
    # Seconds that each stage took so far, by its name.
    stages: Mapping[str, float] = field(default_factory=dict)
    # One frame of what is coming, once there is one.
    preview: Artifact | None = None
    # The newest that is in S3.
    checkpoint: Checkpoint | None = None
    incidents: tuple[Incident, ...] = ()
    # None until the render is over. Then it stays until `forget(token)`.
    end: End | None = None
    # What it has cost so far.
    gpu_seconds: float = 0.0
    # The stages that it has gone through, the present one up to now, in seconds since it was assigned; and how many of
    # these there are by now. Between two it waited. No clock but the worker's own is in them.
    periods: Timeline = ()
    age_s: float = 0.0

    def __setstate__(self, state: list[Any]) -> None:
        fill(self, state)
        object.__setattr__(self, "incidents", Incident.known(self.incidents))


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """All that a worker knows of itself."""

    worker: WorkerRef
    pool: str
    # The fingerprint of the plan that it was started from.
    plan: str
    model: str
    state: WorkerState
    # Grows with every change. The next poll passes it back.
    version: int
    # Estimated seconds until another render could start stepping.
    free_in_s: float
    # How many more assignments it would accept now.
    room: int
    # Mean seconds of the last denoise steps.
    step_s: float
    # Seconds for which its GPU was busy since the process began: a counter.
    gpu_busy_s: float
    # A render of a smaller priority number would be stepping one step later. None: it would interrupt nothing.
    interrupts: int | None = None
    # LoRA adapters in its memory.
    adapters: tuple[str, ...] = ()
    # The fingerprint of an unbatched `exact` render here; empty until the model is loaded.
    numerics: str = ""
    renders: tuple[RenderStatus, ...] = ()
    # Why it is broken, as an exception says it.
    error: str | None = None
    # Tenants that the room is not for: too many of their renders wait here for a finisher.
    crowded: tuple[str, ...] = ()

    def __setstate__(self, state: list[Any]) -> None:
        fill(self, state)
