"""The bodies of the OpenAI dialect: what a request may say, and every key of an answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import PydanticCustomError

from api.wire.bodies import AutoSizeField, Integer, Moment, Number, Texts, unsupported
from api.wire.paging import Identified, Listing
from api.wire.pictures import PictureField
from orchestrator.domain.catalog import Profile
from orchestrator.domain.job import Continuity, Incident

VIDEO_EXAMPLE: dict[str, JsonValue] = {
    "id": "video_0198c5a7e3b97d6f8a0c1f2e3d4c5b6a",
    "object": "video",
    "created_at": 1758941485,
    "status": "in_progress",
    "model": "cogvideox-2b",
    "progress": 42,
    "seconds": "6",
    "size": "720x480",
    "prompt": "a lighthouse in a storm",
    "completed_at": None,
    "expires_at": None,
    "error": None,
    "remixed_from_video_id": None,
    "queue_reason": None,
    "forecast": None,
    "stage": "denoising",
    "step": 21,
    "steps": 50,
    "started_at": 1758941490,
    "rendered_by": "cogvideox-2b",
    "negative_prompt": None,
    "num_inference_steps": 50,
    "guidance_scale": 6.0,
    "seed": 7,
    "num_frames": 49,
    "fps": 8,
    "profile": "exact",
    "adapter": "ink",
    "adapter_scale": 0.8,
    "reproducible": False,
    "resume": "exact",
    "strict_prompt": False,
    "watermark": False,
    "priority": 10,
    "run_at": None,
    "deadline": 1758949200,
    "metadata": {"campaign": "autumn"},
    "webhook_url": "https://example.org/hooks/videos",
    "attempts": 1,
    "max_attempts": 3,
    "claims": 2,
    "retry_of": None,
    "predicted_gpu_seconds": 45.0,
    "predicted_charge": 45.0,
    "gpu_seconds": None,
    "charge": None,
    "incidents": ["preempted"],
    "checkpoint_step": 15,
    "continuity": None,
    "resumed_at": None,
    "prompt_tokens": None,
    "prompt_cut": None,
    "numerics": None,
}
CREATE_EXAMPLES: dict[str, JsonValue] = {
    "plain": {"model": "cogvideox-2b", "prompt": "a lighthouse in a storm", "seconds": "6", "size": "720x480"},
    "from an image": {
        "prompt": "the boat sails away",
        "input_reference": {"image_url": "https://example.org/boat.png"},
    },
    "everything": {
        "prompt": "a lighthouse in a storm",
        "negative_prompt": "people",
        "size": "1440x960",
        "fps": 16,
        "seconds": "6",
        "num_inference_steps": 50,
        "guidance_scale": 6.0,
        "seed": 7,
        "profile": "exact",
        "adapter": "ink",
        "adapter_scale": 0.8,
        "resume": "any",
        "priority": 20,
        "run_at": "2026-12-01T22:00:00Z",
        "deadline": "2026-12-02T06:00:00Z",
        "max_attempts": 2,
        "metadata": {"campaign": "autumn"},
        "webhook_url": "https://example.org/hooks/videos",
    },
}


def _one(value: int) -> int:
    if value != 1:
        raise PydanticCustomError("unsupported_value", "this deployment makes one video for each request")
    return value


class CreateVideo(BaseModel):
    """A video to render. Fields that are left out, or null, take the model's defaults.

    A field that would change the video and cannot be had is refused by its name, an unknown one too.
    """

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(description="What the video shows.")
    model: str | None = Field(None, description="A configured model or an alias of one, in any case.")
    seconds: Number | None = Field(None, description="Length of the video, to the frame; 4 by default.")
    size: AutoSizeField = Field(
        None,
        description="Width and height. Beyond the model's own sizes it is scaled. `auto`, as when it is absent, is "
        "the model's first size, and with an image the one of its sizes that is nearest to the image's shape.",
    )
    input_reference: PictureField = Field(
        None,
        description="The image that the video begins at; in forms also `input_reference[image_url]`, "
        "`input_reference[file_id]` or a file. Fitted by a centre crop, and refused where that would cut too much of "
        "it away.",
    )
    image_reference: PictureField = Field(None, description="Another name of `input_reference`.")
    reference_url: PictureField = Field(None, description="Another name of `input_reference`.")

    negative_prompt: str | None = Field(None, description="What the video must not show.")
    num_inference_steps: Integer | None = Field(None, description="1 to 200.")
    guidance_scale: Number | None = Field(None, description="0 to 20.")
    seed: Integer | None = Field(None, description="0 to 2^63 - 1; drawn at random when absent.")
    num_frames: Integer | None = Field(None, description="Frames to render. Wins over `seconds`.")
    fps: Integer | None = Field(None, description="The model's own rate to 60; frames between are interpolated.")
    width: Integer | None = Field(None, description="With `height`; `size` wins over both.")
    height: Integer | None = Field(None, description="With `width`.")
    profile: Profile | None = Field(
        None,
        description="`exact` approximates nothing; `fast` lets a step reuse much of the one before; `draft` also takes "
        "fewer steps at a smaller size, and is scaled up. By default the most exact that the model is rendered in.",
    )
    adapter: str | None = Field(None, description="A LoRA adapter that the model takes: `/v1/models` names them.")
    adapter_scale: Number | None = Field(None, description="How strongly, -4 to 4; by default as it is configured.")
    reproducible: bool = Field(
        False, description="The same request gives the same frames, on workers that are the same: never in a batch."
    )
    resume: Literal["exact", "any"] = Field(
        "exact",
        description="Where a render that was interrupted may go on: `exact` is only on workers that are the same, and "
        "`any` also on others. Where it may not, it starts over. Profiles other than `exact`, and renders in a batch, "
        "go on with other frames than undisturbed ones; `continuity` says so, and `reproducible` forbids it.",
    )
    strict_prompt: bool = Field(
        False,
        description="A prompt that has more tokens than the model reads fails with `prompt_too_long`, before a step is "
        "rendered, and so does a negative prompt; one that has no effect (`guidance_scale` of at most 1) is refused. "
        "By default its end is cut off, and `incidents` says so.",
    )
    watermark: bool = Field(False, description="Draw a visible mark.")

    priority: Integer | None = Field(
        None,
        description="0, the most urgent, to 100; 10 by default, which is also the most urgent that is allowed "
        "unless the operator says otherwise.",
    )
    run_at: Moment | None = Field(None, description="Not before then.")
    deadline: Moment | None = Field(None, description="Earlier deadlines come first among jobs of equal priority.")
    max_attempts: Integer | None = Field(None, description="How often the render may be tried, if it fails.")
    webhook_url: str | None = Field(None, description="Called, signed, when the video has ended.")
    metadata: Texts | None = Field(
        None, description="At most 16 texts of your own; in forms `metadata[name]` or JSON text."
    )

    user: Any = Field(None, description="Accepted and ignored.")
    n: Annotated[Integer, AfterValidator(_one)] = Field(1, description="One video for each request.")

    characters: Annotated[Any, unsupported("no model here keeps characters")] = Field(None, description="Refused.")
    lora: Annotated[Any, unsupported("name a configured LoRA in adapter instead")] = Field(None, description="Refused.")
    flow_shift: Annotated[Any, unsupported("no model here has a flow to shift")] = Field(None, description="Refused.")
    generate_sound: Annotated[bool, unsupported("the models make no sound")] = Field(
        False, description="Only false can be had."
    )
    enable_frame_interpolation: Annotated[bool, unsupported("ask for a higher fps instead")] = Field(
        False, description="Only false; a higher `fps` interpolates."
    )


class RemixVideo(BaseModel):
    """The new prompt of a video that is otherwise like an earlier one, its seed included."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(description="What the new video shows.")


