"""Between the bigmodel dialect and the jobs behind it: pure translations."""

from __future__ import annotations

from typing import Literal

from api.bigmodel.schemas import BigmodelErrorDetail, GenerateVideo, Task, VideoLink
from api.wire.pictures import read_picture
from orchestrator.domain.catalog import Profile
from orchestrator.domain.errors import InvalidField, Refused
from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import Job, public_id
from orchestrator.domain.request import VideoRequest
from orchestrator.domain.states import JobState
from orchestrator.domain.texts import check_text

DEFAULT_SECONDS = 5
_MAX_REQUEST_ID = 128
_USER_ID_CHARS = (6, 128)
_PROFILES = {"speed": Profile.FAST, "quality": Profile.EXACT}
_FAILED = "500"
# Whose fault is the request's has the code that it would have had at the door.
_CODES = {Refused.code: "1301", FailureCode.PROMPT_TOO_LONG.value: "1261"}

_STATUS: dict[JobState, Literal["PROCESSING", "SUCCESS", "FAIL"]] = {
    JobState.HELD: "PROCESSING",
    JobState.QUEUED: "PROCESSING",
    JobState.RUNNING: "PROCESSING",
    JobState.SUCCEEDED: "SUCCESS",
    JobState.FAILED: "FAIL",
    JobState.CANCELLED: "FAIL",
}


def request_of(fields: GenerateVideo, *, fallback_request_id: str) -> VideoRequest:
    """The neutral request; `fallback_request_id` names it when the caller does not."""
    _check_user(fields.user_id)
    image = read_picture(fields.image_url, "image_url")
    if fields.prompt is None and image is None:
        raise InvalidField("is required without image_url", param="prompt", code="missing")
    return VideoRequest(
        model=fields.model,
        prompt=fields.prompt or "",
        image=image,
        negative_prompt=fields.negative_prompt,
        size=fields.size,
        seconds=DEFAULT_SECONDS if fields.duration is None else fields.duration,
        num_frames=fields.num_frames,
        fps=fields.fps,
        num_inference_steps=fields.num_inference_steps,
        guidance_scale=fields.guidance_scale,
        seed=fields.seed,
        profile=None if fields.quality is None else _PROFILES[fields.quality],
        usual_profile=Profile.FAST,
        strict_prompt=fields.strict_prompt,
        watermark=fields.watermark_enabled,
        # Beside the keys of the other dialect, which must not meet them.
        idempotency_key=f"bigmodel:{fields.request_id}" if fields.request_id else None,
        origin={
            "dialect": "bigmodel",
            "model": fields.model.strip(),
            "request_id": _request_id(fields.request_id or fallback_request_id),
        },
    )


def _request_id(text: str) -> str:
    check_text(text, "request_id", max_chars=_MAX_REQUEST_ID)
    if not text.isprintable() or text.isspace():
        raise InvalidField("must be printable text on one line", param="request_id")
    return text


def _check_user(user_id: str | None) -> None:
    shortest, longest = _USER_ID_CHARS
    if user_id is not None and not shortest <= len(user_id) <= longest:
        raise InvalidField(f"must have {shortest} to {longest} characters", param="user_id")


def task_of(job: Job, links: VideoLink | None = None) -> Task:
    """The task object; `links` once the video is there. Jobs of another dialect get their id as the request's."""
    video_id = public_id(job.id)
    status = _STATUS[job.state]
    return Task(
        id=video_id,
        model=str(job.request.get("model") or job.spec.model),
        request_id=str(job.request.get("request_id") or video_id),
        task_status=status,
        video_result=None if links is None else [links],
        error=_error(job) if status == "FAIL" else None,
        queue_reason=job.queue_reason,
    )


def _error(job: Job) -> BigmodelErrorDetail:
    failure = job.failure
    if job.state is JobState.CANCELLED or failure is None:
        return BigmodelErrorDetail(code=_FAILED, message="the task was cancelled")
    code = _CODES.get(failure.code, _FAILED)
    return BigmodelErrorDetail(code=code, message=f"{failure.code}: {failure.message}")
