"""The values a job is made of: what to render, who holds it, what came out. All frozen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from orchestrator.domain.catalog import Profile
from orchestrator.domain.delivery import Delivery
from orchestrator.domain.outlooks import JobOutlook
from orchestrator.domain.states import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One object in S3."""

    key: str
    # Bytes.
    size: int
    # Of the whole object, in lower-case hex.
    sha256: str
    content_type: str


def fill(value: Any, state: list[Any]) -> None:
    """Unpickle what perhaps an earlier release pickled: the fields that it did not have get their defaults.

    So new ones come last.
    """
    for place, item in enumerate(fields(value)):
        object.__setattr__(value, item.name, state[place] if place < len(state) else item.default)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderSpec:
    """One video to render, complete: two equal specs on equal numerics give equal frames."""

    # A configured model's name.
    model: str
    prompt: str
    negative_prompt: str = ""
    # Pixels of the rendered frames.
    width: int
    height: int
    # Rendered frames; how many are delivered is for `delivery` to say.
    num_frames: int
    # The model's own frames per second.
    fps: int
    num_inference_steps: int
    guidance_scale: float
    seed: int
    # What finishing makes of the rendered frames.
    delivery: Delivery
    profile: Profile = Profile.EXACT
    # The picture that an image-to-video model begins at.
    image: Artifact | None = None
    # The name of a configured LoRA adapter, and how strongly it is applied.
    adapter: str | None = None
    adapter_scale: float = 1.0
    # Never stepped together with others, whatever its pool allows. Goes on only where the same frames come out.
    reproducible: bool = False
    # Goes on from a checkpoint where the numerics differ, too. Any other render starts over there.
    resume_anywhere: bool = False
    # Both prompts are rendered whole, or the render fails.
    strict_prompt: bool = False

    def __setstate__(self, state: list[Any]) -> None:
        fill(self, state)

    def to_dict(self) -> dict[str, Any]:
        """As the row keeps it, values inside as they are.

        What earlier releases do not know is left out unless it was asked for: they go on reading the rows of this one.
        """
        return {name: getattr(self, name) for name in self.__slots__ if name != "strict_prompt" or self.strict_prompt}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RenderSpec:
        """From the JSON kept in the row. Rows of the first release have no delivery: theirs is what is rendered."""
        delivery = data.get("delivery") or {name: data[name] for name in ("width", "height", "num_frames", "fps")}
        image = data.get("image")
        return cls(
            **{
                **data,
                "delivery": Delivery(**delivery),
                "profile": Profile(data.get("profile", Profile.EXACT)),
                "image": None if image is None else Artifact(**image),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt or a job failed."""

    # The word of a `FailureCode`; perhaps another release's, whose worker or row said it.
    code: str
    # A sentence for the owner.
    message: str
    # Whether another attempt could end differently.
    retryable: bool = True

    def __post_init__(self) -> None:
        # Pickled by workers for dispatchers of another release, whose `FailureCode` may lack this one.
        object.__setattr__(self, "code", str(self.code))


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A render between two steps, in S3."""

    artifact: Artifact
    # Denoise steps done.
    step: int
    # The fingerprint of what rendered them. Resumed under the same one, the render gives the frames that it would have
    # given undisturbed, bit for bit.
    numerics: str

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Checkpoint:
        return cls(**{**data, "artifact": Artifact(**data["artifact"])})


class Continuity(StrEnum):
    """How the frames of a video relate to those of one undisturbed render of the same spec on its last worker."""

    # It was one.
    WHOLE = "whole"
    # It went on from a checkpoint, with the same frames.
    RESUMED = "resumed"
    # It went on from a checkpoint under other numerics: the frames may differ.
    RESUMED_INEXACTLY = "resumed_inexactly"
    # A checkpoint was there and was not used.
    STARTED_OVER = "started_over"


class Incident(StrEnum):
    """What went wrong, or was remarkable, in a render that went on all the same.

    It travels as its word: a dispatcher of an earlier release, which lacks some, could not unpickle a member.
    """

    # It waited for a more urgent render.
    PREEMPTED = "preempted"
    # The decode was short of memory: it went in tiles, or with the rest of the model out of the way.
    TILED_DECODE = "tiled_decode"
    OFFLOADED_DECODE = "offloaded_decode"
    # A batch was short of memory, and its renders went on one by one.
    BATCH_SPLIT = "batch_split"
    # Tried again without step caches, as `exact` is. A pool with 8-bit linears renders in 8 bits all the same.
    RETRIED_EXACTLY = "retried_exactly"
    # A checkpoint could not be stored.
    CHECKPOINT_FAILED = "checkpoint_failed"
    # The stored one could not be used: the render started over.
    CHECKPOINT_UNUSABLE = "checkpoint_unusable"
    # Every frame is black.
    ALL_BLACK = "all_black"
    # Every frame is the first one again. Black ones are told as black alone.
    FROZEN = "frozen"
    # A model that finished the frames gave numbers that are not finite; there the video is black. (Where the frames
    # themselves are not, they are rendered again: `RETRIED_EXACTLY`, or the render fails.)
    NON_FINITE = "non_finite"
    # A prompt has more tokens than the model takes: the rest is cut.
    PROMPT_CUT = "prompt_cut"
    NEGATIVE_PROMPT_CUT = "negative_prompt_cut"
    # Without guidance no negative prompt is used.
    NEGATIVE_PROMPT_UNUSED = "negative_prompt_unused"

    def __reduce_ex__(self, protocol: object) -> tuple[type[str], tuple[str]]:
        return str, (self.value,)

    @classmethod
    def known(cls, words: Iterable[str]) -> tuple[Incident, ...]:
        """The incidents of those words, but for what a newer release tells of."""
        return tuple(cls(word) for word in words if word in cls._value2member_map_)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoResult:
    """What a finished render left in S3, and how it came about. Sizes, frames and rate are those of the delivery."""

    video: Artifact
    # A PNG of the first frame.
    cover: Artifact
    # A small WebP of the first frame; videos of the first release have none.
    thumbnail: Artifact | None = None
    # A JPEG of frames in rows; videos of the first release have none.
    spritesheet: Artifact | None = None
    width: int
    height: int
    num_frames: int
    fps: int
    # How long the last attempt held its GPU.
    gpu_seconds: float
    # Seconds that each stage took, by its name.
    stages: Mapping[str, float] = field(default_factory=dict)
    # The fingerprint of what rendered it. A mark (`+batched`, `+mixed`) says that it alone does not decide the frames.
    numerics: str | None = None
    continuity: Continuity = Continuity.WHOLE
    # Denoise steps that the checkpoint had from which it went on; 0 where it began at the beginning.
    resumed_at: int = 0
    # What befell the last attempt.
    incidents: tuple[Incident, ...] = ()
    # Tokens of the whole prompt; None where nobody counted.
    prompt_tokens: int | None = None

    def __setstate__(self, state: list[Any]) -> None:
        fill(self, state)
        object.__setattr__(self, "incidents", Incident.known(self.incidents))

    @property
    def prompt_cut(self) -> bool | None:
        """Whether the end of the prompt was not rendered; None where nobody counted."""
        return None if self.prompt_tokens is None else Incident.PROMPT_CUT in self.incidents

    @property
    def objects(self) -> tuple[Artifact, ...]:
        """All that it names in S3."""
        named = (self.video, self.cover, self.thumbnail, self.spritesheet)
        return tuple(artifact for artifact in named if artifact is not None)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> VideoResult:
        objects = {
            name: Artifact(**data[name])
            for name in ("video", "cover", "thumbnail", "spritesheet")
            if data.get(name) is not None
        }
        told = {
            "continuity": Continuity(data.get("continuity", Continuity.WHOLE)),
            "incidents": Incident.known(data.get("incidents", ())),
        }
        # Without what a newer release tells of its videos: its workers' rows are read while it rolls out.
        here = {name: value for name, value in data.items() if name in cls.__slots__}
        return cls(**{**here, **objects, **told})


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """What `submit` inserts."""

    id: UUID
    tenant: str
    pool: str
    # 0 is the most urgent.
    priority: int
    spec: RenderSpec
    # Predicted GPU seconds.
    cost: float
    # After so many failures the job fails.
    max_attempts: int
    # What the dialect's later answers repeat, such as the model's name as it was asked for.
    request: Mapping[str, Any] = field(default_factory=dict)
    # Orders jobs within a lane, the earliest first.
    deadline: datetime | None = None
    # Not claimed before then; None is now.
    run_at: datetime | None = None
    # Inserted as `held`, not as `queued`.
    held: bool = False
    # Of a tenant's jobs with one key only the first is inserted.
    idempotency_key: str | None = None
    # Tells a repetition from another request under the same key.
    request_hash: str | None = None
    # The campaign or batch that it is a row of.
    campaign: str | None = None
    # Its end is told to nobody but that one.
    quiet: bool = False
    # What lanes and limits count for it (`policy/charge.py`); None is its cost.
    charge: float | None = None

    @property
    def charged(self) -> float:
        return self.cost if self.charge is None else self.charge

    # The id of the key that it was asked for with.
    made_by: str | None = None
    # Where in which trace it was asked for (`domain/trace.py`).
    trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A row as its owner may read it. What `NewJob` has, too, is explained there. Times are UTC."""

    id: UUID
    tenant: str
    pool: str
    priority: int
    state: JobState
    spec: RenderSpec
    cost: float
    request: Mapping[str, Any]
    created_at: datetime
    # When a worker first took it.
    started_at: datetime | None
    finished_at: datetime | None
    # How often a worker took it. The number only grows, and names the claim's objects.
    claims: int
    # Attempts that failed.
    failures: int
    # Attempts that left a healthy worker without moving on; free of charge up to a cap.
    evictions: int
    max_attempts: int
    # The owner wants a running job to end; its worker stops it.
    cancel_requested: bool
    # The word of a `Stage`; None while nothing renders it.
    stage: str | None
    # Denoise steps done.
    step: int
    failure: Failure | None
    result: VideoResult | None
    # One frame of the render that goes on, as it looked when it was taken.
    preview: Artifact | None = None
    # Where the next attempt goes on.
    checkpoint: Checkpoint | None = None
    # What has befallen the last attempt so far.
    incidents: tuple[Incident, ...] = ()
    # False while it waits for a time: its own, or that of its next attempt. Nobody reads it of what does not wait.
    ready: bool = True
    # Why it waits, beside its turn. It is no part of the row (`domain/waiting.py`).
    queue_reason: str | None = None
    # When it is expected to begin and to end. No part of the row, either (`domain/outlooks.py`).
    outlook: JobOutlook | None = None
    charge: float | None = None

    @property
    def charged(self) -> float:
        return self.cost if self.charge is None else self.charge

    @property
    def steps(self) -> int:
        return self.spec.num_inference_steps

    @property
    def attempts(self) -> int:
        """What `max_attempts` bounds: the attempts that failed, and the one that goes on or made the video.

        `claims` may be more: evictions, releases and a cancel cost no attempt.
        """
        return self.failures + (self.state in (JobState.RUNNING, JobState.SUCCEEDED))


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRef:
    """One life of one worker."""

    name: str
    # New with each life: an actor that restarts keeps its name.
    incarnation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A job as its owner holds it. Nothing here changes while `token` is the row's token, except a cancel request."""

    job_id: UUID
    # Fresh for each claim. Whatever the owner writes is filtered on it.
    token: UUID
    # The job's `claims` after this one: 1 is the first.
    number: int
    tenant: str
    pool: str
    priority: int
    spec: RenderSpec
    cost: float
    failures: int
    evictions: int
    max_attempts: int
    worker: WorkerRef
    # Seconds since the claim.
    age_s: float = 0.0
    # Seconds for which the job could have been claimed before.
    waited_s: float = 0.0
    cancel_requested: bool = False
    # The newest one of any attempt.
    checkpoint: Checkpoint | None = None
    # Where in which trace the job was asked for.
    trace: str | None = None


_PUBLIC_ID = re.compile(r"video_([0-9a-f]{32})")


def public_id(job_id: UUID) -> str:
    """The id that callers see, URL-safe and the same in every dialect: `video_` and 32 hex digits."""
    return public_id_of(job_id.hex)


def public_id_of(digits: str) -> str:
    """The public id of the job whose id has these 32 hex digits."""
    return f"video_{digits}"


def parse_public_id(text: str) -> UUID | None:
    """The job id behind a public id, or None when `text` is not one (path tricks included)."""
    match = _PUBLIC_ID.fullmatch(text)
    return UUID(hex=match[1]) if match else None
