"""`/v1/pools` and `/v1/queue`, which are ours: operators pause what is claimed, and see what waits."""

from __future__ import annotations

from typing import Literal

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api import deps
from api.openai.errors import DOCS
from api.wire.bodies import read_json, typed
from api.wire.docs import Body
from api.wire.replies import reply, unix
from api.wire.routes import Router
from orchestrator.capacity import pools
from orchestrator.domain.outlooks import KeptOutlook, Subject
from orchestrator.domain.pausing import EVERY
from orchestrator.domain.rights import Scope
from orchestrator.ports import ApiKey

router = Router(tags=["operators"])

EXAMPLE: dict[str, JsonValue] = {
    "id": "main",
    "object": "pool",
    "model": "cogvideox-5b",
    "paused": True,
    "pauses": [
        {
            "object": "pause",
            "of": "pool",
            "reason": "the storage moves until 14:00 UTC",
            "paused_by": "acme/on call (key Xy12)",
            "paused_at": 1758941485,
        }
    ],
    "queued": 1204,
    "running": 8,
    "forecast": {
        "low_at": 1758955100,
        "likely_at": 1758957570,
        "high_at": 1758961800,
        "made_at": 1758941480,
        "reason": None,
    },
}


class Pause(BaseModel):
    """A pause that stands: of one pool, or of the whole queue."""

    object: Literal["pause"] = "pause"
    of: Literal["pool", "queue"]
    reason: str = Field(description="What whoever waits is told.")
    paused_by: str
    paused_at: int


class PoolForecast(BaseModel):
    """When all that the pool has to render is done, as things stand: 10%, 50%, 90%; null is never."""

    low_at: int | None
    likely_at: int | None
    high_at: int | None
    made_at: int
    reason: str | None = Field(description="Why it is never done, where it is not.")


class Pool(BaseModel):
    """A pool of workers. While it is paused nothing new begins, what runs goes on, and requests are taken and wait."""

    id: str
    object: Literal["pool"] = "pool"
    model: str
    paused: bool
    pauses: list[Pause] = Field(description="Its own pause and that of the whole queue, where they stand.")
    queued: int = Field(description="Videos that wait for it.")
    running: int = Field(description="Videos that its workers hold.")
    forecast: PoolForecast | None = Field(description="Null where none has been made yet.")


class PoolList(BaseModel):
    """Every pool of the configuration."""

    object: Literal["list"] = "list"
    data: list[Pool]


class PauseRequest(BaseModel):
    """Why, in one line of at most 200 characters, for whoever waits."""

    model_config = ConfigDict(extra="forbid")

    reason: str


READS = Body(fields=PauseRequest, examples={"typical": {"reason": "the storage moves until 14:00 UTC"}})
LIST_EXAMPLE: dict[str, JsonValue] = {"object": "list", "data": [EXAMPLE]}


@router.get(
    "/v1/pools",
    response_model=PoolList,
    summary="List pools",
    **DOCS.route(Scope.OPERATE, errors=(403,), example=LIST_EXAMPLE),
)
async def list_pools(request: Request, operator: deps.Key) -> Response:
    """Every pool, whether it is paused, and what waits and runs there."""
    return await _listed(request)


@router.post(
    "/v1/pools/{pool}/pause",
    response_model=Pool,
    summary="Pause a pool",
    **DOCS.route(Scope.OPERATE, errors=(403, 404), example=EXAMPLE, reads=READS),
)
async def pause(request: Request, pool: str, operator: deps.Key) -> Response:
    """Begin nothing more on a pool."""
    await _pause(request, _one(request, pool), operator)
    return await _shown(request, pool)


@router.post(
    "/v1/pools/{pool}/resume",
    response_model=Pool,
    summary="Resume a pool",
    **DOCS.route(Scope.OPERATE, errors=(403, 404), example=EXAMPLE),
)
async def resume(request: Request, pool: str, operator: deps.Key) -> Response:
    """End the pool's own pause; one of the whole queue goes on."""
    await deps.services(request).pools.resume(_one(request, pool), by=deps.name_of(operator))
    return await _shown(request, pool)


@router.post(
    "/v1/queue/pause",
    response_model=PoolList,
    summary="Pause the whole queue",
    **DOCS.route(Scope.OPERATE, errors=(403,), example=LIST_EXAMPLE, reads=READS),
)
async def pause_queue(request: Request, operator: deps.Key) -> Response:
    """Begin nothing more on any pool."""
    await _pause(request, EVERY, operator)
    return await _listed(request)


@router.post(
    "/v1/queue/resume",
    response_model=PoolList,
    summary="Resume the whole queue",
    **DOCS.route(Scope.OPERATE, errors=(403,), example=LIST_EXAMPLE),
)
async def resume_queue(request: Request, operator: deps.Key) -> Response:
    """End the pause of the whole queue; pools that were paused by themselves stay so."""
    await deps.services(request).pools.resume(EVERY, by=deps.name_of(operator))
    return await _listed(request)


async def _pause(request: Request, pool: str, operator: ApiKey) -> None:
    fields = typed(PauseRequest, await read_json(request))
    await deps.services(request).pools.pause(pool, reason=fields.reason, by=deps.name_of(operator))


def _one(request: Request, pool: str) -> str:
    """The name, if it is a configured pool's: `EVERY` is none here, as the whole queue has routes of its own."""
    return deps.services(request).pools.check("" if pool == EVERY else pool)


async def _listed(request: Request) -> Response:
    return reply(PoolList(data=[await _pool(request, pool) for pool in await deps.services(request).pools.list()]))


async def _shown(request: Request, name: str) -> Response:
    (found,) = [pool for pool in await deps.services(request).pools.list() if pool.name == name]
    return reply(await _pool(request, found))


async def _pool(request: Request, pool: pools.Pool) -> Pool:
    outlook = await deps.services(request).forecasts.of(Subject.POOL, pool.name)
    standing = [
        Pause(
            of="queue" if pause.pool == EVERY else "pool",
            reason=pause.reason,
            paused_by=pause.paused_by,
            paused_at=unix(pause.paused_at),
        )
        for pause in pool.paused
    ]
    return Pool(
        id=pool.name,
        model=pool.model,
        paused=bool(standing),
        pauses=standing,
        queued=pool.queued,
        running=pool.running,
        forecast=None if outlook is None else forecast_of(outlook),
    )


def forecast_of(outlook: KeptOutlook) -> PoolForecast:
    """A pool's outlook as it is answered."""
    return PoolForecast(
        low_at=unix(outlook.low_at),
        likely_at=unix(outlook.likely_at),
        high_at=unix(outlook.high_at),
        made_at=unix(outlook.made_at),
        reason=outlook.reason,
    )
