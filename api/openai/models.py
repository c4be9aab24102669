"""`/v1/models`: what is configured, under each of its names, what it can make, and whether a worker has it."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, JsonValue

from api import deps
from api.openai.errors import DOCS
from api.openai.translate import DEFAULT_SECONDS
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.config import Settings
from orchestrator.domain.catalog import Profile
from orchestrator.domain.delivery import MAX_FPS
from orchestrator.domain.errors import NotFound, UnknownModel
from orchestrator.domain.request import ImageBytes, VideoRequest
from orchestrator.domain.rights import Scope
from orchestrator.domain.waiting import unserved, worst
from orchestrator.intake.planning import MAX_GUIDANCE, MAX_STEPS, plan
from orchestrator.intake.waiting import Known
from orchestrator.policy.cost import predict_finish_s
from orchestrator.policy.prediction import Predictions

router = Router(tags=["openai"])

_EXAMPLE: dict[str, JsonValue] = {
    "id": "cogvideox-2b",
    "object": "model",
    "created": 0,
    "owned_by": "cogmill",
    "alias_of": None,
    "family": "cogvideox-2b",
    "sizes": ["720x480"],
    "sizes_rule": "720x480",
    "frames": [9, 17, 25, 33, 41, 49],
    "frames_rule": "9 to 49 frames in steps of 8",
    "default_frames": 49,
    "fps": 8,
    "max_fps": 60,
    "max_seconds": 6.125,
    "image_to_video": False,
    "image_model": "cogvideox-5b-i2v",
    "profiles": ["exact", "fast", "draft"],
    "adapters": ["ink"],
    "default_steps": 50,
    "steps": {"exact": 50, "fast": 50, "draft": 20},
    "max_steps": 200,
    "default_guidance_scale": 6.0,
    "max_guidance_scale": 20.0,
    "price_per_hour": None,
    "currency": None,
    "typical_seconds": 32.4,
    "available": True,
    "unavailable_reason": None,
    "unavailable_detail": None,
}


class Model(BaseModel):
    """A model under one of its names. The fields up to `owned_by` are OpenAI's, the rest are ours."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(0, description="Not known; always 0.")
    owned_by: str = "cogmill"

    alias_of: str | None = Field(description="The configured model that this name stands for.")
    family: str
    sizes: list[str] = Field(description="What it renders; other sizes are cropped and scaled from these.")
    sizes_rule: str = Field(description="The same in words.")
    frames: list[int] = Field(description="Frame counts that it renders.")
    frames_rule: str = Field(description="The same in words.")
    default_frames: int = Field(description="Rendered where nobody asks for a length, in the family's own terms.")
    fps: int = Field(description="The rate that it renders at, and the lowest that can be asked for.")
    max_fps: int = Field(description="The highest rate that can be asked for; frames between are interpolated.")
    max_seconds: float
    image_to_video: bool = Field(description="It begins at an image, and renders nothing without one.")
    image_model: str | None = Field(description="The model that renders requests with an image.")
    profiles: list[Profile] = Field(description="What it is rendered in here, the default first.")
    adapters: list[str] = Field(description="LoRA adapters that a request may name.")
    default_steps: int
    steps: dict[str, int] = Field(description="Denoise steps of each profile, where nobody asks for a number.")
    max_steps: int
    default_guidance_scale: float
    max_guidance_scale: float
    price_per_hour: float | None = Field(
        description="Of an hour of rendering in the default profile, where it costs most; null where the pool has none."
    )
    currency: str | None
    typical_seconds: float = Field(
        description="Predicted seconds of a request that names nothing but a prompt, and an image where it must: on "
        "the GPU, as its renders here have taught (an H100's before any), and for finishing. Waiting is not in it."
    )
    available: bool = Field(
        description="False while it is known that no worker has loaded it, or its pools are paused: requests are "
        "taken, and wait."
    )
    unavailable_reason: str | None = Field(description="Why it is not available.")
    unavailable_detail: str | None = Field(description="The same in its worker's own words, for an operator's key.")


class ModelList(BaseModel):
    """Every name that a request may give as its `model`."""

    object: Literal["list"] = "list"
    data: list[Model]


@router.get(
    "/v1/models",
    response_model=ModelList,
    summary="List models",
    **DOCS.route(Scope.READ, example={"object": "list", "data": [_EXAMPLE]}),
)
async def list_models(request: Request, key: deps.Key) -> Response:
    """Every configured model and alias, and what it can make."""
    services = deps.services(request)
    settings, known, learned = services.settings, await services.waiting.known(), await services.book.known()
    names, trusted = (*settings.models, *settings.aliases), key.operator
    return reply(ModelList(data=[_described(settings, name, known, learned, trusted=trusted) for name in names]))


@router.get(
    "/v1/models/{model_id:path}",
    response_model=Model,
    summary="Retrieve a model",
    **DOCS.route(Scope.READ, errors=(404,), example=_EXAMPLE),
)
async def retrieve_model(request: Request, model_id: str, key: deps.Key) -> Response:
    """What one model can make, by its name or an alias, in any case."""
    services = deps.services(request)
    try:
        known, trusted = await services.waiting.known(), key.operator
        learned = await services.book.known()
        return reply(_described(services.settings, model_id, known, learned, trusted=trusted))
    except UnknownModel as error:
        raise NotFound(error.message, param="model") from None


def _described(settings: Settings, name: str, known: Known, learned: Predictions, *, trusted: bool) -> Model:
    model = settings.resolve_model(name)
    pools = [pool for pool, configured in settings.pools.items() if configured.model == model]
    its = [load for load in known.loads if load.model == model and load.pool in pools]
    missing = unserved(pools, its, known.pauses)
    detail = worst(its).detail if missing and trusted and its else ""
    family = settings.family_of(model)
    pool = settings.pool_of(model, settings.profiles_of(model)[0])
    price = None if pool is None else settings.prices.get(pool)
    return Model(
        id=name,
        alias_of=None if name in settings.models else model,
        family=family.name,
        sizes=[f"{width}x{height}" for width, height in family.sizes],
        sizes_rule=family.sizes_words,
        frames=list(family.legal_frames()),
        frames_rule=family.frames_rule,
        fps=family.fps,
        max_fps=MAX_FPS,
        max_seconds=family.max_seconds,
        image_to_video=family.image_to_video,
        image_model=settings.image_model_of(model),
        profiles=list(settings.profiles_of(model)),
        adapters=list(settings.adapters_of(model)),
        default_frames=family.default_frames,
        default_steps=family.default_steps,
        steps={str(profile): family.steps_of(profile) for profile in settings.profiles_of(model)},
        max_steps=MAX_STEPS,
        max_guidance_scale=MAX_GUIDANCE,
        price_per_hour=None if price is None else round(price * 3600, 6),
        currency=None if price is None else settings.billing.currency,
        default_guidance_scale=family.default_guidance,
        typical_seconds=round(_typical_s(settings, model, learned), 1),
        available=missing is None,
        unavailable_reason=missing,
        unavailable_detail=detail or None,
    )


def _typical_s(settings: Settings, model: str, predictions: Predictions) -> float:
    image = ImageBytes(b"") if settings.family_of(model).image_to_video else None
    request = VideoRequest(prompt="typical", model=model, image=image, seconds=DEFAULT_SECONDS)
    planned = plan(settings, "", request, job_id=UUID(int=0), seed=0, predictions=predictions)
    return planned.cost + predict_finish_s(planned.spec)
