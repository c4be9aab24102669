"""`/v1/admin/workers`: workers of every cluster, one by one: drained, replaced and called back."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api import deps
from api.openai.errors import DOCS
from api.wire.bodies import Number, read_optional, typed
from api.wire.docs import Body, listed
from api.wire.paging import After, Identified, Limit, Listing
from api.wire.replies import reply, unix
from api.wire.routes import Router
from orchestrator.domain.loading import LoadState
from orchestrator.domain.orders import MAX_GRACE_S, Order, OrderKind
from orchestrator.domain.protocol import Stage
from orchestrator.domain.rights import Scope
from orchestrator.ports import ApiKey
from orchestrator.ports.orders import RenderSeen, WorkerSeen

router = Router(tags=["administration"])

_EXAMPLE: dict[str, JsonValue] = {
    "id": "default:main-0",
    "object": "worker",
    "cluster": "default",
    "name": "main-0",
    "pool": "main",
    "incarnation": "6f1c0a",
    "beat_at": 1758941485,
    "state": "loaded",
    "model": "cogvideox-5b",
    "failures": 0,
    "reason": "",
    "detail": "",
    "adapters": ["house-style"],
    "running": 1,
    "renders": [
        {
            "object": "worker.render",
            "job": "video_0199c3a57be47c21b1f3a1d3c5e7f901",
            "tenant": "acme",
            "campaign": None,
            "priority": 20,
            "stage": "denoising",
            "step": 17,
            "steps": 50,
            "claimed_at": 1758941420,
        }
    ],
    "order": {
        "object": "worker.order",
        "kind": "drain",
        "within_s": 600.0,
        "left_s": 598.5,
        "asked_by": "platform/on call (key cgm_7Qd2kLx0VbT9sYwE)",
        "asked_at": 1758941480,
    },
}


class WorkerOrder(BaseModel):
    """What stands for a worker until it is carried out, or lifted."""

    object: Literal["worker.order"] = "worker.order"
    kind: OrderKind
    within_s: float | None = Field(description="For how long what it renders may go on; null is to its end.")
    left_s: float | None
    asked_by: str
    asked_at: int


class WorkerRender(BaseModel):
    """A job that a worker holds, and how far its render is."""

    object: Literal["worker.render"] = "worker.render"
    job: str
    tenant: str
    campaign: str | None = Field(description="The campaign or batch that it is a row of.")
    priority: int
    stage: Stage | None = Field(
        description="Preempted: it waits in the worker's memory for a more urgent one. Null until it was heard of."
    )
    step: int
    steps: int
    claimed_at: int


class WorkerObject(Identified):
    """A worker, as its dispatcher has told of it."""

    object: Literal["worker"] = "worker"
    cluster: str
    name: str
    pool: str
    incarnation: str | None = Field(description="Its life; null where it has none: it rests, or was drained.")
    beat_at: int | None = Field(description="When its dispatcher last heard from it.")
    state: LoadState | None = Field(description="Of its model; null where nothing was told within ten minutes.")
    model: str | None
    failures: int = Field(description="How often in a row it could not load its model.")
    reason: str = Field(description="Why it could not.")
    detail: str = Field(description="The same in its own words.")
    adapters: list[str] = Field(description="LoRA adapters in its memory.")
    running: int = Field(description="Videos that it holds.")
    renders: list[WorkerRender] = Field(description="These, the oldest claim first.")
    order: WorkerOrder | None


class WorkerList(Listing[WorkerObject]):
    """A page of workers, by cluster and name."""


class AskWorker(BaseModel):
    """Both may be left out."""

    model_config = ConfigDict(extra="forbid")

    within_s: Annotated[Number, Field(ge=0, le=MAX_GRACE_S)] | None = Field(
        None,
        description="What it still renders then leaves with its checkpoint, for another worker; "
        "without it, everything goes on to its end.",
    )
    incarnation: str | None = Field(None, max_length=200, description="This life alone, and no later one.")


_READS = Body(fields=AskWorker, examples={"typical": {"within_s": 600}, "to its end": {}}, required=False)


@router.get(
    "/v1/admin/workers",
    response_model=WorkerList,
    summary="List workers",
    **DOCS.route(Scope.VIEW, errors=(400, 404), example=listed(_EXAMPLE)),
)
async def list_workers(
    request: Request,
    viewer: deps.Key,
    limit: Limit = 20,
    after: After = None,
    pool: Annotated[str | None, Query(description="Of this pool alone.")] = None,
    cluster: Annotated[str | None, Query(description="Of this cluster alone.")] = None,
) -> Response:
    """A page of the workers of all clusters: those that live, those that rest, and those that were drained."""
    workers = deps.services(request).administration.workers
    page = await workers.list(limit=limit, after=after, pool=pool, cluster=cluster)
    return reply(WorkerList.of([_worker(each) for each in page.workers], has_more=page.has_more))


@router.get(
    "/v1/admin/workers/{worker_id}",
    response_model=WorkerObject,
    summary="Retrieve a worker",
    **DOCS.route(Scope.VIEW, errors=(404,), example=_EXAMPLE),
)
async def retrieve_worker(request: Request, worker_id: str, viewer: deps.Key) -> Response:
    """One worker, by its cluster and its name with a colon between."""
    return reply(_worker(await deps.services(request).administration.workers.get(worker_id)))


@router.post(
    "/v1/admin/workers/{worker_id}/drain",
    response_model=WorkerObject,
    summary="Drain a worker",
    **DOCS.route(Scope.OPERATE, errors=(404,), example=_EXAMPLE, reads=_READS),
)
async def drain(request: Request, worker_id: str, operator: deps.Key) -> Response:
    """It takes nothing more, ends once it holds nothing, and stays away until it is resumed.

    One of a pool with kinds just leaves: the autoscaler decides whether another comes. Asked again, the time for what
    it renders begins anew.
    """
    return await _asked(request, worker_id, OrderKind.DRAIN, operator)


@router.post(
    "/v1/admin/workers/{worker_id}/replace",
    response_model=WorkerObject,
    summary="Replace a worker",
    **DOCS.route(Scope.OPERATE, errors=(404,), example=_EXAMPLE | {"incarnation": "6f1c0a"}, reads=_READS),
)
async def replace(request: Request, worker_id: str, operator: deps.Key) -> Response:
    """It takes nothing more, ends once it holds nothing, and is started anew.

    Asked again after that, the new life is replaced in its turn, unless `incarnation` says which is meant.
    """
    return await _asked(request, worker_id, OrderKind.REPLACE, operator)


@router.post(
    "/v1/admin/workers/{worker_id}/resume",
    response_model=WorkerObject,
    summary="Call a worker back",
    **DOCS.route(Scope.OPERATE, errors=(404,), example={**_EXAMPLE, "order": None}),
)
async def resume(request: Request, worker_id: str, operator: deps.Key) -> Response:
    """Lift what was asked of it: one that was drained is started again. Without effect where nothing was asked."""
    workers = deps.services(request).administration.workers
    return reply(_worker(await workers.call_back(worker_id, by=deps.name_of(operator))))


async def _asked(request: Request, worker_id: str, kind: OrderKind, operator: ApiKey) -> Response:
    fields = typed(AskWorker, await read_optional(request))
    seen = await deps.services(request).administration.workers.ask(
        worker_id, kind, within_s=fields.within_s, incarnation=fields.incarnation, by=deps.name_of(operator)
    )
    return reply(_worker(seen))


def _worker(seen: WorkerSeen) -> WorkerObject:
    return WorkerObject(
        id=f"{seen.cluster}:{seen.name}",
        cluster=seen.cluster,
        name=seen.name,
        pool=seen.pool,
        incarnation=seen.incarnation,
        beat_at=unix(seen.beat_at),
        state=seen.load,
        model=seen.model,
        failures=seen.failures,
        reason=seen.reason,
        detail=seen.detail,
        adapters=list(seen.adapters),
        running=seen.running,
        renders=[_render(each) for each in seen.renders],
        order=None if seen.order is None else _order(seen.order),
    )


def _render(seen: RenderSeen) -> WorkerRender:
    return WorkerRender(
        job=seen.job_id,
        tenant=seen.tenant,
        campaign=seen.campaign,
        priority=seen.priority,
        stage=None if seen.stage is None else Stage(seen.stage),
        step=seen.step,
        steps=seen.steps,
        claimed_at=unix(seen.claimed_at),
    )


def _order(order: Order) -> WorkerOrder:
    return WorkerOrder(
        kind=order.kind,
        within_s=order.within_s,
        left_s=None if order.left_s is None else round(order.left_s, 1),
        asked_by=order.asked_by,
        asked_at=unix(order.asked_at),
    )
