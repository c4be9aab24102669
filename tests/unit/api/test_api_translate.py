"""The two dialects' translations of one job, state by state."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from api.bigmodel.schemas import VideoLink
from api.bigmodel.translate import task_of
from api.openai.translate import flatten, poll_after_ms, progress_of, video_of
from orchestrator.domain.delivery import Delivery
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.job import Artifact, Failure, Job, RenderSpec, VideoResult
from orchestrator.domain.states import JobState
from orchestrator.policy.cost import predict_finish_s

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
UNIX = int(AT.timestamp())
QUEUED = Job(
    id=UUID("0198c5a7-e3b9-7d6f-8a0c-1f2e3d4c5b6a"),
    tenant="acme",
    pool="p",
    priority=0,
    state=JobState.QUEUED,
    spec=RenderSpec(
        model="tiny", prompt="sea", width=96, height=64, num_frames=49, fps=8, num_inference_steps=30,
        guidance_scale=6.0, seed=7, delivery=Delivery(width=96, height=64, num_frames=49, fps=8),
    ),
    cost=60.0,
    request={"dialect": "openai", "model": "sora-2", "seconds": "6"},
    created_at=AT,
    started_at=None,
    finished_at=None,
    claims=0,
    failures=0,
    evictions=0,
    max_attempts=3,
    cancel_requested=False,
    stage=None,
    step=0,
    failure=None,
    result=None,
)  # fmt: skip
RUNNING = replace(QUEUED, state=JobState.RUNNING, started_at=AT, stage="denoising", step=10)
FILE = Artifact(key="k", size=1, sha256="00", content_type="video/mp4")
SUCCEEDED = replace(
    RUNNING,
    state=JobState.SUCCEEDED,
    step=30,
    finished_at=AT,
    result=VideoResult(video=FILE, cover=FILE, width=96, height=64, num_frames=49, fps=8, gpu_seconds=1.0),
)
FAILED = replace(
    RUNNING, state=JobState.FAILED, finished_at=AT, failure=Failure(code="out_of_memory", message="no room")
)
CANCELLED = replace(RUNNING, state=JobState.CANCELLED, finished_at=AT)
LINKS = VideoLink(url="https://s3/v.mp4", cover_image_url="https://s3/c.png")


@pytest.mark.parametrize(
    ("job", "attempts"),
    [
        (replace(QUEUED, claims=7, failures=2, evictions=5), 2),
        (replace(RUNNING, claims=7, failures=2, evictions=4), 3),
        (replace(SUCCEEDED, claims=7, failures=2, evictions=4), 3),
        (replace(FAILED, claims=7, failures=3, evictions=4), 3),
        (replace(CANCELLED, claims=7, failures=2, evictions=4), 2),
    ],
)
def test_attempts_count_what_max_attempts_bounds_and_claims_every_time_that_a_worker_took_the_job(
    job: Job, attempts: int
) -> None:
    video = video_of(job, keep_s=100)
    assert (video.attempts, video.max_attempts, video.claims) == (attempts, 3, 7)


@pytest.mark.parametrize(
    ("job", "status", "progress", "completed_at", "error"),
    [
        (replace(QUEUED, state=JobState.HELD), "queued", 0, None, None),
        (QUEUED, "queued", 0, None, None),
        (RUNNING, "in_progress", 33, None, None),
        (replace(RUNNING, step=30, stage="uploading"), "in_progress", 99, None, None),
        (SUCCEEDED, "completed", 100, UNIX, None),
        (FAILED, "failed", 33, None, {"code": "out_of_memory", "message": "no room"}),
        (CANCELLED, "failed", 33, None, {"code": "cancelled", "message": "the video was cancelled"}),
    ],
)
def test_openai_shows_every_state_with_every_key(
    job: Job, status: str, progress: int, completed_at: int | None, error: object
) -> None:
    assert video_of(job, keep_s=100).model_dump() == {
        "id": "video_0198c5a7e3b97d6f8a0c1f2e3d4c5b6a",
        "object": "video",
        "created_at": UNIX,
        "status": status,
        "model": "sora-2",
        "progress": progress,
        "seconds": "6",
        "size": "96x64",
        "prompt": "sea",
        "completed_at": completed_at,
        "expires_at": None if completed_at is None else completed_at + 100,
        "error": error,
        "remixed_from_video_id": None,
        "queue_reason": None,
        "forecast": None,
        "stage": job.stage,
        "step": job.step,
        "steps": 30,
        "started_at": None if job.started_at is None else UNIX,
        "rendered_by": "tiny",
        "negative_prompt": None,
        "num_inference_steps": 30,
        "guidance_scale": 6.0,
        "seed": 7,
        "num_frames": 49,
        "fps": 8,
        "profile": "exact",
        "adapter": None,
        "adapter_scale": None,
        "reproducible": False,
        "resume": "exact",
        "strict_prompt": False,
        "watermark": False,
        "priority": 0,
        "run_at": None,
        "deadline": None,
        "metadata": None,
        "webhook_url": None,
        "attempts": int(job.state in (JobState.RUNNING, JobState.SUCCEEDED)),
        "max_attempts": 3,
        "claims": 0,
        "retry_of": None,
        "predicted_gpu_seconds": 60.0,
        "predicted_charge": 60.0,
        "gpu_seconds": None if job.result is None else 1.0,
        "charge": None if job.result is None else 1.0,
        "incidents": [],
        "checkpoint_step": None,
        "continuity": None if job.result is None else "whole",
        "resumed_at": None,
        "prompt_tokens": None,
        "prompt_cut": None,
        "numerics": None,
    }


@pytest.mark.parametrize("keep_s", [math.inf, 1e300])
def test_a_video_that_is_kept_for_ever_expires_at_the_end_of_the_calendar(keep_s: float) -> None:
    assert datetime.fromtimestamp(video_of(SUCCEEDED, keep_s=keep_s).expires_at or 0, UTC).year == 9999


def test_progress_is_never_100_before_the_video_is_there() -> None:
    shown = [progress_of(replace(RUNNING, step=step)) for step in range(31)]
    assert shown == sorted(shown)
    assert (shown[0], shown[15], shown[30]) == (0, 50, 99)


def test_the_time_to_the_next_poll_follows_the_work_that_is_left_and_ends_with_the_job() -> None:
    finish_ms = 1000 * predict_finish_s(QUEUED.spec) / 20
    assert poll_after_ms(QUEUED) == round(3_000 + finish_ms)
    assert poll_after_ms(replace(RUNNING, step=20)) == round(1_000 + finish_ms)
    assert poll_after_ms(replace(QUEUED, cost=10_000)) == 5_000
    assert poll_after_ms(replace(QUEUED, cost=0.1)) == 250
    large = replace(QUEUED.spec, delivery=Delivery(width=3840, height=2160, num_frames=49, fps=8))
    assert poll_after_ms(replace(QUEUED, spec=large)) > poll_after_ms(QUEUED)
    assert poll_after_ms(SUCCEEDED) is None


@pytest.mark.parametrize("job", [replace(QUEUED, state=JobState.HELD), QUEUED, RUNNING])
def test_bigmodel_calls_everything_unfinished_processing_without_a_result(job: Job) -> None:
    task = task_of(replace(job, request={"model": "CogVideoX-3", "request_id": "r"}))
    assert task.model_dump(exclude_none=True) == {
        "id": "video_0198c5a7e3b97d6f8a0c1f2e3d4c5b6a",
        "model": "CogVideoX-3",
        "request_id": "r",
        "task_status": "PROCESSING",
    }


def test_bigmodel_success_carries_one_pair_of_links() -> None:
    task = task_of(SUCCEEDED, LINKS)
    assert (task.task_status, task.video_result, task.error) == ("SUCCESS", [LINKS], None)


@pytest.mark.parametrize(
    ("job", "message"), [(FAILED, "out_of_memory: no room"), (CANCELLED, "the task was cancelled")]
)
def test_bigmodel_failure_says_why(job: Job, message: str) -> None:
    task = task_of(job)
    assert task.task_status == "FAIL"
    assert task.error is not None
    assert (task.error.code, task.error.message) == ("500", message)


def test_a_job_of_one_dialect_can_be_read_in_the_other() -> None:
    foreign = replace(QUEUED, request={})
    assert task_of(foreign).request_id == "video_0198c5a7e3b97d6f8a0c1f2e3d4c5b6a"
    assert (video_of(foreign, keep_s=1).model, video_of(foreign, keep_s=1).seconds) == ("tiny", "6.125")


def test_extensions_in_an_envelope_count_unless_the_body_says_otherwise() -> None:
    body = {"prompt": "p", "seed": 1, "extra_body": '{"seed": 2, "fps": 8}', "extra_params": {"num_frames": 9}}
    assert flatten(body) == {"prompt": "p", "seed": 1, "fps": 8, "num_frames": 9}
    assert flatten({"prompt": "p", "seed": None, "extra_body": {"seed": 2}}) == {"prompt": "p", "seed": 2}


@pytest.mark.parametrize("envelope", ["{", "[1]", 5, [1]])
def test_an_envelope_that_is_no_object_is_refused_by_name(envelope: object) -> None:
    with pytest.raises(InvalidField) as caught:
        flatten({"prompt": "p", "extra_body": envelope})
    assert caught.value.param == "extra_body"
