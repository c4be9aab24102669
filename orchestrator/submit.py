"""Accept, read, cancel and delete: the use-cases behind every dialect."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from uuid_utils.compat import uuid7

from orchestrator import logs, metrics
from orchestrator.config import Settings
from orchestrator.domain.catalog import ModelFamily, Size
from orchestrator.domain.cost import predict
from orchestrator.domain.errors import InvalidField, NotFound, StoreUnavailable, Unsupported
from orchestrator.domain.job import Job, NewJob, RenderSpec, parse_public_id
from orchestrator.domain.states import JobState
from orchestrator.ports import JobStore, Page

_log = logs.get("submit")

DEFAULT_PRIORITY = 10  # with room on both sides
MAX_STEPS = 200
MAX_GUIDANCE = 20.0
MAX_SEED = 2**63 - 1

# Seeds that we draw fit in 32 bits, so that every JSON reader can carry them back to us exactly.
_RANDOM_SEED_BITS = 32
_LONGEST_SECONDS = 3600

_WAITING = (JobState.HELD, JobState.QUEUED)

# What Unicode counts among letters and symbols and shows as nothing: fillers and the empty Braille cell.
_INVISIBLE = frozenset("\u115f\u1160\u2800\u3164\uffa0")

# Control characters but for tab, newline and carriage return; and half surrogate pairs, which UTF-8 cannot say.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRequest:
    """One video as its caller asked for it, free of any dialect. None means that the model's default will do.

    `size` is (width, height) in pixels; `num_frames` wins over `seconds`; `priority` 0 is the most urgent;
    `origin` is kept with the job for the dialect's later answers and must be plain JSON.
    """

    prompt: str
    model: str | None = None
    negative_prompt: str | None = None
    size: Size | None = None
    seconds: float | None = None
    num_frames: int | None = None
    fps: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    priority: int = DEFAULT_PRIORITY
    origin: Mapping[str, Any] = field(default_factory=dict)


class SubmitUnconfirmed(StoreUnavailable):
    """The store did not confirm a submit: its job may be queued or may not, so sending it again could render twice."""


class Jobs:
    """A tenant's jobs. Every id that is not one of the tenant's own raises `NotFound`, whatever the reason."""

    def __init__(self, settings: Settings, store: JobStore) -> None:
        self._settings = settings
        self._store = store

    async def submit(self, tenant: str, request: VideoRequest) -> Job:
        """Check the request and insert its job; returns after the commit.

        Raises a `RequestError`, which inserts none, or `SubmitUnconfirmed`.
        """
        seed = random.getrandbits(_RANDOM_SEED_BITS) if request.seed is None else request.seed
        planned = plan(self._settings, tenant, request, job_id=uuid7(), seed=seed)
        try:
            job = await self._store.submit(planned)
        except StoreUnavailable as error:
            raise SubmitUnconfirmed(str(error)) from error
        metrics.submitted.labels(job.pool).inc()
        _log.info("job_accepted", job=job.id.hex, tenant=tenant, pool=job.pool, dialect=request.origin.get("dialect"))
        return job

    async def get(self, tenant: str, video_id: str) -> Job:
        """The job as it stands."""
        return _found(await self._store.get(_job_id(video_id), tenant), video_id)

    async def list(
        self, tenant: str, *, limit: int, after: str | None = None, order: Literal["asc", "desc"] = "desc"
    ) -> Page:
        """A page of jobs by creation time, starting behind the job `after`."""
        if after is None:
            return await self._store.list_jobs(tenant, limit=limit, order=order)
        cursor = _job_id(after, param="after")
        try:
            return await self._store.list_jobs(tenant, limit=limit, after=cursor, order=order)
        except NotFound:
            raise _not_found(after, param="after") from None

    async def cancel(self, tenant: str, video_id: str) -> Job:
        """Cancel a waiting job at once, or ask for a running one to be cancelled; ended jobs stay as they are."""
        before = await self.get(tenant, video_id)
        if before.state.terminal:
            return before
        after = _found(await self._store.request_cancel(before.id, tenant), video_id)
        # One that was running is counted where its owner ends it.
        if before.state in _WAITING and after.state is JobState.CANCELLED:
            metrics.jobs_ended.labels(after.pool, after.state).inc()
        return after

    async def delete(self, tenant: str, video_id: str) -> None:
        """Cancel if need be, and hide the job for good; its objects are swept later."""
        job = await self.cancel(tenant, video_id)
        if not await self._store.delete(job.id, tenant):
            raise _not_found(video_id)


def plan(settings: Settings, tenant: str, request: VideoRequest, *, job_id: UUID, seed: int) -> NewJob:
    """The job that a request becomes: checked, complete and priced. Raises a `RequestError` that names the field."""
    check_text(request.prompt, "prompt", max_chars=settings.api.max_prompt_chars)
    if not any(map(_shows, request.prompt)):
        raise InvalidField("must not be blank", param="prompt")
    model = settings.resolve_model(request.model)
    family = settings.family_of(model)
    spec = _spec(settings, model, family, request, seed)
    return NewJob(
        id=job_id,
        tenant=tenant,
        pool=settings.pool_of(model),
        priority=request.priority,
        spec=spec,
        cost=predict(family, spec),
        max_attempts=settings.retry.max_attempts,
        request=request.origin,
    )


def _spec(settings: Settings, model: str, family: ModelFamily, request: VideoRequest, seed: int) -> RenderSpec:
    negative_prompt = request.negative_prompt or ""
    check_text(negative_prompt, "negative_prompt", max_chars=settings.api.max_prompt_chars)
    width, height = request.size or family.default_size
    num_frames = _num_frames(family, request)
    fps = family.fps if request.fps is None else request.fps
    family.check(size=(width, height), num_frames=num_frames, fps=fps)
    steps = family.default_steps if request.num_inference_steps is None else request.num_inference_steps
    guidance = family.default_guidance if request.guidance_scale is None else request.guidance_scale
    _within(steps, "num_inference_steps", 1, MAX_STEPS)
    _within(guidance, "guidance_scale", 0, MAX_GUIDANCE)
    _within(seed, "seed", 0, MAX_SEED)
    return RenderSpec(
        model=model,
        prompt=request.prompt,
        negative_prompt=negative_prompt,
        width=width,
        height=height,
        num_frames=num_frames,
        fps=fps,
        num_inference_steps=steps,
        guidance_scale=float(guidance),
        seed=seed,
    )


def _num_frames(family: ModelFamily, request: VideoRequest) -> int:
    if request.num_frames is not None:
        return request.num_frames
    if request.seconds is None:
        return family.max_frames
    _within(request.seconds, "seconds", 0, _LONGEST_SECONDS)
    if request.seconds == 0:
        raise InvalidField("must be more than 0", param="seconds")
    num_frames = family.frames_for(request.seconds)
    if num_frames > family.max_frames:
        raise Unsupported(
            f"{family.name} renders at most {family.max_seconds:g} seconds, not {request.seconds:g}", param="seconds"
        )
    return num_frames


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


def _job_id(video_id: str, param: str | None = None) -> UUID:
    job_id = parse_public_id(video_id)
    if job_id is None:
        raise _not_found(video_id, param)
    return job_id


def _found(job: Job | None, video_id: str) -> Job:
    if job is None:
        raise _not_found(video_id)
    return job


def _not_found(video_id: str, param: str | None = None) -> NotFound:
    return NotFound(f"no video with the id {video_id[:80]!r}", param=param)
