"""`/v1/admin/usage`: what every tenant has used, and what workers' hours went into."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Request
from fastapi.responses import Response

from api import deps
from api.native import usage as own
from api.native import worker_usage
from api.wire.routes import Router
from orchestrator.domain.rights import Scope

router = Router(tags=["administration"])


@router.get(
    "/v1/admin/usage",
    response_model=own.Usage,
    summary="What tenants have used",
    **worker_usage.docs(worker_usage.SUMS, own.EXAMPLE, Scope.VIEW),
)
async def usage(
    request: Request,
    viewer: deps.Key,
    since: own.Since = None,
    until: own.Until = None,
    by: own.By = None,
    campaign: own.Campaign = None,
    tenant: Annotated[str, Query(description="Whose; `*` is everybody's.")] = own.EVERY,
    format: Annotated[Literal["json", "csv"], Query(description="How it is written.")] = "json",
) -> Response:
    """GPU seconds of attempts, by when they ended, of a tenant or of all."""
    whose = None if tenant == own.EVERY else tenant
    return await own.told(request, whose, since=since, until=until, by=by, campaign=campaign, format=format)


router.get(
    "/v1/admin/usage/workers",
    response_model=worker_usage.WorkerUsage,
    summary="What workers' hours went into",
    **worker_usage.docs(worker_usage.SUMS, worker_usage.WORKERS_EXAMPLE, Scope.VIEW),
)(worker_usage.worker_usage)
router.get(
    "/v1/admin/usage/waste",
    response_model=worker_usage.WasteUsage,
    summary="What came to nothing, by cause",
    **worker_usage.docs(worker_usage.SUMS, worker_usage.WASTE_EXAMPLE, Scope.VIEW),
)(worker_usage.waste)
