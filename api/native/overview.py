"""`/v1/overview`, which is ours: what a tenant has in the queue, how it went over hours, and what is amiss."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from api import deps
from api.native import overview_answers as answers
from api.openai.errors import DOCS
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.domain.rights import Scope

router = Router(tags=["overview"])

Since = Annotated[
    str | None,
    Query(alias="from", description="Unix seconds, a date, or a time with its zone; six hours before `to`."),
]
Until = Annotated[str | None, Query(alias="to", description="The same; now.")]
Resolution = Annotated[
    int | None,
    Query(description="Seconds of a step: 60, 600, 3600 or 86400; what a chart shows, where nothing is said."),
]


@router.get(
    "/v1/overview",
    response_model=answers.Overview,
    summary="What waits, runs and ended",
    **DOCS.route(Scope.READ, errors=(403,), example=answers.OWN_EXAMPLE),
)
async def show_overview(request: Request, key: deps.Key) -> Response:
    """What the tenant has in the queue, by pool and priority, what ended, and which alerts are about it."""
    return reply(answers.overview(await deps.services(request).overviews.of(key.tenant)))


@router.get(
    "/v1/overview/history",
    response_model=answers.OverviewHistory,
    summary="How it went over hours",
    **DOCS.route(Scope.READ, errors=(400, 403), example=answers.HISTORY_EXAMPLE),
)
async def show_history(
    request: Request, key: deps.Key, since: Since = None, until: Until = None, resolution: Resolution = None
) -> Response:
    """What the tenant asked for, and what became of it, step by step: by the minute for a day, by the hour for 90.

    Of more than 200 tenants at once those with the least to do have no samples.
    """
    told = await deps.services(request).overviews.history(
        since=since, until=until, resolution_s=resolution, tenant=key.tenant
    )
    return reply(answers.history(told, busy=False))
