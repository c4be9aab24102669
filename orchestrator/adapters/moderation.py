"""The moderation hook: asks whoever the configuration names whether something may be rendered or published.

**An endpoint** (`moderation.url`) gets a POST. About a request it is JSON, `image` only where pictures are sent:

    {"subject": "request", "tenant": "...", "prompt": "...", "image": {"content_type": "image/png", "data": "<base64>"}}

`negative_prompt` is there, too, where the request has one: what the video must not show, in its caller's words.

About a finished video it is multipart/form-data: the part `facts` is JSON, the part `video` the MP4 itself.

    {"subject": "video", "job": "video_...", "model": "...", "prompt": "...", "negative_prompt": "..."}

It answers 200 with `{"allowed": true}` or `{"allowed": false, "reason": "a sentence for the caller"}`, in at most
64 KiB. About a request it may add which field it means, `"param": "negative_prompt"`.

**An entry point** (`moderation.entry_point`) is called with the same object as a dict and returns the same answer as
one. There `image.data` is bytes, and `video` is the file's path. It runs in a thread of its own, and a coroutine in an
event loop of its own. A thread cannot be stopped: what is given up after `timeout_s` keeps one of 16 until it ends.

Whatever is not such an answer is none: another status, a redirect, a word for a boolean, an exception, the time-out.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import pkgutil
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import httpx

from orchestrator.config import ModerationSettings
from orchestrator.domain import jsontext
from orchestrator.domain.addresses import is_loopback
from orchestrator.domain.errors import ConfigError, ModerationUnavailable, Refused, RenderFailed
from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import RenderSpec, public_id
from orchestrator.ports import Picture
from orchestrator.telemetry import logs, metrics

_log = logs.get("moderation")

_MAX_ANSWER_BYTES = 64 * 1024
_MAX_REASON_CHARS = 500
_NO_REASON = "the content policy does not allow it"
_THREADS = 16
# What is shown of a request.
_SHOWN = ("prompt", "negative_prompt", "image")

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Review:
    """A clear answer. `reason` is a printable sentence for the owner."""

    allowed: bool
    reason: str = _NO_REASON
    # The field that is meant, if the answer says so.
    param: str | None = None


class NoAnswer(Exception):
    """Nobody said yes or no; the message says what came instead."""


class Moderation:
    """Implements `ports.Moderator` for requests, and looks at finished videos for workers.

    Raises `ConfigError` for an endpoint or an entry point that can never be asked.
    """

    def __init__(self, settings: ModerationSettings) -> None:
        self._settings = settings
        self._ask = _asker(settings)

    async def review(
        self, tenant: str, prompt: str, picture: Picture | None, *, negative_prompt: str | None = None
    ) -> None:
        """Return when it may be rendered. Raises `Refused`, or `ModerationUnavailable` when no answer means no."""
        facts: Facts = {"subject": "request", "tenant": tenant}
        if self._settings.prompt:
            facts["prompt"] = prompt
        if self._settings.prompt and negative_prompt:
            facts["negative_prompt"] = negative_prompt
        if self._settings.image and picture is not None:
            facts["image"] = {"content_type": picture.content_type, "data": picture.data}
        if facts.keys().isdisjoint(("prompt", "image")):
            return
        try:
            review = await self._reviewed("request", facts)
        except NoAnswer as error:
            raise ModerationUnavailable(str(error)) from error
        if not review.allowed:
            raise Refused(review.reason, param=_blamed(facts, review))

    def review_video(self, video: Path, job_id: UUID, spec: RenderSpec) -> None:
        """Return when the finished file may be published. For a thread of the worker: waits up to `timeout_s`.

        Raises `RenderFailed`: for good when it is refused, to be tried again when no answer means no.
        """
        if not self._settings.video:
            return
        facts = {"subject": "video", "job": public_id(job_id), "model": spec.model, "prompt": spec.prompt}
        if spec.negative_prompt:
            facts["negative_prompt"] = spec.negative_prompt
        try:
            review = asyncio.run(self._reviewed("video", {**facts, "video": str(video)}))
        except NoAnswer as error:
            raise RenderFailed(FailureCode.MODERATION_UNAVAILABLE, f"nobody could review the video: {error}") from error
        if not review.allowed:
            raise RenderFailed(FailureCode.CONTENT_POLICY_VIOLATION, review.reason, retryable=False)

    async def _reviewed(self, subject: Literal["request", "video"], facts: Facts) -> Review:
        """What is answered, or what no answer means. Raises `NoAnswer` when it fails closed."""
        if self._ask is None:
            return Review(allowed=True)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                review = review_of(await self._ask(facts))
        except Exception as error:  # of somebody else's code or server: whatever it is, it is no answer
            cause = f"{type(error).__name__}: {error}".rstrip(": ")
            _log.warning("moderation_unanswered", subject=subject, error=cause, fail_open=self._settings.fail_open)
            metrics.moderated.labels(subject, "unanswered").inc()
            if self._settings.fail_open:
                return Review(allowed=True)
            raise NoAnswer(cause) from error
        metrics.moderated.labels(subject, "allowed" if review.allowed else "refused").inc()
        return review


def review_of(answer: object) -> Review:
    """A decoded answer as a review. Raises `NoAnswer` for anything but a clear one."""
    if not isinstance(answer, Mapping) or not isinstance(answer.get("allowed"), bool):
        raise NoAnswer(f"no object with a boolean 'allowed': {answer!r:.80}")
    if answer["allowed"]:
        return Review(allowed=True)
    reason = answer.get("reason")
    told = "".join(filter(str.isprintable, reason)).strip() if isinstance(reason, str) else ""
    param = answer.get("param")
    return Review(
        allowed=False, reason=told[:_MAX_REASON_CHARS] or _NO_REASON, param=param if param in _SHOWN else None
    )


def _blamed(facts: Facts, review: Review) -> str | None:
    """The field of a request that is refused: the one that is meant, or the only one that was shown."""
    shown = [name for name in _SHOWN if name in facts]
    if review.param in shown:
        return review.param
    return shown[0] if len(shown) == 1 else None


def _asker(settings: ModerationSettings) -> Callable[[Facts], Awaitable[object]] | None:
    if settings.url is not None:
        return _Endpoint(settings.url)
    if settings.entry_point is not None:
        return _EntryPoint(settings.entry_point)
    return None


class _Endpoint:
    """An HTTP service of the operator's own, which is why its address is not guarded as those that callers give."""

    def __init__(self, url: str) -> None:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ConfigError(f"moderation.url: {error}") from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ConfigError(f"moderation.url: must be an http(s) URL, not {url!r}")
        self._url = parsed
        self._tls = ssl.create_default_context()

    async def __call__(self, facts: Facts) -> object:
        # The caller's deadline covers all of it; a client of its own, since reviews come from several event loops.
        own = is_loopback(self._url.host)
        async with httpx.AsyncClient(verify=self._tls, timeout=None, trust_env=not own) as client:
            with _content(facts) as content:
                headers = {"accept": "application/json", "accept-encoding": "identity"}
                request = client.build_request("POST", self._url, headers=headers, **content)
                answer = await client.send(request, stream=True)
                try:
                    if answer.status_code != httpx.codes.OK:
                        raise NoAnswer(f"status {answer.status_code}")
                    return jsontext.parse(await _read(answer))
                finally:
                    await answer.aclose()


