"""One video as its caller asked for it, and the job that it becomes: checked, complete and priced. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from orchestrator.config import Settings
from orchestrator.domain.catalog import ModelFamily, Profile, Size
from orchestrator.domain.cost import predict
from orchestrator.domain.delivery import shape_of
from orchestrator.domain.errors import InvalidField, Unsupported
from orchestrator.domain.job import Artifact, NewJob, RenderSpec

DEFAULT_PRIORITY = 10  # with room on both sides
MAX_PRIORITY = 100
MAX_STEPS = 200
MAX_GUIDANCE = 20.0
MAX_SEED = 2**63 - 1
MAX_ATTEMPTS = 10
MAX_KEY_CHARS = 255

# OpenAI's bounds for what is kept beside an object.
_MAX_METADATA = 16
_MAX_METADATA_NAME = 64
_MAX_METADATA_VALUE = 512

# What Unicode counts among letters and symbols and shows as nothing: fillers and the empty Braille cell.
_INVISIBLE = frozenset("\u115f\u1160\u2800\u3164\uffa0")

# Control characters but for tab, newline and carriage return; and half surrogate pairs, which UTF-8 cannot say.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class ImageUrl:
    """An http(s) URL that we fetch, guarded."""

    url: str


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """The image itself, of a kind that its first bytes tell."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file that the tenant uploaded before."""

    file_id: str


ImageSource = ImageUrl | ImageBytes | ImageFile


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRequest:
    """One video as its caller asked for it, free of any dialect. None means that the model's default will do.

    `size` is (width, height) in pixels; `num_frames` wins over `seconds`; `priority` 0 is the most urgent; `image` is
    the first frame, beside which `prompt` may be empty; `run_at` and `deadline` know their time zone; `webhook_url`
    hears of the end; `metadata` is the caller's own and comes back with the job; `origin` is kept for the dialect's
    later answers and must be plain JSON.
    A tenant's second request with the same `idempotency_key` gets the first one's job.
    """

    prompt: str
    model: str | None = None
    negative_prompt: str | None = None
    image: ImageSource | None = None
    size: Size | None = None
    seconds: float | None = None
    num_frames: int | None = None
    fps: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    profile: Profile = Profile.EXACT
    watermark: bool = False
    priority: int = DEFAULT_PRIORITY
    max_attempts: int | None = None
    run_at: datetime | None = None
    deadline: datetime | None = None
    webhook_url: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)


def fingerprint(request: VideoRequest) -> str:
    """A hash of all that is asked for: equal for a repetition, different for another request under the same key."""
    asked = {item.name: getattr(request, item.name) for item in fields(request) if item.name != "idempotency_key"}
    return _digest(asked)


def fingerprint_like(how: str, video_id: str, prompt: str | None = None) -> str:
    """The same for a job that is made like an earlier one: `how`, from which one, and with which new prompt."""
    return _digest({"how": how, "video": video_id, "prompt": prompt})


def _digest(asked: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(asked, default=_plain, sort_keys=True).encode()).hexdigest()


def _plain(value: object) -> object:
    match value:
        case ImageBytes(data=data):
            return {"sha256": hashlib.sha256(data).hexdigest()}
        case ImageUrl(url=url):
            return {"url": url}
        case ImageFile(file_id=file_id):
            return {"file": file_id}
        case datetime():
            return value.isoformat()
        case Mapping():
            return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in a request")


def plan(
    settings: Settings,
    tenant: str,
    request: VideoRequest,
    *,
    job_id: UUID,
    seed: int,
    image: Artifact | None = None,
) -> NewJob:
    """The job that a request becomes; `image` is its picture once it is stored, None while that is still to come.

    A request with a picture goes to the image-to-video sibling of its model. Raises a `RequestError` that names the
    field.
    """
    _check_texts(settings, request)
    model = _model(settings, request)
    family = settings.family_of(model)
    pool = pool_of(settings, model, request.profile)
    spec = _spec(settings, model, family, request, seed, image)
    _within(request.priority, "priority", 0, MAX_PRIORITY)
    max_attempts = settings.retry.max_attempts if request.max_attempts is None else request.max_attempts
    _within(max_attempts, "max_attempts", 1, max(MAX_ATTEMPTS, settings.retry.max_attempts))
    kept: dict[str, Any] = dict(request.origin)
    if request.metadata:
        kept["metadata"] = dict(request.metadata)
    if request.webhook_url is not None:
        kept["webhook_url"] = request.webhook_url
    return NewJob(
        id=job_id,
        tenant=tenant,
        pool=pool,
        priority=request.priority,
        spec=spec,
        cost=predict(family, spec),
        max_attempts=max_attempts,
        request=kept,
        run_at=_aware(request.run_at, "run_at"),
        deadline=_aware(request.deadline, "deadline"),
        idempotency_key=request.idempotency_key,
        request_hash=None if request.idempotency_key is None else fingerprint(request),
    )


