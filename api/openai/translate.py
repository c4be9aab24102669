"""Between the OpenAI dialect and the jobs behind it: pure translations."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from api.openai.schemas import CreateVideo, Expected, Video, VideoError, VideoForecast
from api.wire.bodies import LAST_SECOND, parse_object
from api.wire.pictures import read_picture
from api.wire.replies import unix
from orchestrator.domain.catalog import Size
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.job import Incident, Job, public_id
from orchestrator.domain.outlooks import Expected as JobExpected
from orchestrator.domain.outlooks import JobOutlook
from orchestrator.domain.request import ImageSource, VideoRequest
from orchestrator.domain.states import JobState
from orchestrator.policy import charge
from orchestrator.policy.cost import predict_finish_s

DEFAULT_SECONDS = 4

# Other servers of this dialect nest their extensions in these, as an object or as JSON text.
_ENVELOPES = ("extra_body", "extra_params")

# The names that a picture may have.
_PICTURES = ("input_reference", "image_reference", "reference_url")

_POLL_SHARE = 20
_POLL_MS = (250, 5_000)

_STATUS: dict[JobState, Literal["queued", "in_progress", "completed", "failed"]] = {
    JobState.HELD: "queued",
    JobState.QUEUED: "queued",
    JobState.RUNNING: "in_progress",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "failed",
}


def flatten(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body with the extensions of its envelopes at the top, where a field of the same name wins."""
    flat: dict[str, Any] = {}
    for name in _ENVELOPES:
        value = body.get(name)
        if isinstance(value, str):
            value = parse_object(value, param=name) if value.strip() else None
        if value is None:
            continue
        if not isinstance(value, Mapping):
            raise InvalidField("must be an object, or the JSON text of one", param=name)
        flat |= value
    return flat | {name: value for name, value in body.items() if name not in _ENVELOPES and value is not None}


def request_of(fields: CreateVideo, *, idempotency_key: str | None = None) -> VideoRequest:
    """The neutral request; `size`, `auto` included, wins over width and height, `num_frames` over `seconds`."""
    seconds = DEFAULT_SECONDS if fields.seconds is None else fields.seconds
    return VideoRequest(
        model=fields.model,
        prompt=fields.prompt,
        negative_prompt=fields.negative_prompt,
        size=fields.size if "size" in fields.model_fields_set else _size(fields),
        seconds=seconds,
        num_frames=fields.num_frames,
        fps=fields.fps,
        num_inference_steps=fields.num_inference_steps,
        guidance_scale=fields.guidance_scale,
        seed=fields.seed,
        image=_picture(fields),
        profile=fields.profile,
        adapter=fields.adapter,
        adapter_scale=fields.adapter_scale,
        reproducible=fields.reproducible,
        resume_anywhere=fields.resume == "any",
        strict_prompt=fields.strict_prompt,
        watermark=fields.watermark,
        priority=fields.priority,
        run_at=fields.run_at,
        deadline=fields.deadline,
        max_attempts=fields.max_attempts,
        webhook_url=fields.webhook_url,
        metadata=fields.metadata or {},
        idempotency_key=idempotency_key,
        origin=_origin(fields, seconds),
    )


def _origin(fields: CreateVideo, seconds: float) -> dict[str, Any]:
    """What only the caller's words can tell later."""
    said = {
        "model": fields.model and fields.model.strip(),
        "seconds": f"{seconds:g}" if fields.num_frames is None else None,
        "run_at": unix(fields.run_at),
        "deadline": unix(fields.deadline),
    }
    return {"dialect": "openai"} | {name: value for name, value in said.items() if value is not None}


def _picture(fields: CreateVideo) -> ImageSource | None:
    given = {name: getattr(fields, name) for name in _PICTURES if getattr(fields, name) is not None}
    if len(given) > 1:
        raise InvalidField(f"is given beside {next(iter(given))}", param=list(given)[1])
    return next((read_picture(value, name) for name, value in given.items()), None)


def _size(fields: CreateVideo) -> Size | None:
    if fields.width is None and fields.height is None:
        return None
    if fields.width is None or fields.height is None:
        absent = "width" if fields.width is None else "height"
        raise InvalidField("width and height come together", param=absent, code="missing")
    return fields.width, fields.height