@contextmanager
def _content(facts: Facts) -> Iterator[dict[str, Any]]:
    """The body, as arguments of `build_request`; a video is read while it is sent."""
    if "video" in facts:
        told = json.dumps({name: value for name, value in facts.items() if name != "video"})
        with Path(facts["video"]).open("rb") as video:
            yield {"data": {"facts": told}, "files": {"video": ("video.mp4", video, "video/mp4")}}
        return
    image = facts.get("image")
    if image is not None:
        facts = {**facts, "image": {**image, "data": base64.b64encode(image["data"]).decode()}}
    yield {"json": facts}


async def _read(answer: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > _MAX_ANSWER_BYTES:
            raise NoAnswer(f"an answer of more than {_MAX_ANSWER_BYTES} bytes")
    return bytes(body)


class _EntryPoint:
    """A function of the operator's own."""

    def __init__(self, name: str) -> None:
        self._function = _load(name)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="moderation")

    async def __call__(self, facts: Facts) -> object:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._call, facts)

    def _call(self, facts: Facts) -> object:
        answer = self._function(facts)
        return asyncio.run(_settled(answer)) if inspect.isawaitable(answer) else answer


async def _settled(answer: Awaitable[object]) -> object:
    return await answer


def _load(name: str) -> Callable[[Facts], object]:
    """The function that `package.module:function` names."""
    if ":" not in name:
        raise ConfigError(f"moderation.entry_point: must be package.module:function, not {name!r}")
    try:
        found = pkgutil.resolve_name(name)
    except Exception as error:  # importing runs somebody else's code
        raise ConfigError(f"moderation.entry_point: {name!r} cannot be loaded: {error!r}") from error
    if not callable(found):
        raise ConfigError(f"moderation.entry_point: {name!r} is not callable")
    function: Callable[[Facts], object] = found
    return function
