"""`/v1/usage/workers` and `/v1/usage/waste`, ours and for operators: workers' hours, and what came to nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, JsonValue

from api import deps
from api.native.usage import Since, Until, as_csv, told_apart
from api.openai.errors import DOCS
from api.wire.docs import Route, binary
from api.wire.replies import reply, unix
from api.wire.routes import Router
from orchestrator.domain.rights import Scope
from orchestrator.domain.waste import Cause
from orchestrator.domain.worker_time import WorkerHours
from orchestrator.tenants.ledger import WasteReport, WorkerReport

router = Router(tags=["operators"])

_HOURS_EXAMPLE: dict[str, JsonValue] = {
    "busy_s": 331200.0,
    "idle_s": 21600.0,
    "loading_s": 7200.0,
    "broken_s": 0.0,
    "utilisation": 0.92,
    "money": 250.0,
    "unused_money": 20.0,
}
WORKERS_EXAMPLE: dict[str, JsonValue] = {
    "object": "usage.workers",
    "since": 1767225600,
    "until": 1769904000,
    "by": ["pool", "kind"],
    "currency": "USD",
    "data": [{"object": "usage.workers.line", "hour": None, "pool": "5b", "kind": "spot", **_HOURS_EXAMPLE}],
    "total": _HOURS_EXAMPLE,
}
WASTE_EXAMPLE: dict[str, JsonValue] = {
    "object": "usage.waste",
    "since": 1767225600,
    "until": 1769904000,
    "by": ["kind"],
    "currency": "USD",
    "data": [
        {
            "object": "usage.waste.line",
            "cause": "lost",
            "hour": None,
            "pool": None,
            "kind": "spot",
            "seconds": 1800.0,
            "share": 0.005,
            "money": 1.25,
        }
    ],
    "worker_seconds": 360000.0,
    "worker_money": 250.0,
}


class WorkerAmounts(BaseModel):
    """What workers' hours went into, and what they cost."""

    busy_s: float = Field(description="Rendering.")
    idle_s: float = Field(description="Waiting for something to render.")
    loading_s: float = Field(description="Loading the model and warming it up.")
    broken_s: float = Field(description="Unable to load, and not ended yet.")
    utilisation: float | None = Field(description="The share that is busy; null of no time.")
    money: float | None = Field(description="Of all of it, at today's prices; null where one of the pools has none.")
    unused_money: float | None = Field(description="Of what was not busy.")


class WorkerLine(WorkerAmounts):
    """What was not asked for is null."""

    object: Literal["usage.workers.line"] = "usage.workers.line"
    hour: int | None = Field(description="The beginning of the hour.")
    pool: str | None
    kind: str | None = Field(description="Empty where a pool has workers of one kind.")


class WorkerUsage(BaseModel):
    """Of the hours that begin in a time, the last moment not included."""

    object: Literal["usage.workers"] = "usage.workers"
    since: int
    until: int
    by: list[str]
    currency: str
    data: list[WorkerLine]
    total: WorkerAmounts


class WasteLine(BaseModel):
    """Seconds that came to nothing for one cause. What was not asked for is null."""

    object: Literal["usage.waste.line"] = "usage.waste.line"
    cause: Cause = Field(
        description="Attempts: cancelled, failed, lost (with their worker), evicted (with no checkpoint to go on "
        "from), released. Workers: idle, loading, broken."
    )
    hour: int | None = Field(description="The beginning of the hour; of an attempt that in which it ended.")
    pool: str | None
    kind: str | None = Field(
        description="Of the worker; empty where a pool has workers of one kind, null in what earlier releases wrote."
    )
    seconds: float
    share: float | None = Field(description="Of all seconds of all workers; null of no time.")
    money: float | None = Field(description="At today's prices; null where one of the pools, or kinds, has none.")