def video_of(job: Job, *, keep_s: float) -> Video:
    """The video object. `keep_s` is how long an ended job and its objects are kept."""
    done, spec, result = job.state is JobState.SUCCEEDED, job.spec, job.result
    return Video(
        id=public_id(job.id),
        created_at=unix(job.created_at),
        status=_STATUS[job.state],
        model=str(job.request.get("model") or spec.model),
        progress=progress_of(job),
        seconds=str(job.request.get("seconds") or f"{spec.delivery.seconds:g}"),
        size=f"{spec.delivery.width}x{spec.delivery.height}",
        prompt=spec.prompt,
        completed_at=unix(job.finished_at) if done else None,
        expires_at=_expiry(job.finished_at, keep_s) if done and job.finished_at else None,
        error=_error(job),
        remixed_from_video_id=job.request.get("remixed_from"),
        queue_reason=job.queue_reason,
        forecast=None if job.outlook is None else forecast_of(job.outlook),
        stage=job.stage,
        step=job.step,
        steps=job.steps,
        started_at=unix(job.started_at),
        rendered_by=spec.model,
        negative_prompt=spec.negative_prompt or None,
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_scale,
        seed=spec.seed,
        num_frames=spec.num_frames,
        fps=spec.delivery.fps,
        profile=spec.profile,
        adapter=spec.adapter,
        adapter_scale=None if spec.adapter is None else spec.adapter_scale,
        reproducible=spec.reproducible,
        resume="any" if spec.resume_anywhere else "exact",
        strict_prompt=spec.strict_prompt,
        watermark=spec.delivery.watermark,
        priority=job.priority,
        run_at=job.request.get("run_at"),
        deadline=job.request.get("deadline"),
        metadata=job.request.get("metadata"),
        webhook_url=job.request.get("webhook_url"),
        attempts=job.attempts,
        max_attempts=job.max_attempts,
        claims=job.claims,
        retry_of=job.request.get("retry_of"),
        predicted_gpu_seconds=round(job.cost, 3),
        predicted_charge=round(job.charged, 3),
        gpu_seconds=None if result is None else result.gpu_seconds,
        charge=None if result is None else round(charge.of_video(result), 3),
        incidents=list(job.incidents if result is None else result.incidents),
        checkpoint_step=None if job.checkpoint is None else job.checkpoint.step,
        continuity=None if result is None else result.continuity,
        resumed_at=None if result is None else result.resumed_at or None,
        prompt_tokens=None if result is None else result.prompt_tokens,
        prompt_cut=_prompt_cut(job),
        numerics=None if result is None else result.numerics,
    )


def forecast_of(outlook: JobOutlook) -> VideoForecast:
    return VideoForecast(
        starts=_expected(outlook.starts),
        ends=_expected(outlook.ends),
        made_at=unix(outlook.made_at),
        reason=outlook.reason,
    )


def _expected(moments: JobExpected) -> Expected:
    return Expected(low_at=unix(moments.low_at), likely_at=unix(moments.likely_at), high_at=unix(moments.high_at))


def _prompt_cut(job: Job) -> bool | None:
    if job.result is not None:
        return job.result.prompt_cut
    return True if Incident.PROMPT_CUT in job.incidents else None


def progress_of(job: Job) -> int:
    """Percent, from denoise steps really done; 100 only for a video that is there."""
    if job.state is JobState.SUCCEEDED:
        return 100
    return min(99, 100 * job.step // job.steps)


def poll_after_ms(job: Job) -> int | None:
    """When asking again is worth it: a share of the predicted time that is left; None once the job has ended."""
    if job.state.terminal:
        return None
    left_s = job.cost * (1 - job.step / job.steps) + predict_finish_s(job.spec)
    shortest, longest = _POLL_MS
    return max(shortest, min(longest, round(1000 * left_s / _POLL_SHARE)))


def _error(job: Job) -> VideoError | None:
    match job.state:
        case JobState.CANCELLED:
            return VideoError(code="cancelled", message="the video was cancelled")
        case JobState.FAILED if job.failure is not None:
            return VideoError(code=job.failure.code, message=job.failure.message)
        case _:
            return None


def _expiry(finished_at: datetime, keep_s: float) -> int:
    return int(min(finished_at.timestamp() + keep_s, LAST_SECOND))
