"""The overview and its history, one's own and everybody's; and the workers that were given up."""

from __future__ import annotations

from cogmill_client.effects import Request, Steps
from cogmill_client.exchange import answer_of, reads
from cogmill_client.models.base import Answer
from cogmill_client.models.overview import Overview, OverviewHistory, Quarantine
from cogmill_client.procedures.account import Moment
from cogmill_client.urls import query


class _Quarantines(Answer):
    data: list[Quarantine]


def overview() -> Steps[Overview]:
    """What one has in the queue, what ended, and which alerts are about it."""
    return answer_of(Request(method="GET", url="/v1/overview"), reads(Overview))


def overview_history(
    *, from_: Moment | None = None, to: Moment | None = None, resolution: int | None = None
) -> Steps[OverviewHistory]:
    """What one asked for, and what became of it, in steps of 60, 600, 3600 or 86400 seconds."""
    asked = query(from_=from_, to=to, resolution=resolution)
    return answer_of(Request(method="GET", url="/v1/overview/history", query=asked), reads(OverviewHistory))


def overview_of_all() -> Steps[Overview]:
    """The whole queue by pool, priority and tenant, forecasts, and the alerts that fire."""
    return answer_of(Request(method="GET", url="/v1/admin/overview"), reads(Overview))


def history_of_all(
    *,
    from_: Moment | None = None,
    to: Moment | None = None,
    resolution: int | None = None,
    pool: str | None = None,
    tenant: str | None = None,
) -> Steps[OverviewHistory]:
    """What was asked for, and what became of it, of everybody, of a pool or of a tenant; and how busy GPUs were."""
    asked = query(from_=from_, to=to, resolution=resolution, pool=pool, tenant=tenant)
    return answer_of(Request(method="GET", url="/v1/admin/overview/history", query=asked), reads(OverviewHistory))


def quarantines(*, pool: str | None = None, limit: int | None = None) -> Steps[list[Quarantine]]:
    """Workers that were replaced since job after job failed on them, the newest first, with the jobs."""
    request = Request(method="GET", url="/v1/admin/quarantines", query=query(pool=pool, limit=limit))
    answer = yield from answer_of(request, reads(_Quarantines))
    return answer.data
