"""The bodies of the bigmodel dialect: what a request may say, and every key of an answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from api.wire.bodies import Integer, Number, SizeField, unsupported
from api.wire.pictures import PictureField

Ignored = Annotated[Any, Field(description="Accepted and ignored.")]

GENERATE_EXAMPLES: dict[str, JsonValue] = {
    "plain": {"model": "cogvideox", "prompt": "a lighthouse in a storm", "size": "1440x960", "fps": 16, "duration": 6},
    "from an image": {"model": "cogvideox", "image_url": "https://example.org/boat.png", "quality": "quality"},
}
PROCESSING_EXAMPLE: dict[str, JsonValue] = {
    "id": "video_0198c5a7e3b97d6f8a0c1f2e3d4c5b6a",
    "model": "cogvideox",
    "request_id": "a-1",
    "task_status": "PROCESSING",
}
SUCCESS_EXAMPLE: dict[str, JsonValue] = {
    **PROCESSING_EXAMPLE,
    "task_status": "SUCCESS",
    "video_result": [
        {"cover_image_url": "https://s3.example.org/c.png?X-Amz-Signature=1", "url": "https://s3.example.org/v.mp4"}
    ],
}


def _integer_as_text(value: object) -> object:
    return str(value) if type(value) is int else value


Text = Annotated[str, BeforeValidator(_integer_as_text)]


class GenerateVideo(BaseModel):
    """A video to render. Fields that are left out, or null, take the model's defaults; unknown ones are ignored."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(description="A configured model or an alias of one, in any case.")
    prompt: str | None = Field(None, description="What the video shows; may be left out beside an image.")
    image_url: PictureField = Field(
        None,
        description="The image that the video begins at, fitted by a centre crop, and refused where that would cut too "
        "much of it away; no last frame can be given.",
    )
    size: SizeField | None = Field(
        None,
        description="Width and height. Beyond the model's own sizes it is scaled. When it is absent, the model's first "
        "size, and with an image the one of its sizes that is nearest to the image's shape.",
    )
    fps: Integer | None = Field(
        None, description="The model's own rate (the default) to 60; frames between are interpolated."
    )
    duration: Integer | None = Field(None, description="Seconds, to the frame; 5 by default.")
    quality: Literal["speed", "quality"] | None = Field(
        None,
        description="`quality` approximates nothing; `speed`, the default where it can be had, lets a denoise step "
        "reuse much of the one before.",
    )
    with_audio: Annotated[bool, unsupported("the models make no sound")] = Field(
        False, description="Only false can be had."
    )
    watermark_enabled: bool = Field(
        False,
        description="Draw a visible mark. Not by default: the vendor must mark what its public service makes, and here "
        "the operator decides. That it was made by AI is told by the C2PA manifest in any case.",
    )
    request_id: Text | None = Field(
        None, description="Repeating a request under its id answers the first task; another request is refused as 1231."
    )
    user_id: Text | None = Field(None, description="Your end user, in 6 to 128 characters. Not kept.")

    seed: Integer | None = Field(None, description="0 to 2^63 - 1; drawn at random when absent.")
    negative_prompt: str | None = Field(None, description="What the video must not show.")
    num_inference_steps: Integer | None = Field(None, description="1 to 200.")
    guidance_scale: Number | None = Field(None, description="0 to 20.")
    num_frames: Integer | None = Field(None, description="Frames to render. Wins over `duration`.")
    strict_prompt: bool = Field(
        False,
        description="A prompt that has more tokens than the model reads fails as 1261, before a step is rendered, and "
        "so does a negative prompt; one that has no effect (`guidance_scale` of at most 1) is refused. By default its "
        "end is cut off.",
    )

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
    """A video task. `video_result` is there on SUCCESS, `error` on FAIL.

    `queue_reason`, which is ours, says why no worker takes a task that waits, where it is not only for its turn.
    """

    id: str
    model: str
    request_id: str
    task_status: Literal["PROCESSING", "SUCCESS", "FAIL"]
    video_result: list[VideoLink] | None = None
    error: BigmodelErrorDetail | None = None
    queue_reason: str | None = None


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
