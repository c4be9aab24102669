"""One video as its caller asked for it, in no dialect, and the fingerprint that tells a repetition of it. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from typing import Any

from orchestrator.domain.catalog import Profile, Size

DEFAULT_PRIORITY = 10  # with room on both sides
MAX_PRIORITY = 100
MAX_SEED = 2**63 - 1  # of the generators of PyTorch, and of a bigint

# What is no part of a request's fingerprint; and what older ones do not have, and so none has that does not ask for it.
_NOT_ASKED = ("idempotency_key", "usual_profile", "usual_priority")
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


@dataclass(frozen=True, slots=True)
class ImageObject:
    """A picture in our own bucket, below a prefix that its tenant may read."""

    key: str


ImageSource = ImageUrl | ImageBytes | ImageFile | ImageObject


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRequest:
    """One video as its caller asked for it, free of any dialect. None means that the model's default will do."""

    # May be empty beside an `image`.
    prompt: str
    # A configured model's name or an alias, in any case.
    model: str | None = None
    negative_prompt: str | None = None
    # The first frame.
    image: ImageSource | None = None
    # (width, height) of the finished video, in pixels.
    size: Size | None = None
    # Length of the finished video.
    seconds: float | None = None
    # Frames to render. It wins over `seconds`.
    num_frames: int | None = None
    # Frames per second of the finished video.
    fps: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    # None takes `usual_profile` where that is rendered, else the most exact one that is.
    profile: Profile | None = None
    # The dialect's own default.
    usual_profile: Profile = Profile.EXACT
    # The name of a configured LoRA adapter.
    adapter: str | None = None
    adapter_scale: float | None = None
    # The next three are those of `RenderSpec`.
    reproducible: bool = False
    resume_anywhere: bool = False
    strict_prompt: bool = False
    # Draw a visible mark.
    watermark: bool = False
    # 0 is the most urgent. None takes `usual_priority`, or the most urgent one that the tenant may have.
    priority: int | None = None
    usual_priority: int = DEFAULT_PRIORITY
    # After so many failures the job fails.
    max_attempts: int | None = None
    # Not before then. It knows its time zone, as `deadline` does.
    run_at: datetime | None = None
    # Orders jobs of equal priority, the earliest first.
    deadline: datetime | None = None
    # Hears of the end.
    webhook_url: str | None = None
    # The caller's own texts; they come back with the job.
    metadata: Mapping[str, str] = field(default_factory=dict)
    # A tenant's second request with the same key gets the first one's job.
    idempotency_key: str | None = None
    # What the dialect's later answers repeat: plain JSON.
    origin: Mapping[str, Any] = field(default_factory=dict)


def fingerprint(request: VideoRequest) -> str:
    """A hash of all that is asked for: equal for a repetition, different for another request under the same key."""
    asked = {item.name: getattr(request, item.name) for item in fields(request) if item.name not in _NOT_ASKED}
    asked["profile"] = request.profile or request.usual_profile
    asked["priority"] = DEFAULT_PRIORITY if request.priority is None else request.priority
    for name in _ADDED:
        if asked[name] is None or asked[name] is False:  # a scale of 0 is asked for
            del asked[name]
    return _digest(asked)


def fingerprint_like(how: str, video_id: str, prompt: str | None = None) -> str:
    """The same for a job that is made like an earlier one: `how`, from which one, and with which new prompt."""
    return _digest({"how": how, "video": video_id, "prompt": prompt})


def fingerprint_of(asked: Mapping[str, Any]) -> str:
    """The same for whatever else is asked for under a key."""
    return _digest(asked)


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
        case ImageObject(key=key):
            return {"key": key}
        case datetime():
            return value.isoformat()
        case Mapping():
            return dict(value)
        case frozenset():
            return sorted(value)
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {item.name: getattr(value, item.name) for item in fields(value)}
    raise TypeError(f"{type(value).__name__} has no place in a request")
