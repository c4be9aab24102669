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
from orchestrator.domain.states import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One object in S3. `size` is bytes; `sha256` is lower-case hex of the whole object."""

    key: str
    size: int
    sha256: str
    content_type: str


def _fill(value: Any, state: list[Any]) -> None:
    """Unpickle what perhaps an earlier release pickled: the fields that it did not have get their defaults.

    So new ones come last.
    """
    for place, item in enumerate(fields(value)):
        object.__setattr__(value, item.name, state[place] if place < len(state) else item.default)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderSpec:
    """One video to render, complete: two equal specs on equal numerics give equal frames.

    `width` and `height` are pixels, `num_frames` counts the rendered frames, `fps` is the model's own frames per
    second; `delivery` is what becomes of them. `image` is the picture that an image-to-video model begins at; `adapter`
    names a LoRA adapter of the configuration, applied at `adapter_scale`.
    A `reproducible` render is never stepped together with others, whatever its pool allows, and goes on from a
    checkpoint only where the same frames come out. One that may `resume_anywhere` does also where the numerics differ;
    any other starts over there. A `strict_prompt` is rendered whole or not at all.
    """

    model: str
    prompt: str
    negative_prompt: str = ""
    width: int
    height: int
    num_frames: int
    fps: int
    num_inference_steps: int
    guidance_scale: float
    seed: int
    delivery: Delivery
    profile: Profile = Profile.EXACT
    image: Artifact | None = None
    adapter: str | None = None
    adapter_scale: float = 1.0
    reproducible: bool = False
    resume_anywhere: bool = False
    strict_prompt: bool = False

    def __setstate__(self, state: list[Any]) -> None:
        _fill(self, state)

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
    """Why an attempt or a job failed: a `FailureCode`'s word, a sentence for the owner, and whether a retry may help.

    The word may be another release's, whose worker or row said it.
    """

    code: str
    message: str
    retryable: bool = True

    def __post_init__(self) -> None:
        # Pickled by workers for dispatchers of another release, whose `FailureCode` may lack this one.
        object.__setattr__(self, "code", str(self.code))


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A render between two steps, in S3: `step` steps are done. `numerics` is the fingerprint of what rendered them.

    Resumed under the same fingerprint it gives the frames that it would have given undisturbed, bit for bit.
    """

    artifact: Artifact
    step: int
    numerics: str

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Checkpoint:
        return cls(**{**data, "artifact": Artifact(**data["artifact"])})


class Continuity(StrEnum):
    """How the frames of a video relate to those of one undisturbed render of the same spec on its last worker."""

    WHOLE = "whole"
    RESUMED = "resumed"
    RESUMED_INEXACTLY = "resumed_inexactly"
    STARTED_OVER = "started_over"


