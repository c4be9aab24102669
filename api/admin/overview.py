"""`/v1/admin/overview` and `/v1/admin/quarantines`: the queue and the fleet of every tenant at a glance."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, JsonValue

from api import deps
from api.native import overview as own
from api.native import overview_answers as answers
from api.openai.errors import DOCS
from api.wire.replies import reply, unix
from api.wire.routes import Router
from orchestrator.domain.rights import Scope
from orchestrator.ports.overview import Quarantine

router = Router(tags=["administration"])

_EXAMPLE: dict[str, JsonValue] = {
    "object": "list",
    "data": [
        {
            "object": "quarantine",
            "worker": "default:main-0",
            "incarnation": "6f1c0a",
            "pool": "main",
            "at": 1758941485,
            "jobs": [
                {
                    "job": "video_0199c3a57be47c21b1f3a1d3c5e7f901",
                    "tenant": "acme",
                    "code": "nan_frames",
                    "message": "the render has frames that are no numbers",
                }
            ],
        }
    ],
}


class QuarantineJob(BaseModel):
    """A job that failed there. Null is what went with the job."""

    job: str
    tenant: str
    code: str | None
    message: str | None


class QuarantineObject(BaseModel):
    """A life of a worker that was given up, since several jobs in a row had failed there."""

    object: Literal["quarantine"] = "quarantine"
    worker: str = Field(description="Its cluster and its name, with a colon between.")
    incarnation: str
    pool: str
    at: int
    jobs: list[QuarantineJob]


class QuarantineList(BaseModel):
    """The last ones, newest first."""

    object: Literal["list"] = "list"
    data: list[QuarantineObject]


@router.get(
    "/v1/admin/overview",
    response_model=answers.Overview,
    summary="What waits, runs and ended, of all tenants",
    **DOCS.route(Scope.VIEW, example=answers.EXAMPLE),
)
async def show_overview(request: Request, viewer: deps.Key) -> Response:
    """The whole queue by pool, priority and tenant, forecasts, and the alerts that fire; at most two seconds old."""
    return reply(answers.overview(await deps.services(request).overviews.of_all()))


@router.get(
    "/v1/admin/overview/history",
    response_model=answers.OverviewHistory,
    summary="How it went over hours, of all tenants",
    **DOCS.route(Scope.VIEW, errors=(400, 404), example=answers.HISTORY_EXAMPLE),
)
async def show_history(
    request: Request,
    viewer: deps.Key,
    since: own.Since = None,
    until: own.Until = None,
    resolution: own.Resolution = None,
    pool: Annotated[str | None, Query(description="Of this pool alone.")] = None,
    tenant: Annotated[str | None, Query(description="Of this tenant alone; not together with `pool`.")] = None,
) -> Response:
    """What was asked for, and what became of it, step by step, and for which share of it GPUs were busy."""
    told = await deps.services(request).overviews.history(
        since=since, until=until, resolution_s=resolution, pool=pool, tenant=tenant
    )
    return reply(answers.history(told, busy=True))


@router.get(
    "/v1/admin/quarantines",
    response_model=QuarantineList,
    summary="List quarantines",
    **DOCS.route(Scope.VIEW, errors=(400,), example=_EXAMPLE),
)
async def list_quarantines(
    request: Request,
    viewer: deps.Key,
    pool: Annotated[str | None, Query(description="Of this pool alone.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="At most so many.")] = 20,
) -> Response:
    """Workers that were replaced since job after job failed on them, with the jobs; kept for 90 days."""
    found = await deps.services(request).overviews.quarantines(pool=pool, limit=limit)
    return reply(QuarantineList(data=[_quarantine(each) for each in found]))


def _quarantine(it: Quarantine) -> QuarantineObject:
    return QuarantineObject(
        worker=f"{it.cluster}:{it.worker}",
        incarnation=it.incarnation,
        pool=it.pool,
        at=unix(it.at),
        jobs=[QuarantineJob(job=each.id, tenant=each.tenant, code=each.code, message=each.message) for each in it.jobs],
    )
