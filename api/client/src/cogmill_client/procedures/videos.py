"""Videos: made, listed, followed, waited for, downloaded, called off."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from cogmill_client.bodies import existing
from cogmill_client.downloads import fetch
from cogmill_client.effects import Items, Request, Sleep, Steps, run, watch
from cogmill_client.errors import ApiError, BadAnswer, ConnectionFailed, NotFound, Timeout, Unauthenticated
from cogmill_client.exchange import answer_of, reads
from cogmill_client.models.base import Deleted
from cogmill_client.models.events import EndEvent, StageEvent, StepEvent, VideoEvent, video_event
from cogmill_client.models.reviews import VideoQuote
from cogmill_client.models.videos import Profile, Variant, Video
from cogmill_client.paging import listed
from cogmill_client.sse import Place, follow
from cogmill_client.urls import at, query, without_none

# Near its time, a wait asks again and again: between two words of a stream there may be a quarter of a minute.
_NEAR_S = 16.0
_POLL_S = (0.5, 5.0)


def create(
    prompt: str,
    *,
    model: str | None = None,
    size: str | None = None,
    seconds: str | float | None = None,
    image: str | bytes | os.PathLike[str] | None = None,
    negative_prompt: str | None = None,
    seed: int | None = None,
    profile: Profile | None = None,
    fps: int | None = None,
    num_frames: int | None = None,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    adapter: str | None = None,
    adapter_scale: float | None = None,
    reproducible: bool | None = None,
    resume: Literal["exact", "any"] | None = None,
    strict_prompt: bool | None = None,
    watermark: bool | None = None,
    priority: int | None = None,
    run_at: datetime | int | None = None,
    deadline: datetime | int | None = None,
    max_attempts: int | None = None,
    metadata: dict[str, str] | None = None,
    webhook_url: str | None = None,
    idempotency_key: str | None = None,
    **others: Any,
) -> Steps[Video]:
    """Ask for a video. `image`, its first frame, is a path, bytes, a URL or the id of an uploaded file.

    `others` are sent as they are: fields of a newer server. A video is made once, however often the request is sent;
    `idempotency_key` keeps that also over several calls.
    """
    fields = without_none(
        prompt=prompt, model=model, size=size, seconds=seconds, negative_prompt=negative_prompt, seed=seed,
        profile=profile, fps=fps, num_frames=num_frames, num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale, adapter=adapter, adapter_scale=adapter_scale, reproducible=reproducible,
        resume=resume, strict_prompt=strict_prompt, watermark=watermark, priority=priority, run_at=run_at,
        deadline=deadline, max_attempts=max_attempts, metadata=metadata, webhook_url=webhook_url, **others,
    )  # fmt: skip
    if image is not None:
        given = image
        fields["input_reference"] = yield from run(lambda: _picture(given))
    return (yield from _made("/v1/videos", fields, idempotency_key))


def quote(**fields: Any) -> Steps[VideoQuote]:
    """What a video would cost and when it would be there: what `create` takes, the prompt may be missing."""
    request = Request(method="POST", url="/v1/videos/quote", json=without_none(**fields))
    return answer_of(request, reads(VideoQuote))


def retrieve(video_id: str) -> Steps[Video]:
    """The video as it stands."""
    return answer_of(Request(method="GET", url=at("/v1/videos/{}", video_id)), reads(Video))


def list_(
    *, limit: int | None = None, after: str | None = None, order: Literal["asc", "desc"] = "desc"
) -> Items[Video]:
    """All videos by creation, or `limit` of them, fetched page by page."""
    return listed("/v1/videos", Video, query(order=order), limit=limit, after=after)


def cancel(video_id: str) -> Steps[Video]:
    """Call it off: at once while it waits, within a denoise step while it is rendered."""
    return answer_of(Request(method="POST", url=at("/v1/videos/{}/cancel", video_id)), reads(Video))


def delete(video_id: str) -> Steps[Deleted]:
    """Call it off if need be, and delete it."""
    return answer_of(Request(method="DELETE", url=at("/v1/videos/{}", video_id)), reads(Deleted))


def retry(video_id: str, *, idempotency_key: str | None = None) -> Steps[Video]:
    """A new video like one that failed or was cancelled."""
    return _made(at("/v1/videos/{}/retry", video_id), None, idempotency_key)


def remix(video_id: str, prompt: str, *, idempotency_key: str | None = None) -> Steps[Video]:
    """A new video like this one, its seed included, with another prompt."""
    return _made(at("/v1/videos/{}/remix", video_id), {"prompt": prompt}, idempotency_key)


def events(video_id: str, *, last_event_id: str | None = None) -> Items[VideoEvent]:
    """What befalls the video until it has ended, also over lost connections."""
    return Items(follow(at("/v1/videos/{}/events", video_id), video_event, place=Place(last_event_id)))


def wait(
    video_id: str, *, timeout: float | None = None, on_event: Callable[[VideoEvent], object] | None = None
) -> Steps[Video]:
    """The video once it has ended, well or not. Raises `Timeout` after so many seconds.

    `on_event` hears its events; where no stream of them can be had, it is asked for again and again instead.
    """
    until = None if timeout is None else time.monotonic() + timeout
    place, streams = Place(), True
    video = yield from retrieve(video_id)
    pause_s, longest_s = _POLL_S
    while not video.ended:
        left_s = None if until is None else until - time.monotonic()
        if left_s is not None and left_s <= 0:
            raise Timeout(f"{video_id} has not ended within {timeout:g} s: it is {video.status}")
        if streams and (until is None or (left_s or 0) > _NEAR_S):
            streams = yield from _followed(video_id, place, None if until is None else until - _NEAR_S, on_event)
        else:
            yield Sleep(pause_s if left_s is None else min(pause_s, left_s))
            pause_s = min(longest_s, pause_s * 1.5)
        video = yield from retrieve(video_id)
        if on_event is not None and not video.ended and not streams:
            on_event(StageEvent(id=None, stage=video.stage or video.status, attempt=video.claims))
            on_event(StepEvent(id=None, step=video.step, steps=video.steps, progress=video.progress))
    return video


def _followed(
    video_id: str, place: Place, until: float | None, on_event: Callable[[VideoEvent], object] | None
) -> Steps[bool]:
    """Hear events until the end or until then; whether streams can be had."""

    def hear(event: VideoEvent) -> bool:
        if on_event is not None:
            on_event(event)
        return isinstance(event, EndEvent)

    heard: Items[VideoEvent] = Items(
        follow(at("/v1/videos/{}/events", video_id), video_event, place=place, until=until)
    )
    try:
        yield from watch(heard, hear)
    except (NotFound, Unauthenticated):
        raise
    except (ApiError, BadAnswer, ConnectionFailed):
        return False
    return True


def download(
    video_id: str,
    path: str | os.PathLike[str],
    *,
    variant: Variant = "video",
    resume: bool = True,
    on_bytes: Callable[[int], object] | None = None,
) -> Steps[Path]:
    """Save the finished video, or another of its files. What an earlier call left half done is taken up again.

    The bytes are compared with the SHA-256 that was recorded. Raises `ChecksumMismatch`; `BadRequest` with the code
    `video_not_ready` before there is a video.
    """
    request = Request(method="GET", url=at("/v1/videos/{}/content", video_id), query=query(variant=variant))
    return fetch(request, Path(path), resume=resume, seen=on_bytes)


def _made(url: str, fields: dict[str, Any] | None, key: str | None) -> Steps[Video]:
    headers = {"idempotency-key": key or str(uuid4())}
    return answer_of(Request(method="POST", url=url, json=fields, headers=headers), reads(Video))


def _picture(image: str | bytes | os.PathLike[str]) -> Any:
    if isinstance(image, str):
        return {"file_id": image} if image.startswith("file-") else {"image_url": image}
    data = image if isinstance(image, bytes) else existing(image, "image").read_bytes()
    return {"image_url": f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"}
