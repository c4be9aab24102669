"""`/v1/usage`, which is ours: the ledger of attempts, as JSON and as CSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, JsonValue

from api import deps
from api.openai.errors import DOCS
from api.wire.docs import binary
from api.wire.replies import reply, unix
from api.wire.routes import Router
from orchestrator.domain.rights import Scope, need
from orchestrator.domain.spreadsheet import rows_of
from orchestrator.domain.usage import Used
from orchestrator.tenants.ledger import Report

router = Router(tags=["usage"])

EVERY = "*"
_SUMS = ("attempts", "gpu_seconds", "wasted_gpu_seconds")
EXAMPLE: dict[str, JsonValue] = {
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
            "kind": None,
            "outcome": "succeeded",
            "attempts": 4000,
            "gpu_seconds": 361200.5,
            "wasted_gpu_seconds": 0.0,
            "money": 250.83,
            "charge": 361412.0,
        }
    ],
    "total": {
        "attempts": 4000,
        "gpu_seconds": 361200.5,
        "wasted_gpu_seconds": 0.0,
        "money": 250.83,
        "charge": 361412.0,
    },
    "waste": {"cancelled": 0.0, "failed": 0.0, "lost": 0.0, "evicted": 0.0, "released": 0.0},
}


class Amounts(BaseModel):
    """What some attempts used together."""

    attempts: int = Field(description="Those that used a GPU at all.")
    gpu_seconds: float
    wasted_gpu_seconds: float = Field(description="Of these, what came to nothing.")
    money: float | None = Field(description="At today's prices; null where one of the pools, or kinds, has none.")
    charge: float = Field(
        description="What fair shares and daily limits counted: of each attempt its GPU seconds, or its finishing "
        "where that kept a worker for longer. It is asked no money for."
    )


class UsageLine(Amounts):
    """What attempts used that have in common what was asked for; what was not is null."""

    object: Literal["usage.line"] = "usage.line"
    hour: int | None = Field(description="The beginning of the hour in which they ended.")
    tenant: str | None
    campaign: str | None = Field(description="A campaign or a batch; null for single requests.")
    model: str | None
    pool: str | None
    kind: str | None = Field(
        description="Of the worker; empty where a pool has workers of one kind, null in what earlier releases wrote."
    )
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


Since = Annotated[
    str | None,
    Query(alias="from", description="Unix seconds, a date, or a time with its zone; 30 days before `to`."),
]
Until = Annotated[str | None, Query(alias="to", description="The same; now.")]
By = Annotated[
    str | None,
    Query(description="What to tell apart: tenant, campaign, model, pool, kind, outcome, hour; with commas."),
]
Campaign = Annotated[str | None, Query(description="Of this campaign or batch alone.")]


@router.get(
    "/v1/usage",
    response_model=Usage,
    summary="What was used",
    **DOCS.route(
        Scope.READ,
        sends=("content-disposition",),
        answers={
            200: {
                "description": "Sums; `format=csv` has the same lines, their hours as ISO 8601.",
                "content": {"application/json": {"example": EXAMPLE}, **binary("text/csv")["content"]},
            }
        },
    ),
)
async def usage(
    request: Request,
    key: deps.Key,
    since: Since = None,
    until: Until = None,
    by: By = None,
    campaign: Campaign = None,
    tenant: Annotated[
        str | None, Query(description="For operators: whose, or `*` for everybody's; the key's own.")
    ] = None,
    format: Annotated[Literal["json", "csv"], Query(description="How it is written.")] = "json",
) -> Response:
    """GPU seconds of attempts, by when they ended. The tenant's own, or anybody's for operators."""
    if tenant not in (None, key.tenant):
        need(key.rights, Scope.OPERATE)
    whose = None if tenant == EVERY else tenant or key.tenant
    return await told(request, whose, since=since, until=until, by=by, campaign=campaign, format=format)


async def told(
    request: Request,
    whose: str | None,
    *,
    since: str | None,
    until: str | None,
    by: str | None,
    campaign: str | None,
    format: Literal["json", "csv"],
) -> Response:
    """What a tenant has used, or everybody (None)."""
    services = deps.services(request)
    report = await services.reports.usage(whose, since=since, until=until, by=by, campaign=campaign)
    currency = services.settings.billing.currency
    if format == "csv":
        return as_csv("usage", _cells(report, currency))
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
                kind=line.kind,
                outcome=line.outcome,
                **_amounts(line).model_dump(),
            )
            for line in report.lines
        ],
        total=_amounts(report.total),
        waste=Causes(**{cause.value: seconds for cause, seconds in report.waste.items()}),
    )


def _amounts(used: Used) -> Amounts:
    return Amounts(
        attempts=used.attempts,
        gpu_seconds=used.gpu_seconds,
        wasted_gpu_seconds=used.wasted_gpu_seconds,
        money=used.money,
        charge=used.charge,
    )


def _cells(report: Report, currency: str) -> Iterator[Sequence[object]]:
    yield [*(by.value for by in report.by), *_SUMS, "money", "currency", "charge"]
    for line in report.lines or ([] if report.by else [report.total]):
        told = told_apart(line, [by.value for by in report.by])
        yield [*told, line.attempts, line.gpu_seconds, line.wasted_gpu_seconds, line.money, currency, line.charge]


def told_apart(line: object, by: Iterable[str]) -> list[object]:
    """The cells of what a line is told apart by; an hour as ISO 8601."""
    cells = (getattr(line, name) for name in by)
    return [f"{it.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if isinstance(it, datetime) else it for it in cells]


def as_csv(name: str, cells: Iterable[Sequence[object]]) -> Response:
    """A file to save, of lines of cells, the names of its columns first."""
    headers = {"content-disposition": f'attachment; filename="{name}.csv"'}
    return Response("".join(rows_of(cells)), 200, headers, "text/csv; charset=utf-8")
