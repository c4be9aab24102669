"""Jobs, workers and endings for tests of the store and of what stands on it."""

from __future__ import annotations

from typing import Any

import uuid_utils.compat

from orchestrator.domain.job import Artifact, Claim, Failure, NewJob, RenderSpec, VideoResult, WorkerRef
from orchestrator.domain.outcome import Ending, Lost, Released, Settlement, settle
from orchestrator.domain.protocol import Broke, Rendered
from orchestrator.domain.retry import RetryPolicy

POOL = "tiny"
CLUSTER = "here"
AT_ONCE = RetryPolicy(base_s=0.0, cap_s=0.0)

SPEC = RenderSpec(
    model="tiny", prompt="a lighthouse at dusk", width=96, height=64, num_frames=9, fps=8, num_inference_steps=4,
    guidance_scale=6.0, seed=1,
)  # fmt: skip


def new_job(tenant: str = "acme", **changes: Any) -> NewJob:
    """A job worth 90 predicted GPU seconds that may be tried three times."""
    defaults: dict[str, Any] = {
        "id": uuid_utils.compat.uuid7(), "tenant": tenant, "pool": POOL, "priority": 0, "spec": SPEC, "cost": 90.0,
        "max_attempts": 3,
    }  # fmt: skip
    return NewJob(**{**defaults, **changes})


def worker(name: str = "w0", incarnation: str = "first") -> WorkerRef:
    return WorkerRef(name=name, incarnation=incarnation)


def workers(count: int) -> list[WorkerRef]:
    return [worker(f"w{i}") for i in range(count)]


def rendered(claim: Claim, gpu_seconds: float = 90.0) -> Rendered:
    """The claim's success, with artefacts below its own prefix."""
    video = Artifact(key=f"{claim.prefix}video.mp4", size=1, sha256="0" * 64, content_type="video/mp4")
    cover = Artifact(key=f"{claim.prefix}cover.png", size=1, sha256="0" * 64, content_type="image/png")
    result = VideoResult(
        video=video, cover=cover, width=96, height=64, num_frames=9, fps=8, gpu_seconds=gpu_seconds, stages={}
    )
    return Rendered(result=result)


def broke(*, retryable: bool = True, gpu_seconds: float = 0.0) -> Broke:
    return Broke(failure=Failure(code="boom", message="it broke", retryable=retryable), gpu_seconds=gpu_seconds)


def lost() -> Lost:
    return Lost(failure=Failure(code="worker_lost", message="its worker vanished"))


def released() -> Released:
    return Released(reason="refused")


def ending(claim: Claim, how: Ending, policy: RetryPolicy = AT_ONCE) -> Settlement:
    """The settlement of a claim that ended like this."""
    return settle(claim, how, policy, 0.5)


def success(claim: Claim, gpu_seconds: float = 90.0) -> Settlement:
    return ending(claim, rendered(claim, gpu_seconds))
