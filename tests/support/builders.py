"""Values for tests: small, legal, and every field open to change."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from orchestrator.domain.delivery import Delivery
from orchestrator.domain.job import Artifact, Checkpoint, Claim, NewJob, RenderSpec, VideoResult, WorkerRef
from orchestrator.domain.objects import claim_prefix
from orchestrator.domain.protocol import RenderStatus, Stage, WorkerState, WorkerStatus

WORKER = WorkerRef(name="small-0", incarnation="first")


def a_spec(**changes: Any) -> RenderSpec:
    values: dict[str, Any] = {
        "model": "tiny-2b",
        "prompt": "a mill on a river",
        "width": 96,
        "height": 64,
        "num_frames": 9,
        "fps": 8,
        "num_inference_steps": 4,
        "guidance_scale": 6.0,
        "seed": 7,
    }
    values |= changes
    if "delivery" not in values:
        values["delivery"] = Delivery(**{name: values[name] for name in ("width", "height", "num_frames", "fps")})
    return RenderSpec(**values)


def a_job(**changes: Any) -> NewJob:
    values: dict[str, Any] = {
        "id": uuid4(),
        "tenant": "acme",
        "pool": "small",
        "priority": 10,
        "spec": a_spec(),
        "cost": 2.0,
        "max_attempts": 3,
    }
    return NewJob(**{**values, **changes})


def a_claim(**changes: Any) -> Claim:
    values: dict[str, Any] = {
        "job_id": uuid4(),
        "token": uuid4(),
        "number": 1,
        "tenant": "acme",
        "pool": "small",
        "priority": 10,
        "spec": a_spec(),
        "cost": 2.0,
        "failures": 0,
        "evictions": 0,
        "max_attempts": 3,
        "worker": WORKER,
    }
    return Claim(**{**values, **changes})


def prefix_of(claim: Claim) -> str:
    """Where the claim's objects live."""
    return claim_prefix(claim.job_id, claim.number)


def a_result(prefix: str = "videos/x/1/", **changes: Any) -> VideoResult:
    values: dict[str, Any] = {
        "video": Artifact(key=f"{prefix}video.mp4", size=10, sha256="0" * 64, content_type="video/mp4"),
        "cover": Artifact(key=f"{prefix}cover.png", size=5, sha256="1" * 64, content_type="image/png"),
        "width": 96,
        "height": 64,
        "num_frames": 9,
        "fps": 8,
        "gpu_seconds": 1.5,
        "stages": {"denoising": 1.0},
    }
    return VideoResult(**{**values, **changes})


def a_checkpoint(step: int = 2, *, numerics: str = "a" * 16, prefix: str = "videos/x/1/") -> Checkpoint:
    key = f"{prefix}checkpoints/{step}.safetensors"
    return Checkpoint(
        artifact=Artifact(key=key, size=7, sha256="3" * 64, content_type="application/octet-stream"),
        step=step,
        numerics=numerics,
    )


def a_render(claim: Claim | None = None, **changes: Any) -> RenderStatus:
    claim = claim or a_claim()
    values: dict[str, Any] = {
        "token": claim.token,
        "job_id": claim.job_id,
        "claim": claim.number,
        "stage": Stage.DENOISING,
        "step": 1,
        "steps": 4,
        "progress_age_s": 0.1,
    }
    return RenderStatus(**{**values, **changes})


def a_status(*renders: RenderStatus, **changes: Any) -> WorkerStatus:
    values: dict[str, Any] = {
        "worker": WORKER,
        "pool": "small",
        "plan": "",
        "model": "tiny-2b",
        "state": WorkerState.READY,
        "version": 1,
        "free_in_s": 0.0,
        "room": 1,
        "step_s": 0.1,
        "gpu_busy_s": 0.0,
        "renders": tuple(renders),
    }
    return WorkerStatus(**{**values, **changes})


def token_of(number: int) -> UUID:
    """A readable token."""
    return UUID(int=number)
