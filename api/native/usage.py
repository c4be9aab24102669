"""`/v1/usage`, which is ours: the ledger of attempts, as JSON and as CSV, and that of workers' hours."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from itertools import chain
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, JsonValue

from api import deps
from api.openai.errors import DOCS
from api.wire.docs import binary
from api.wire.replies import reply, unix
from orchestrator.domain.errors import Forbidden
from orchestrator.domain.spreadsheet import rows_of
from orchestrator.domain.usage import By, Used
from orchestrator.domain.worker_time import WorkerHours
from orchestrator.ports import ApiKey
from orchestrator.tenants.ledger import Report

router = APIRouter(tags=["usage"])

_EVERY = "*"
_EXAMPLE: dict[str, JsonValue] = {
    "object": "usage",
    "since": 1767225600,
    "until": 1769904000,
    "by": ["campaign", "outcome"],
    "tenant": "acme",
    "currency": "USD",
    "data": [
        {
            "object": "usage.line",
            "hour": None,
            "tenant": None,
            "campaign": "campaign_0199c3a57be47c21b1f3a1d3c5e7f901",
            "model": None,
            "pool": None,
            "outcome": "succeeded",
            "attempts": 4000,
            "gpu_seconds": 361200.5,
            "wasted_gpu_seconds": 0.0,
            "money": 250.83,
        }
    ],
    "total": {"attempts": 4000, "gpu_seconds": 361200.5, "wasted_gpu_seconds": 0.0, "money": 250.83},
    "waste": {"cancelled": 0.0, "failed": 0.0, "lost": 0.0, "evicted": 0.0, "released": 0.0},
}

_HOURS_EXAMPLE: dict[str, JsonValue] = {
    "busy_s": 331200.0,
    "idle_s": 21600.0,
    "loading_s": 7200.0,
    "broken_s": 0.0,
    "utilisation": 0.92,
    "money": 250.0,
    "unused_money": 20.0,
}
_WORKERS_EXAMPLE: dict[str, JsonValue] = {
    "object": "usage.workers",
    "since": 1767225600,
    "until": 1769904000,
    "by": ["pool", "kind"],
    "currency": "USD",
    "data": [{"object": "usage.workers.line", "hour": None, "pool": "5b", "kind": "spot", **_HOURS_EXAMPLE}],
    "total": _HOURS_EXAMPLE,
}


class Amounts(BaseModel):
    """What some attempts used together."""

    attempts: int = Field(description="Those that used a GPU at all.")
    gpu_seconds: float
    wasted_gpu_seconds: float = Field(description="Of these, what came to nothing.")
    money: float | None = Field(description="At today's prices; null where one of the pools has none.")


class UsageLine(Amounts):
    """What attempts used that have in common what was asked for; what was not is null."""

    object: Literal["usage.line"] = "usage.line"
    hour: int | None = Field(description="The beginning of the hour in which they ended.")
    tenant: str | None
    campaign: str | None = Field(description="A campaign or a batch; null for single requests.")
    model: str | None
    pool: str | None
    outcome: str | None


class Causes(BaseModel):
    """GPU seconds that came to nothing, by cause. What left a checkpoint to go on from is not among them."""

    cancelled: float
    failed: float
    lost: float
    evicted: float
    released: float


class Usage(BaseModel):
    """What was used from one moment until another, the last one not included."""

    object: Literal["usage"] = "usage"
    since: int
    until: int
    by: list[str]
    tenant: str | None = Field(description="Null is every tenant.")
    currency: str
    data: list[UsageLine]
    total: Amounts
    waste: Causes


async def _key(request: Request) -> ApiKey:
    opened = deps.services(request)
    key = await opened.keyring.key(request.headers.get("authorization"))
    await opened.rates.admit(key.tenant)
    return key


_Since = Annotated[
    str | None,
    Query(alias="from", description="Unix seconds, a date, or a time with its zone; 30 days before `to`."),
]
_Until = Annotated[str | None, Query(alias="to", description="The same; now.")]


@router.get(
    "/v1/usage",
    response_model=Usage,
    summary="What was used",
    **DOCS.route(
        errors=(400, 403),
        answers={
            200: {
                "description": "Sums; `format=csv` has the same lines, their hours as ISO 8601.",
                "content": {"application/json": {"example": _EXAMPLE}, **binary("text/csv")["content"]},
            }
        },
    ),
)
async def usage(
    request: Request,
    key: Annotated[ApiKey, Depends(_key)],
    since: _Since = None,
    until: _Until = None,
    by: Annotated[
        str | None, Query(description="What to tell apart: tenant, campaign, model, pool, outcome, hour; with commas.")
    ] = None,
    campaign: Annotated[str | None, Query(description="Of this campaign or batch alone.")] = None,
    tenant: Annotated[
        str | None, Query(description="For operators: whose, or `*` for everybody's; the key's own.")
    ] = None,
    format: Annotated[Literal["json", "csv"], Query(description="How it is written.")] = "json",
) -> Response:
    """GPU seconds of attempts, by when they ended. The tenant's own, or anybody's for operators."""
    if tenant not in (None, key.tenant) and not key.operator:
        raise Forbidden("only an operator's key may see what other tenants used")
    services = deps.services(request)
    whose = None if tenant == _EVERY else tenant or key.tenant
    report = await services.reports.usage(whose, since=since, until=until, by=by, campaign=campaign)
    currency = services.settings.billing.currency
    if format == "csv":
        headers = {"content-disposition": 'attachment; filename="usage.csv"'}
        return Response(_csv(report, currency), 200, headers, "text/csv; charset=utf-8")
    return reply(_usage(report, whose, currency))


def _usage(report: Report, tenant: str | None, currency: str) -> Usage:
    return Usage(
        since=unix(report.since),
        until=unix(report.until),
        by=[by.value for by in report.by],
        tenant=tenant,
        currency=currency,
        data=[
            UsageLine(
                hour=unix(line.hour),
                tenant=line.tenant,
                campaign=line.campaign,
                model=line.model,
                pool=line.pool,
                outcome=line.outcome,
                **_amounts(line).model_dump(),
            )
            for line in report.lines
        ],
        total=_amounts(report.total),
        waste=Causes(**{cause.value: seconds for cause, seconds in report.waste.items()}),
    )


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


@router.get(
    "/v1/usage/workers",
    response_model=WorkerUsage,
    summary="What workers' hours went into",
    **DOCS.route(
        errors=(400, 403),
        answers={
            200: {"description": "Sums.", "content": {"application/json": {"example": _WORKERS_EXAMPLE}}},
        },
    ),
)
async def worker_usage(
    request: Request,
    key: Annotated[ApiKey, Depends(_key)],
    since: _Since = None,
    until: _Until = None,
    by: Annotated[str | None, Query(description="What to tell apart: hour, pool, kind; with commas.")] = None,
) -> Response:
    """Seconds of every worker, rendering or not. For operators."""
    if not key.operator:
        raise Forbidden("only an operator's key may see what workers' hours went into")
    services = deps.services(request)
    report = await services.reports.workers(since=since, until=until, by=by)
    return reply(
        WorkerUsage(
            since=unix(report.since),
            until=unix(report.until),
            by=list(report.by),
            currency=services.settings.billing.currency,
            data=[
                WorkerLine(hour=unix(line.hour), pool=line.pool, kind=line.kind, **_hours(line).model_dump())
                for line in report.lines
            ],
            total=_hours(report.total),
        )
    )


def _hours(hours: WorkerHours) -> WorkerAmounts:
    return WorkerAmounts(
        **{f"{spell}_s": seconds for spell, seconds in hours.seconds.items()},
        utilisation=hours.utilisation,
        money=hours.money,
        unused_money=hours.unused_money,
    )


def _amounts(used: Used) -> Amounts:
    return Amounts(
        attempts=used.attempts,
        gpu_seconds=used.gpu_seconds,
        wasted_gpu_seconds=used.wasted_gpu_seconds,
        money=used.money,
    )


def _csv(report: Report, currency: str) -> str:
    names = [*(by.value for by in report.by), "attempts", "gpu_seconds", "wasted_gpu_seconds", "money", "currency"]
    lines = report.lines or ([] if report.by else [report.total])
    cells = (
        [*_told(line, report.by), line.attempts, line.gpu_seconds, line.wasted_gpu_seconds, line.money, currency]
        for line in lines
    )
    return "".join(rows_of(chain([names], cells)))


def _told(line: Used, by: Iterable[By]) -> list[object]:
    return [
        f"{line.hour.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        if each is By.HOUR and line.hour
        else getattr(line, each.value)
        for each in by
    ]
