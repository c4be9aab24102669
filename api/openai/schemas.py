"""The bodies of the OpenAI dialect: what a request may say, and every key of an answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema
from pydantic_core import PydanticCustomError

from api.bodies import Integer, Later, Number, OnlyFalse, SizeField

_VIDEO_EXAMPLE: dict[str, JsonValue] = {
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
    "stage": "denoising",
    "step": 21,
    "steps": 50,
    "seed": 7,
}


def _one(value: int) -> int:
    if value != 1:
        raise PydanticCustomError("unsupported_value", "this deployment makes one video for each request")
    return value


class CreateVideo(BaseModel):
    """A video to render. Fields that are left out, or null, take the model's defaults."""

    model_config = ConfigDict(extra="forbid")

    prompt: str
    model: str | None = Field(None, description="A configured model or an alias of one, in any case.")
    seconds: Annotated[Integer, WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string"}]})] | None = Field(
        None, description="Length, rendered as the nearest count of frames that the model can make; 4 by default."
    )
    size: SizeField | None = None

    negative_prompt: str | None = None
    num_inference_steps: Integer | None = Field(None, description="1 to 200.")
    guidance_scale: Number | None = Field(None, description="0 to 20.")
    seed: Integer | None = Field(None, description="0 to 2^63 - 1; drawn at random when absent.")
    num_frames: Integer | None = Field(None, description="Wins over `seconds`.")
    fps: Integer | None = Field(None, description="Must be the model's own rate.")
    width: Integer | None = Field(None, description="With `height`; `size` wins over both.")
    height: Integer | None = None
    user: Any = Field(None, description="Accepted and ignored.")
    n: Annotated[Integer, AfterValidator(_one)] = Field(1, description="One video for each request.")

    input_reference: Later = None
    image_reference: Later = None
    reference_url: Later = None
    characters: Later = None
    lora: Later = None
    flow_shift: Later = None
    generate_sound: OnlyFalse = False
    enable_frame_interpolation: OnlyFalse = False


class VideoError(BaseModel):
    code: str
    message: str


class Video(BaseModel):
    """A video job. `stage`, `step`, `steps` (denoise steps) and `seed` are ours; the rest is OpenAI's."""

    model_config = ConfigDict(json_schema_extra={"examples": [_VIDEO_EXAMPLE]})

    id: str
    object: Literal["video"] = "video"
    created_at: int
    status: Literal["queued", "in_progress", "completed", "failed"]
    model: str
    progress: int = Field(ge=0, le=100)
    seconds: str
    size: str
    prompt: str
    completed_at: int | None
    expires_at: int | None
    error: VideoError | None
    remixed_from_video_id: str | None = None
    stage: str | None
    step: int
    steps: int
    seed: int


class VideoList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedVideo(BaseModel):
    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


ErrorKind = Literal["invalid_request_error", "rate_limit_error", "insufficient_quota", "server_error"]


class OpenAIErrorDetail(BaseModel):
    message: str
    type: ErrorKind
    param: str | None
    code: str


class OpenAIError(BaseModel):
    """Every error of this dialect."""

    error: OpenAIErrorDetail
