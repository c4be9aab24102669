"""`/v1/videos/quote`, which is ours: what one video would cost, and when it would be there, before it is asked for."""

from __future__ import annotations

from typing import Literal

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, JsonValue

from api import deps
from api.native.campaign_answers import MoneyRange, Range
from api.openai.errors import DOCS
from api.openai.schemas import CreateVideo, VideoForecast
from api.openai.translate import flatten, forecast_of, request_of
from api.wire.bodies import read_json, typed
from api.wire.docs import Body
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.domain.rights import Scope
from orchestrator.intake.planning import prediction_of
from orchestrator.policy.cost import predict_finish_s

router = Router(tags=["videos"])

# What stands for a prompt that is still to be written.
_ANYTHING = "a video"
QUOTE_EXAMPLE: dict[str, JsonValue] = {
    "object": "video.quote",
    "model": "cogvideox-5b",
    "pool": "main",
    "profile": "exact",
    "size": "720x480",
    "render_size": "720x480",
    "num_frames": 49,
    "fps": 8,
    "seconds": 6.125,
    "steps": 50,
    "guidance_scale": 6.0,
    "priority": 10,
    "gpu_seconds": {"low": 84.0, "likely": 90.0, "high": 102.0},
    "charge": 90.0,
    "finish_seconds": 2.4,
    "money": {"low": 0.058, "likely": 0.0625, "high": 0.071, "currency": "USD"},
    "forecast": None,
}


class QuoteVideo(CreateVideo):
    """The video that would be asked for, as `/v1/videos` takes it; the prompt may still be missing."""

    prompt: str = Field(_ANYTHING, description="What the video shows; it costs the same whatever it is.")


class VideoQuote(BaseModel):
    """What a video would be, what it would cost, and when it would be there. Nothing is reserved."""

    object: Literal["video.quote"] = "video.quote"
    model: str = Field(description="That renders it: with a picture the one that begins at pictures.")
    pool: str
    profile: str
    size: str = Field(description="Of the file.")
    render_size: str = Field(description="Before it is cropped and scaled.")
    num_frames: int
    fps: int = Field(description="Of the file; frames between are interpolated.")
    seconds: float
    steps: int
    guidance_scale: float
    priority: int
    gpu_seconds: Range
    charge: float = Field(description="What fair shares and daily limits would count.")
    finish_seconds: float = Field(description="Predicted, for encoding, once it is rendered.")
    money: MoneyRange | None = Field(description="At the pool's price where it costs most; null where it has none.")
    forecast: VideoForecast | None = Field(
        description="When it would begin and end behind all that its tenant has waiting there; null where nobody has "
        "reckoned that lately."
    )


@router.post(
    "/v1/videos/quote",
    response_model=VideoQuote,
    summary="Price a video",
    **DOCS.route(
        Scope.READ,
        reads=Body(fields=QuoteVideo, examples={"typical": {"model": "cogvideox-5b", "seconds": "6"}}),
        example=QUOTE_EXAMPLE,
    ),
)
async def quote(request: Request, tenant: deps.Tenant) -> Response:
    """What a video would cost; what is wrong with it is refused as `/v1/videos` would. Pictures are not fetched."""
    services = deps.services(request)
    settings = services.settings
    fields = typed(QuoteVideo, flatten(await read_json(request)))
    planned = await services.jobs.priced(tenant, request_of(fields))
    spec, known = planned.spec, await services.book.known()
    cost = prediction_of(settings, spec, planned.pool, known)
    price = settings.prices.get(planned.pool)
    spread = {"low": cost.low, "likely": cost.gpu_seconds, "high": cost.high}
    money = None
    if price is not None:
        priced = {name: round(value * price, 6) for name, value in spread.items()}
        money = MoneyRange(**priced, currency=settings.billing.currency)
    outlook = await services.waiting.outlook_of(planned)
    return reply(
        VideoQuote(
            model=spec.model,
            pool=planned.pool,
            profile=spec.profile,
            size=f"{spec.delivery.width}x{spec.delivery.height}",
            render_size=f"{spec.width}x{spec.height}",
            num_frames=spec.num_frames,
            fps=spec.delivery.fps,
            seconds=round(spec.delivery.seconds, 3),
            steps=spec.num_inference_steps,
            guidance_scale=spec.guidance_scale,
            priority=planned.priority,
            gpu_seconds=Range(**{name: round(value, 3) for name, value in spread.items()}),
            charge=round(planned.charged, 3),
            finish_seconds=round(predict_finish_s(spec), 3),
            money=money,
            forecast=None if outlook is None else forecast_of(outlook),
        )
    )