class WasteUsage(BaseModel):
    """Of the hours that begin in a time, the last moment not included."""

    object: Literal["usage.waste"] = "usage.waste"
    since: int
    until: int
    by: list[str]
    currency: str
    data: list[WasteLine]
    worker_seconds: float = Field(description="What all workers together did then, with or without use.")
    worker_money: float | None = Field(description="What that cost.")


_By = Annotated[str | None, Query(description="What to tell apart: hour, pool, kind; with commas.")]
_Format = Annotated[Literal["json", "csv"], Query(description="How it is written.")]


# What they answer.
SUMS = "Sums; `format=csv` has the same lines, their hours as ISO 8601."


def docs(description: str, example: dict[str, JsonValue], scope: Scope = Scope.OPERATE) -> Route:
    """How a route with sums is documented."""
    content = {"application/json": {"example": example}, **binary("text/csv")["content"]}
    return DOCS.route(
        scope, sends=("content-disposition",), answers={200: {"description": description, "content": content}}
    )


@router.get(
    "/v1/usage/workers",
    response_model=WorkerUsage,
    summary="What workers' hours went into",
    **docs(SUMS, WORKERS_EXAMPLE),
)
async def worker_usage(
    request: Request,
    operator: deps.Key,
    since: Since = None,
    until: Until = None,
    by: _By = None,
    format: _Format = "json",
) -> Response:
    """Seconds of every worker, rendering or not."""
    services = deps.services(request)
    report = await services.reports.workers(since=since, until=until, by=by)
    currency = services.settings.billing.currency
    if format == "csv":
        return as_csv("workers", _worker_cells(report, currency))
    return reply(
        WorkerUsage(
            since=unix(report.since),
            until=unix(report.until),
            by=list(report.by),
            currency=currency,
            data=[
                WorkerLine(hour=unix(line.hour), pool=line.pool, kind=line.kind, **_hours(line).model_dump())
                for line in report.lines
            ],
            total=_hours(report.total),
        )
    )


@router.get(
    "/v1/usage/waste",
    response_model=WasteUsage,
    summary="What came to nothing, by cause",
    **docs(SUMS, WASTE_EXAMPLE),
)
async def waste(
    request: Request,
    operator: deps.Key,
    since: Since = None,
    until: Until = None,
    by: _By = None,
    format: _Format = "json",
) -> Response:
    """Seconds of attempts that were of no use, and of workers that rendered nothing."""
    services = deps.services(request)
    report = await services.reports.waste(since=since, until=until, by=by)
    currency = services.settings.billing.currency
    if format == "csv":
        return as_csv("waste", _waste_cells(report, currency))
    return reply(
        WasteUsage(
            since=unix(report.since),
            until=unix(report.until),
            by=list(report.by),
            currency=currency,
            data=[
                WasteLine(
                    cause=line.cause,
                    hour=unix(line.hour),
                    pool=line.pool,
                    kind=line.kind,
                    seconds=line.seconds,
                    share=line.seconds / report.worker_seconds if report.worker_seconds > 0 else None,
                    money=line.money,
                )
                for line in report.lines
            ],
            worker_seconds=report.worker_seconds,
            worker_money=report.money,
        )
    )


def _hours(hours: WorkerHours) -> WorkerAmounts:
    return WorkerAmounts(
        **{f"{spell}_s": seconds for spell, seconds in hours.seconds.items()},
        utilisation=hours.utilisation,
        money=hours.money,
        unused_money=hours.unused_money,
    )


def _worker_cells(report: WorkerReport, currency: str) -> Iterator[Sequence[object]]:
    amounts = list(WorkerAmounts.model_fields)
    yield [*report.by, *amounts, "currency"]
    for line in report.lines or ([] if report.by else [report.total]):
        told = _hours(line)
        yield [*told_apart(line, report.by), *(getattr(told, name) for name in amounts), currency]


def _waste_cells(report: WasteReport, currency: str) -> Iterator[Sequence[object]]:
    yield [*report.by, "cause", "seconds", "money", "currency"]
    for line in report.lines:
        yield [*told_apart(line, report.by), line.cause, line.seconds, line.money, currency]