class Incident(StrEnum):
    """What went wrong, or was remarkable, in a render that went on all the same.

    `retried_exactly` is without step caches, as `exact` is; a pool with 8-bit linears renders in 8 bits all the same.
    What is behind the tokens that a model takes of a prompt is cut; without guidance no negative prompt is used.
    """

    PREEMPTED = "preempted"
    TILED_DECODE = "tiled_decode"
    OFFLOADED_DECODE = "offloaded_decode"
    BATCH_SPLIT = "batch_split"
    RETRIED_EXACTLY = "retried_exactly"
    CHECKPOINT_FAILED = "checkpoint_failed"
    CHECKPOINT_UNUSABLE = "checkpoint_unusable"
    ALL_BLACK = "all_black"
    PROMPT_CUT = "prompt_cut"
    NEGATIVE_PROMPT_CUT = "negative_prompt_cut"
    NEGATIVE_PROMPT_UNUSED = "negative_prompt_unused"

    @classmethod
    def known(cls, words: Iterable[str]) -> tuple[Incident, ...]:
        """The incidents of those words, but for what a newer release tells of."""
        return tuple(cls(word) for word in words if word in cls._value2member_map_)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoResult:
    """What a finished render left in S3. `gpu_seconds` is the time the GPU was held; `stages` maps stage to seconds.

    `cover` is a PNG of the first frame, `thumbnail` a small WebP of it, `spritesheet` a JPEG of frames in rows; videos
    of the first release have neither of the latter two. `numerics` is the fingerprint of what rendered it, with marks
    (`+batched`, `+mixed`) where that alone does not decide the frames; a render that was resumed went on after
    `resumed_at` steps; `incidents` are what befell its last attempt; `prompt_tokens` are those of the whole prompt,
    None where nobody counted them.
    """

    video: Artifact
    cover: Artifact
    thumbnail: Artifact | None = None
    spritesheet: Artifact | None = None
    width: int
    height: int
    num_frames: int
    fps: int
    gpu_seconds: float
    stages: Mapping[str, float] = field(default_factory=dict)
    numerics: str | None = None
    continuity: Continuity = Continuity.WHOLE
    resumed_at: int = 0
    incidents: tuple[Incident, ...] = ()
    prompt_tokens: int | None = None

    def __setstate__(self, state: list[Any]) -> None:
        _fill(self, state)

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
    """What `submit` inserts.

    `priority` 0 is the most urgent; `cost` is the predicted GPU seconds; `deadline` orders jobs within a lane;
    `run_at` None means now; `request` keeps what the dialect needs to answer later (the model name as asked, ...).
    Of several jobs of a tenant with one `idempotency_key` only the first is inserted; `request_hash` tells a repetition
    from another request.
    """

    id: UUID
    tenant: str
    pool: str
    priority: int
    spec: RenderSpec
    cost: float
    max_attempts: int
    request: Mapping[str, Any] = field(default_factory=dict)
    deadline: datetime | None = None
    run_at: datetime | None = None
    held: bool = False
    idempotency_key: str | None = None
    request_hash: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A row as its owner may read it. `step` of `steps` denoise steps are done; times are UTC.

    `preview` is one frame of the render that goes on, as it looked when it was taken; `incidents` are what befell the
    last attempt so far; `checkpoint` is where the next attempt would go on. `queue_reason` is why it waits, beside its
    turn; it is no part of the row (`domain/waiting.py`).
    """

    id: UUID
    tenant: str
    pool: str
    priority: int
    state: JobState
    spec: RenderSpec
    cost: float
    request: Mapping[str, Any]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    claims: int
    failures: int
    evictions: int
    max_attempts: int
    cancel_requested: bool
    stage: str | None
    step: int
    failure: Failure | None
    result: VideoResult | None
    preview: Artifact | None = None
    checkpoint: Checkpoint | None = None
    incidents: tuple[Incident, ...] = ()
    queue_reason: str | None = None

    @property
    def steps(self) -> int:
        return self.spec.num_inference_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRef:
    """One life of one worker: an actor that restarts keeps its name and gets a new incarnation."""

    name: str
    incarnation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A job as its owner holds it. Nothing here changes while `token` is the row's token, except a cancel request.

    `age_s` is seconds since the claim, `waited_s` the seconds that the job was claimable before it. `checkpoint` is the
    newest one of any attempt.
    """

    job_id: UUID
    token: UUID
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
    age_s: float = 0.0
    waited_s: float = 0.0
    cancel_requested: bool = False
    checkpoint: Checkpoint | None = None


_PUBLIC_ID = re.compile(r"video_([0-9a-f]{32})")


def public_id(job_id: UUID) -> str:
    """The id that callers see, URL-safe and the same in every dialect: `video_` and 32 hex digits."""
    return f"video_{job_id.hex}"


def parse_public_id(text: str) -> UUID | None:
    """The job id behind a public id, or None when `text` is not one (path tricks included)."""
    match = _PUBLIC_ID.fullmatch(text)
    return UUID(hex=match[1]) if match else None
