"""What the overview and its history answer, of one tenant and of all."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from api.native.pools import PoolForecast, forecast_of
from api.wire.replies import unix
from orchestrator.capacity.amounts import Amount
from orchestrator.capacity.overviews import History, PoolAmount, View
from orchestrator.policy.alerting import Alert, Severity
from orchestrator.ports.overview import Ends, FlowPoint

_ENDED: dict[str, JsonValue] = {"succeeded": 118, "failed": 2, "cancelled": 1}
_AMOUNT: dict[str, JsonValue] = {
    "waiting": 1204,
    "running": 8,
    "oldest_wait_s": 731.5,
    "ended_hour": _ENDED,
    "ended_day": {"succeeded": 2790, "failed": 11, "cancelled": 4},
}
EXAMPLE: dict[str, JsonValue] = {
    "object": "overview",
    "at": 1758941485,
    **_AMOUNT,
    "scheduled": 3,
    "pools": [
        {
            "object": "overview.pool",
            "pool": "main",
            "model": "cogvideox-5b",
            "paused": None,
            **_AMOUNT,
            "scheduled": 3,
            "next_start_at": 1758941501,
            "forecast": {
                "low_at": 1758955100,
                "likely_at": 1758957570,
                "high_at": 1758961800,
                "made_at": 1758941480,
                "reason": None,
            },
        }
    ],
    "priorities": [{"object": "overview.priority", "priority": 20, **_AMOUNT}],
    "tenants": [{"object": "overview.tenant", "tenant": "acme", **_AMOUNT}],
    "more_tenants": 0,
    "alerts": [
        {
            "object": "overview.alert",
            "name": "WorkerBroken",
            "severity": "warning",
            "subject": "main",
            "summary": "1 worker cannot load the model: there is not enough memory for it.",
            "values": {"count": 1, "detail": "there is not enough memory for it"},
        }
    ],
}
OWN_EXAMPLE: dict[str, JsonValue] = {
    **EXAMPLE,
    "pools": [
        {
            "object": "overview.pool",
            "pool": "main",
            "model": "cogvideox-5b",
            "paused": None,
            "waiting": 12,
            "running": 1,
            "oldest_wait_s": 31.5,
            "ended_hour": None,
            "ended_day": None,
            "scheduled": None,
            "next_start_at": 1758941501,
            "forecast": None,
        }
    ],
    "tenants": [],
    "alerts": [],
}
HISTORY_EXAMPLE: dict[str, JsonValue] = {
    "object": "overview.history",
    "since": 1758919880,
    "until": 1758941480,
    "resolution": 60,
    "data": [
        {
            "object": "overview.point",
            "at": 1758941460,
            "accepted": 14,
            "waiting": 1204,
            "running": 8,
            "succeeded": 2,
            "failed": 0,
            "cancelled": 0,
            "busy": 0.94,
        }
    ],
}


class Ended(BaseModel):
    """Videos that ended, by how; by what was sampled, so one that has just ended is counted within a minute."""

    succeeded: int
    failed: int
    cancelled: int


class OverviewAmounts(BaseModel):
    """What waits and runs now, and what ended within the last hour and the last day."""

    waiting: int = Field(description="Due, and not begun.")
    running: int
    oldest_wait_s: float | None = Field(description="For how long the oldest of them might have begun.")
    ended_hour: Ended | None = Field(description="Null where that is not told apart.")
    ended_day: Ended | None


class OverviewPool(OverviewAmounts):
    """One pool."""

    object: Literal["overview.pool"] = "overview.pool"
    pool: str
    model: str = Field(description="Empty where the pool is no longer configured.")
    paused: str | None = Field(description="Why nothing begins there, where nothing does.")
    scheduled: int | None = Field(description="Held, or due later; null where that is not told apart.")
    next_start_at: int | None = Field(description="When the first that waits is likely to begin; null is not known.")
    forecast: PoolForecast | None = Field(description="When all of it is done; for administrators.")


class OverviewPriority(OverviewAmounts):
    """One priority, 0 the most urgent."""

    object: Literal["overview.priority"] = "overview.priority"
    priority: int


class OverviewTenant(OverviewAmounts):
    """One tenant."""

    object: Literal["overview.tenant"] = "overview.tenant"
    tenant: str


class OverviewAlert(BaseModel):
    """A condition that holds now. Prometheus' alert of the same name also waits for a while before it fires."""

    object: Literal["overview.alert"] = "overview.alert"
    name: str
    severity: Severity
    subject: str = Field(description="The pool, the campaign or the tenant that it is about; empty where it is all.")
    summary: str
    values: dict[str, str | int | float] = Field(
        description="What the summary tells, for words of your own; `detail` is a sentence of somebody else."
    )