class VideoError(BaseModel):
    """Why there is no video; `code` is stable."""

    code: str
    message: str


class Expected(BaseModel):
    """Three moments, in Unix seconds: 10%, 50%, 90%. Null is never, as things stand."""

    low_at: int | None
    likely_at: int | None
    high_at: int | None


class VideoForecast(BaseModel):
    """When a video that waits is expected to be taken by a worker, and to have been rendered."""

    starts: Expected
    ends: Expected
    made_at: int = Field(description="When all that waits was last reckoned.")
    reason: str | None = Field(description="Why it never starts, where it does not.")


class Video(Identified):
    """A video job. The fields up to `remixed_from_video_id` are OpenAI's, the rest are ours. Times are Unix seconds."""

    object: Literal["video"] = "video"
    created_at: int
    status: Literal["queued", "in_progress", "completed", "failed"]
    model: str = Field(description="As it was asked for.")
    progress: int = Field(ge=0, le=100, description="Percent of the denoise steps.")
    seconds: str
    size: str
    prompt: str
    completed_at: int | None
    expires_at: int | None
    error: VideoError | None
    remixed_from_video_id: str | None

    queue_reason: str | None = Field(
        description="What a video that waits is waiting for, with its number; in lists and events not its turn."
    )
    forecast: VideoForecast | None = Field(
        description="Of a queued video that is asked for by its id: when it is expected to start and to end, by what "
        "goes before it. Null without a forecast of the last ten minutes, in lists and in events."
    )
    stage: str | None = Field(description="Where the render is; null while none goes on.")
    step: int = Field(description="Denoise steps done.")
    steps: int = Field(description="Denoise steps to do.")
    started_at: int | None
    rendered_by: str = Field(description="The configured model behind `model`, or its image-to-video sibling.")
    negative_prompt: str | None
    num_inference_steps: int
    guidance_scale: float
    seed: int
    num_frames: int = Field(description="Frames that the model renders.")
    fps: int = Field(description="Frames per second of the finished video.")
    profile: Profile
    adapter: str | None
    adapter_scale: float | None
    reproducible: bool
    resume: Literal["exact", "any"]
    strict_prompt: bool
    watermark: bool
    priority: int
    run_at: int | None
    deadline: int | None
    metadata: dict[str, str] | None
    webhook_url: str | None
    attempts: int = Field(description="Those that failed, and the one that goes on or made the video.")
    max_attempts: int = Field(description="How many `attempts` there may be.")
    claims: int = Field(description="How often a worker has taken the job. Evictions and the like are no attempts.")
    retry_of: str | None
    predicted_gpu_seconds: float
    predicted_charge: float = Field(
        description="What fair shares, `largest_request` and `gpu_seconds_per_day` count: the predicted GPU seconds, "
        "or the seconds for which its finishing keeps a worker where those are more."
    )
    gpu_seconds: float | None = Field(description="Of the attempt that made the video.")
    charge: float | None = Field(description="What they counted of that attempt once it was over.")
    incidents: list[Incident] = Field(description="What befell the last attempt, which went on all the same; in order.")
    checkpoint_step: int | None = Field(description="Denoise steps that another attempt would not have to repeat.")
    continuity: Continuity | None = Field(
        description="`whole`: rendered in one go. `resumed`: from a checkpoint, with the frames of one go. "
        "`resumed_inexactly`: with frames that may differ. `started_over`: a checkpoint was there, and was not used. "
        "Null until the video is there."
    )
    resumed_at: int | None = Field(description="Denoise steps that the checkpoint had; null unless it was resumed.")
    prompt_tokens: int | None = Field(
        description="Tokens of the whole prompt as the model counts them, the mark of its end included; it reads 226 "
        "(224 in 1.5). Null until the video is there."
    )
    prompt_cut: bool | None = Field(
        description="The prompt has more tokens than the model reads, and its end was cut off. Null until it is known."
    )
    numerics: str | None = Field(
        description="Fingerprint of all that decides the frames beside the request; null until the video is there. "
        "Equal requests give equal frames where it is equal and has no mark: `+batched` is rendered with others, "
        "`+mixed` resumed inexactly."
    )


class VideoList(Listing[Video]):
    """A page of videos."""


class DeletedVideo(BaseModel):
    """The video is gone for good."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


ErrorKind = Literal["invalid_request_error", "rate_limit_error", "insufficient_quota", "server_error"]


class OpenAIErrorDetail(BaseModel):
    """`param` is the field to blame; `code` is stable."""

    message: str
    type: ErrorKind
    param: str | None
    code: str


class OpenAIError(BaseModel):
    """Every error of this dialect."""

    error: OpenAIErrorDetail