def _check_texts(settings: Settings, request: VideoRequest) -> None:
    if request.prompt or request.image is None:  # a picture alone says enough
        check_prompt(settings, request.prompt)
    check_text(request.negative_prompt or "", "negative_prompt", max_chars=settings.api.max_prompt_chars)
    check_key(request.idempotency_key)
    check_metadata(request.metadata)


def _model(settings: Settings, request: VideoRequest) -> str:
    model = settings.resolve_model(request.model)
    if request.image is None:
        if settings.family_of(model).image_to_video:
            raise InvalidField(f"is required: {model} begins at an image", param="image", code="missing")
        return model
    sibling = settings.image_model_of(model)
    if sibling is None:
        raise Unsupported(f"no image-to-video model is configured beside {model}", param="image")
    return sibling


def _spec(
    settings: Settings, model: str, family: ModelFamily, request: VideoRequest, seed: int, image: Artifact | None
) -> RenderSpec:
    shape = shape_of(
        family,
        size=request.size,
        seconds=request.seconds,
        num_frames=request.num_frames,
        fps=request.fps,
        watermark=request.watermark,
        max_crop=settings.finish.max_crop,
    )
    steps = family.steps_of(request.profile) if request.num_inference_steps is None else request.num_inference_steps
    guidance = family.default_guidance if request.guidance_scale is None else request.guidance_scale
    _within(steps, "num_inference_steps", 1, MAX_STEPS)
    _within(guidance, "guidance_scale", 0, MAX_GUIDANCE)
    _within(seed, "seed", 0, MAX_SEED)
    return RenderSpec(
        model=model,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt or "",
        width=shape.width,
        height=shape.height,
        num_frames=shape.num_frames,
        fps=family.fps,
        num_inference_steps=steps,
        guidance_scale=float(guidance),
        seed=seed,
        delivery=shape.delivery,
        profile=request.profile,
        image=image,
    )


def pool_of(settings: Settings, model: str, profile: Profile) -> str:
    """The pool that renders a configured model in a profile. Raises `Unsupported` when none does."""
    pool = settings.pool_of(model, profile)
    if pool is None:
        rendered = ", ".join(settings.profiles_of(model))
        raise Unsupported(f"{model} is rendered in {rendered} here, not in {profile}", param="profile")
    return pool


def check_prompt(settings: Settings, prompt: str) -> None:
    """Raise `InvalidField` for a prompt that is blank, too long, or no text."""
    check_text(prompt, "prompt", max_chars=settings.api.max_prompt_chars)
    if not any(map(_shows, prompt)):
        raise InvalidField("must not be blank", param="prompt")


def check_key(key: str | None) -> None:
    """Raise `InvalidField` for a key of repetition that is too long, or no text."""
    check_text(key or "", "idempotency_key", max_chars=MAX_KEY_CHARS)


def check_metadata(metadata: Mapping[str, str], param: str = "metadata") -> None:
    """Raise `InvalidField` unless it is at most 16 short texts by short names."""
    if len(metadata) > _MAX_METADATA:
        raise InvalidField(f"has {len(metadata)} entries; at most {_MAX_METADATA} are allowed", param=param)
    for name, value in metadata.items():
        check_text(name, param, max_chars=_MAX_METADATA_NAME)
        check_text(value, f"{param}[{name}]", max_chars=_MAX_METADATA_VALUE)


def _aware(moment: datetime | None, param: str) -> datetime | None:
    if moment is not None and moment.tzinfo is None:
        raise InvalidField("must name its time zone", param=param)
    return moment


def check_text(text: str, param: str, *, max_chars: int) -> None:
    """Raise `InvalidField` when a text is too long, or holds what no prompt means and PostgreSQL or UTF-8 refuse."""
    if len(text) > max_chars:
        raise InvalidField(f"has {len(text)} characters; at most {max_chars} are allowed", param=param, code="too_long")
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        raise InvalidField(
            f"holds U+{ord(forbidden[0]):04X} at position {forbidden.start()}, which no text may", param=param
        )


def _shows(character: str) -> bool:
    """Whether a character leaves a mark of its own: spaces, format characters and accents without a base do not."""
    return unicodedata.category(character)[0] in "LNPS" and character not in _INVISIBLE


def _within(value: float, param: str, low: float, high: float) -> None:
    if not low <= value <= high:  # also true of NaN
        raise InvalidField(f"must be between {low:g} and {high}, not {value}", param=param)