class Overview(OverviewAmounts):
    """What waits, runs and ended. A tenant's own has its own counts alone, and no tenants."""

    object: Literal["overview"] = "overview"
    at: int
    scheduled: int = Field(description="Held, or due later.")
    pools: list[OverviewPool]
    priorities: list[OverviewPriority]
    tenants: list[OverviewTenant] = Field(description="Those with the most in the queue, a hundred at most.")
    more_tenants: int = Field(description="How many others have something in it, or had within the day.")
    alerts: list[OverviewAlert] = Field(description="The most severe first.")


class OverviewPoint(BaseModel):
    """One step: what came and ended in it, and what waited and ran at its end."""

    object: Literal["overview.point"] = "overview.point"
    at: int = Field(description="Its beginning.")
    accepted: int
    waiting: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    busy: float | None = Field(description="The share of workers' time in which they rendered; for administrators.")


class OverviewHistory(BaseModel):
    """Steps of a time; those in which nothing was sampled are missing."""

    object: Literal["overview.history"] = "overview.history"
    since: int
    until: int
    resolution: int = Field(description="Seconds of a step; longer than was asked for where less is known.")
    data: list[OverviewPoint]


def overview(view: View) -> Overview:
    """A view as it is answered."""
    return Overview(
        at=unix(view.at),
        **_amounts(view.total),
        scheduled=view.scheduled,
        pools=[_pool(each) for each in view.pools],
        priorities=[OverviewPriority(priority=int(each.name), **_amounts(each)) for each in view.priorities],
        tenants=[OverviewTenant(tenant=each.name, **_amounts(each)) for each in view.tenants],
        more_tenants=view.more_tenants,
        alerts=[_alert(each) for each in view.alerts],
    )


def history(told: History, *, busy: bool) -> OverviewHistory:
    """A history as it is answered; `busy`: with what workers did, which is no tenant's."""
    return OverviewHistory(
        since=unix(told.since),
        until=unix(told.until),
        resolution=told.step_s,
        data=[_point(each, busy) for each in told.points],
    )


def _pool(pool: PoolAmount) -> OverviewPool:
    return OverviewPool(
        pool=pool.amount.name,
        model=pool.model,
        paused=pool.paused,
        **_amounts(pool.amount),
        scheduled=pool.scheduled,
        next_start_at=unix(pool.next_start_at),
        forecast=None if pool.outlook is None else forecast_of(pool.outlook),
    )


def _amounts(amount: Amount) -> dict[str, object]:
    return {
        "waiting": amount.waiting,
        "running": amount.running,
        "oldest_wait_s": None if amount.oldest_wait_s is None else round(amount.oldest_wait_s, 1),
        "ended_hour": _ended(amount.hour),
        "ended_day": _ended(amount.day),
    }


def _ended(ends: Ends | None) -> Ended | None:
    return None if ends is None else Ended(succeeded=ends.succeeded, failed=ends.failed, cancelled=ends.cancelled)


def _alert(alert: Alert) -> OverviewAlert:
    return OverviewAlert(
        name=alert.name,
        severity=alert.severity,
        subject=alert.subject,
        summary=alert.summary,
        values=dict(alert.values),
    )


def _point(point: FlowPoint, busy: bool) -> OverviewPoint:
    share = point.busy_s / point.worker_s if busy and point.worker_s and point.busy_s is not None else None
    return OverviewPoint(
        at=unix(point.at),
        accepted=point.accepted,
        waiting=point.waiting,
        running=point.running,
        succeeded=point.ended.succeeded,
        failed=point.ended.failed,
        cancelled=point.ended.cancelled,
        busy=None if share is None else round(share, 4),
    )
