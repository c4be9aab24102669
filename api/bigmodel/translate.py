"""Between the bigmodel dialect and the jobs behind it: pure translations."""

from __future__ import annotations

from typing import Literal

from api.bigmodel.schemas import BigmodelErrorDetail, GenerateVideo, Task, VideoLink
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.job import Job, public_id
from orchestrator.domain.states import JobState
from orchestrator.request import VideoRequest, check_text

DEFAULT_SECONDS = 5
_MAX_REQUEST_ID = 128
_FAILED = "500"

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
    request_id = fields.request_id or fallback_request_id
    check_text(request_id, "request_id", max_chars=_MAX_REQUEST_ID)
    if not request_id.isprintable() or request_id.isspace():
        raise InvalidField("must be printable text on one line", param="request_id")
    return VideoRequest(
        model=fields.model,
        prompt=fields.prompt,
        negative_prompt=fields.negative_prompt,
        size=fields.size,
        seconds=DEFAULT_SECONDS if fields.duration is None else fields.duration,
        num_frames=fields.num_frames,
        fps=fields.fps,
        num_inference_steps=fields.num_inference_steps,
        guidance_scale=fields.guidance_scale,
        seed=fields.seed,
        origin={"dialect": "bigmodel", "model": fields.model.strip(), "request_id": request_id},
    )


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
        error=BigmodelErrorDetail(code=_FAILED, message=_reason(job)) if status == "FAIL" else None,
    )


def _reason(job: Job) -> str:
    if job.state is JobState.CANCELLED or job.failure is None:
        return "the task was cancelled"
    return f"{job.failure.code}: {job.failure.message}"
