"""The bodies of the bigmodel dialect: what a request may say, and every key of an answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from api.bodies import Integer, Later, Number, OnlyFalse, SizeField

Ignored = Annotated[Any, Field(description="Accepted and ignored.")]


def _integer_as_text(value: object) -> object:
    return str(value) if type(value) is int else value


class GenerateVideo(BaseModel):
    """A video to render. Fields that are left out, or null, take the model's defaults; unknown ones are ignored."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(description="A configured model or an alias of one, in any case.")
    prompt: str
    size: SizeField | None = None
    fps: Integer | None = Field(None, description="Must be the model's own rate.")
    duration: Integer | None = Field(
        None, description="Seconds, rendered as the nearest count of frames that the model can make; 5 by default."
    )
    request_id: Annotated[str, BeforeValidator(_integer_as_text)] | None = None
    quality: Literal["speed", "quality"] = Field(
        "speed", description="Both render the model's own number of steps; `num_inference_steps` trades between them."
    )

    seed: Integer | None = Field(None, description="0 to 2^63 - 1; drawn at random when absent.")
    negative_prompt: str | None = None
    num_inference_steps: Integer | None = Field(None, description="1 to 200.")
    guidance_scale: Number | None = Field(None, description="0 to 20.")
    num_frames: Integer | None = Field(None, description="Wins over `duration`.")

    image_url: Later = None
    with_audio: OnlyFalse = False
    watermark_enabled: OnlyFalse = False

    user_id: Ignored = None
    sensitive_word_check: Ignored = None
    style: Ignored = None
    aspect_ratio: Ignored = None
    movement_amplitude: Ignored = None
    off_peak: Ignored = None


class VideoLink(BaseModel):
    """Absolute signed URLs that open without a header, for a limited time."""

    cover_image_url: str
    url: str


class BigmodelErrorDetail(BaseModel):
    """`code` is a string of digits."""

    code: str
    message: str


class Task(BaseModel):
    """A video task. `video_result` is there on SUCCESS, `error` on FAIL."""

    id: str
    model: str
    request_id: str
    task_status: Literal["PROCESSING", "SUCCESS", "FAIL"]
    video_result: list[VideoLink] | None = None
    error: BigmodelErrorDetail | None = None


class BigmodelError(BaseModel):
    """Every error of this dialect."""

    error: BigmodelErrorDetail


class ContentFilter(BaseModel):
    """Whose content was refused, and how badly: 0 is the worst, 3 the least."""

    level: int = 1
    role: str = "user"


class BigmodelRefusal(BigmodelError):
    """The error of a request that moderation does not allow."""

    contentFilter: list[ContentFilter]
