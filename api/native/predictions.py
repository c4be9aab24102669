"""`/v1/predictions`, which is ours: what renders have taught of how long renders take. For operators."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, JsonValue

from api import deps
from api.openai.errors import DOCS
from api.wire.replies import reply, unix
from api.wire.routes import Router
from orchestrator.domain.rights import Scope
from orchestrator.learning.listing import Line, Speed

router = Router(tags=["operators"])

EXAMPLE: dict[str, JsonValue] = {
    "object": "predictions",
    "data": [
        {
            "object": "prediction",
            "model": "cogvideox-5b",
            "revision": "cogvideox-5b:zai-org/CogVideoX-5b",
            "pool": "main",
            "kind": "spot",
            "size": "720x480",
            "num_frames": 49,
            "steps": 50,
            "profile": "exact",
            "guided": True,
            "adapter": None,
            "prior_seconds": 90.0,
            "seconds": 99.0,
            "ratio": {"low": 1.08, "likely": 1.1, "high": 1.16},
            "renders": 31,
            "weight": 28.4,
            "last_at": 1758941485,
        }
    ],
    "speeds": [
        {
            "object": "prediction.speed",
            "pool": "main",
            "kind": "spot",
            "model": "cogvideox-5b",
            "configured": 1.0,
            "learned": 0.82,
        }
    ],
}


class RatioObject(BaseModel):
    """Real seconds per predicted one; one in ten is below `low`, and one in ten above `high`."""

    low: float
    likely: float
    high: float


class PredictionObject(BaseModel):
    """What renders that are alike have taught."""

    object: Literal["prediction"] = "prediction"
    model: str
    revision: str = Field(description="What tells one state of the model's weights from another.")
    pool: str
    kind: str = Field(description="Of worker; empty where the pool has workers of one kind.")
    size: str
    num_frames: int
    steps: int
    profile: str
    guided: bool
    adapter: str | None
    prior_seconds: float | None = Field(
        description="What the catalogue says of such a render; null of a model that is not configured any more."
    )
    seconds: float | None = Field(description="What its renders say, on this kind of worker.")
    ratio: RatioObject
    renders: int = Field(description="How many it was learned from.")
    weight: float = Field(description="The same in renders that have just ended; older ones count less.")
    last_at: int = Field(description="When the last of them ended.")


class SpeedObject(BaseModel):
    """Seconds of the reference kind's work that a worker of a kind does in a second, with a model."""

    object: Literal["prediction.speed"] = "prediction.speed"
    pool: str
    kind: str
    model: str
    configured: float
    learned: float


class PredictionsObject(BaseModel):
    """What renders have taught, the newest first; and how fast the kinds of workers are."""

    object: Literal["predictions"] = "predictions"
    data: list[PredictionObject]
    speeds: list[SpeedObject]


@router.get(
    "/v1/predictions",
    response_model=PredictionsObject,
    summary="What renders have taught",
    **DOCS.route(Scope.OPERATE, errors=(400, 403), example=EXAMPLE),
)
async def list_predictions(
    request: Request,
    operator: deps.Key,
    model: Annotated[str | None, Query(description="Of this model alone.")] = None,
    pool: Annotated[str | None, Query(description="Of this pool alone.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="At most so many kinds of renders.")] = 200,
) -> Response:
    """How long renders take: the catalogue's word, and what finished ones have taught."""
    learned = await deps.services(request).predictions.show(model=model, pool=pool, most=limit)
    lines, speeds = [_line(line) for line in learned.lines], [_speed(speed) for speed in learned.speeds]
    return reply(PredictionsObject(data=lines, speeds=speeds))


def _line(line: Line) -> PredictionObject:
    key, ratio = line.key, line.ratio
    return PredictionObject(
        model=key.model,
        revision=key.revision,
        pool=line.pool,
        kind=line.kind,
        size=f"{key.width}x{key.height}",
        num_frames=key.num_frames,
        steps=key.steps,
        profile=key.profile,
        guided=key.guided,
        adapter=key.adapter or None,
        prior_seconds=line.prior_s,
        seconds=line.seconds,
        ratio=RatioObject(low=ratio.low, likely=ratio.likely, high=ratio.high),
        renders=ratio.samples,
        weight=line.weight,
        last_at=unix(line.last_at),
    )


def _speed(speed: Speed) -> SpeedObject:
    return SpeedObject(
        pool=speed.pool, kind=speed.kind, model=speed.model, configured=speed.configured, learned=speed.learned
    )
