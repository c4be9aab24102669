"""A video as the API tells of it. Times are Unix seconds."""

from __future__ import annotations

from typing import Annotated, Literal

from cogmill_client.models.base import Answer, Identified, OrNewer

VideoStatus = Literal["queued", "in_progress", "completed", "failed"]
Variant = Literal["video", "thumbnail", "spritesheet"]
Profile = Literal["exact", "fast", "draft"]
Continuity = Literal["whole", "resumed", "resumed_inexactly", "started_over"]
Incident = Literal[
    "preempted", "tiled_decode", "offloaded_decode", "batch_split", "retried_exactly", "checkpoint_failed",
    "checkpoint_unusable", "all_black", "frozen", "non_finite", "prompt_cut", "negative_prompt_cut",
    "negative_prompt_unused",
]  # fmt: skip


class VideoError(Answer):
    """Why there is no video; `code` is stable."""

    code: str
    message: str


class Expected(Answer):
    """One time in ten before the first moment, one in ten behind the last; None: never, as things stand."""

    low_at: int | None
    likely_at: int | None
    high_at: int | None


class VideoForecast(Answer):
    """When a video that waits is expected to start and to end."""

    starts: Expected
    ends: Expected
    made_at: int
    reason: str | None


class Video(Identified):
    """A video job; the API's documentation says what each field means."""

    object: Literal["video"]
    created_at: int
    status: Annotated[VideoStatus, OrNewer]
    model: str
    progress: int
    seconds: str
    size: str
    prompt: str
    completed_at: int | None
    expires_at: int | None
    error: VideoError | None
    remixed_from_video_id: str | None
    queue_reason: str | None
    forecast: VideoForecast | None = None
    stage: str | None
    step: int
    steps: int
    started_at: int | None
    rendered_by: str
    negative_prompt: str | None
    num_inference_steps: int
    guidance_scale: float
    seed: int
    num_frames: int
    fps: int
    profile: Annotated[Profile, OrNewer]
    adapter: str | None
    adapter_scale: float | None
    reproducible: bool
    resume: Annotated[Literal["exact", "any"], OrNewer]
    strict_prompt: bool
    watermark: bool
    priority: int
    run_at: int | None
    deadline: int | None
    metadata: dict[str, str] | None
    webhook_url: str | None
    attempts: int
    max_attempts: int
    claims: int
    retry_of: str | None
    predicted_gpu_seconds: float
    gpu_seconds: float | None
    # What fair shares and limits count: as predicted, and of the attempt that made it. Earlier servers say nothing: 0.
    predicted_charge: float = 0.0
    charge: float | None = None
    incidents: list[Annotated[Incident, OrNewer]]
    checkpoint_step: int | None
    continuity: Annotated[Continuity, OrNewer] | None
    resumed_at: int | None
    prompt_tokens: int | None
    prompt_cut: bool | None
    numerics: str | None

    @property
    def ended(self) -> bool:
        """Nothing more will become of it."""
        return self.status not in ("queued", "in_progress")
