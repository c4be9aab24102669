"""One video as its caller asked for it, in no dialect, and the fingerprint that tells a repetition of it. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from orchestrator.domain.catalog import Profile, Size

DEFAULT_PRIORITY = 10  # with room on both sides

# What is no part of a request's fingerprint; and what older ones do not have, and so none has that does not ask for it.
_NOT_ASKED = ("idempotency_key", "usual_profile")
_ADDED = ("adapter", "adapter_scale", "reproducible", "resume_anywhere", "strict_prompt")


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

    `size` is (width, height) in pixels; `num_frames` wins over `seconds`; `image` is the first frame, beside which
    `prompt` may be empty. `profile` None takes `usual_profile` where that is rendered, else the most exact one that is.
    `adapter` names a LoRA adapter of the configuration. A `reproducible` render steps alone; one that may
    `resume_anywhere` may go on where numbers come out otherwise than where it began. A `strict_prompt` is rendered
    whole or not at all, the negative one too.
    `priority` 0 is the most urgent; `run_at` and `deadline` know their time zone; `webhook_url` hears of the end;
    `metadata` is the caller's own and comes back with the job; `origin` is kept for the dialect's later answers and
    must be plain JSON.
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
    profile: Profile | None = None
    usual_profile: Profile = Profile.EXACT
    adapter: str | None = None
    adapter_scale: float | None = None
    reproducible: bool = False
    resume_anywhere: bool = False
    strict_prompt: bool = False
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
    asked = {item.name: getattr(request, item.name) for item in fields(request) if item.name not in _NOT_ASKED}
    asked["profile"] = request.profile or request.usual_profile
    for name in _ADDED:
        if asked[name] is None or asked[name] is False:  # a scale of 0 is asked for
            del asked[name]
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
