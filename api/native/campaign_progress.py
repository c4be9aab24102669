"""How a campaign got on: its burn-up with the forecast, its budget, and why rows failed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, JsonValue

from api import deps
from api.native.campaign_answers import CAMPAIGN_EXAMPLE, CampaignForecast
from api.native.campaign_translate import forecast_of
from api.openai.errors import DOCS
from api.wire.replies import reply, unix
from api.wire.routes import Router
from orchestrator.campaigns.moves import spending_of
from orchestrator.campaigns.reviewing import MOST_FAILURES
from orchestrator.domain.campaign import Campaign
from orchestrator.domain.job import public_id_of
from orchestrator.domain.outlooks import Subject
from orchestrator.domain.rights import Scope
from orchestrator.ports.reviews import FailureGroup, ProgressPoint

router = Router(tags=["campaigns"])

PROGRESS_EXAMPLE: dict[str, JsonValue] = {
    "object": "campaign.progress",
    "campaign": CAMPAIGN_EXAMPLE["id"],
    "rows": 4000,
    "started_at": 1758941502,
    "deadline": 1758985200,
    "points": [{"at": 1758941560, "succeeded": 8, "failed": 0, "others": 0, "gpu_seconds": 360.2}],
    "forecast": CAMPAIGN_EXAMPLE["forecast"],
    "budget": {
        "unit": "money",
        "amount": 500.0,
        "used": 35.56,
        "reserved": 2.1,
        "currency": "USD",
        "thresholds": [{"percent": 80, "do": "tell", "at": 400.0, "taken": False}],
    },
    "approved_gpu_seconds": 204000.0,
}
FAILURES_EXAMPLE: dict[str, JsonValue] = {
    "object": "campaign.failures",
    "campaign": CAMPAIGN_EXAMPLE["id"],
    "rows": 4,
    "looked_at": 4,
    "data": [
        {
            "code": "out_of_memory",
            "rows": 4,
            "examples": [
                {
                    "custom_id": "mug-17",
                    "message": "the render did not fit",
                    "video_id": "video_0199c3a57be47c21b1f3a1d3c5e7f955",
                }
            ],
        }
    ],
}


class CampaignPoint(BaseModel):
    """How many rows had ended by then, and what they had cost."""

    at: int
    succeeded: int
    failed: int
    others: int = Field(description="Cancelled, dropped and waived.")
    gpu_seconds: float


class BudgetThreshold(BaseModel):
    """An action of the budget, and whether it has been taken."""

    percent: int
    do: str
    at: float = Field(description="In the budget's unit.")
    taken: bool


class BudgetStanding(BaseModel):
    """What there is of the campaign's own budget, in its unit."""

    unit: str
    amount: float
    used: float
    reserved: float
    currency: str | None
    thresholds: Sequence[BudgetThreshold]


class CampaignProgress(BaseModel):
    """A campaign's burn-up: some hundred moments at most, the last one is now."""

    object: Literal["campaign.progress"] = "campaign.progress"
    campaign: str
    rows: int
    started_at: int | None
    deadline: int | None
    points: Sequence[CampaignPoint]
    forecast: CampaignForecast | None = Field(description="From the last point on, to all rows: 10%, 50%, 90%.")
    budget: BudgetStanding | None
    approved_gpu_seconds: float | None = Field(description="The upper bound of the plan that was approved.")


class FailedRow(BaseModel):
    custom_id: str
    message: str | None
    video_id: str | None


class FailureReason(BaseModel):
    """Rows that failed with one code, and a few of them."""

    code: str
    rows: int
    examples: Sequence[FailedRow]


class CampaignFailures(BaseModel):
    """Why rows failed, the commonest reason first."""

    object: Literal["campaign.failures"] = "campaign.failures"
    campaign: str
    rows: int = Field(description="That failed.")
    looked_at: int = Field(description=f"Of these; at most {MOST_FAILURES}, the first ones.")
    data: Sequence[FailureReason]


@router.get(
    "/v1/campaigns/{campaign_id}/progress",
    response_model=CampaignProgress,
    summary="How a campaign got on",
    **DOCS.route(Scope.READ, errors=(404,), example=PROGRESS_EXAMPLE),
)
async def progress(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """Rows done and failed over time, the forecast from there, and the budget with its thresholds."""
    services = deps.services(request)
    campaign, points = await services.reviewing.progress(tenant, campaign_id)
    now, counts = datetime.now(UTC), campaign.tally
    last = ProgressPoint(
        at=campaign.ended_at or now,
        succeeded=counts.succeeded,
        failed=counts.failed,
        others=counts.cancelled + counts.dropped + counts.waived,
        gpu_seconds=campaign.used,
    )
    outlook = await services.forecasts.of(Subject.CAMPAIGN, campaign.id)
    return reply(
        CampaignProgress(
            campaign=campaign.id,
            rows=counts.rows,
            started_at=unix(campaign.started_at),
            deadline=unix(campaign.deadline),
            points=[_point(point) for point in [*points, last] if point.at <= last.at],
            forecast=forecast_of(campaign, outlook, now),
            budget=_budget(campaign, services.settings.billing.currency),
            approved_gpu_seconds=campaign.cap,
        )
    )


@router.get(
    "/v1/campaigns/{campaign_id}/failures",
    response_model=CampaignFailures,
    summary="Why rows of a campaign failed",
    **DOCS.route(Scope.READ, errors=(404,), example=FAILURES_EXAMPLE),
)
async def failures(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """Failed rows grouped by their reason, with examples; `retry` and `waive` take the code."""
    campaign, groups = await deps.services(request).reviewing.failures(tenant, campaign_id)
    return reply(
        CampaignFailures(
            campaign=campaign.id,
            rows=campaign.counts.failed,
            looked_at=sum(group.rows for group in groups),
            data=[_reason(group) for group in groups],
        )
    )


def _point(point: ProgressPoint) -> CampaignPoint:
    return CampaignPoint(
        at=unix(point.at),
        succeeded=point.succeeded,
        failed=point.failed,
        others=point.others,
        gpu_seconds=round(point.gpu_seconds, 3),
    )


def _budget(campaign: Campaign, currency: str) -> BudgetStanding | None:
    asked = campaign.ask.budget
    if asked is None:
        return None
    spending = spending_of(campaign)
    return BudgetStanding(
        unit=asked.unit,
        amount=asked.amount,
        used=round(spending.used, 6),
        reserved=round(spending.reserved, 6),
        currency=currency if asked.unit == "money" else None,
        thresholds=[
            BudgetThreshold(
                percent=action.percent,
                do=action.do,
                at=round(asked.amount * action.percent / 100, 6),
                taken=action.percent in campaign.told_budget,
            )
            for action in asked.actions
        ],
    )


def _reason(group: FailureGroup) -> FailureReason:
    return FailureReason(
        code=group.code,
        rows=group.rows,
        examples=[
            FailedRow(
                custom_id=str(each["custom_id"]),
                message=each["message"],
                video_id=None if each["job"] is None else public_id_of(each["job"]),
            )
            for each in group.examples
        ],
    )
