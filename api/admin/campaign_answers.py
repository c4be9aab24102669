"""A campaign as administrators read it: how it stands and what it costs; no template, no row, no address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from api.native.campaign_answers import (
    CAMPAIGN_EXAMPLE,
    PLAN_EXAMPLE,
    Budget,
    CampaignCounts,
    CampaignForecast,
    CampaignObject,
    CampaignSpent,
    PlannedPool,
    Schedule,
)
from api.native.campaign_schemas import Approval, OnDeadline
from api.wire.paging import Identified, Listing
from orchestrator.campaigns.any_campaigns import SeenCampaign
from orchestrator.domain.campaign import Campaign, CampaignState, PauseReason

# What its owner reads, too.
_SAME = (
    "id", "name", "state", "pause_reasons", "version", "created_at", "started_at", "ended_at", "run_at", "deadline",
    "on_deadline", "variants", "sample", "approval", "priority", "max_running", "budget", "schedule", "schedule_of",
    "counts", "spent", "forecast", "waiting_for",
)  # fmt: skip
TENANT_CAMPAIGN_EXAMPLE: dict[str, JsonValue] = {name: CAMPAIGN_EXAMPLE[name] for name in _SAME} | {
    "object": "campaign", "tenant": "acme", "records_read": 4002, "error_code": None, "pools": PLAN_EXAMPLE["pools"],
    "approved_gpu_seconds": 204000.0,
}  # fmt: skip
WHOLE_EXAMPLE: dict[str, JsonValue] = TENANT_CAMPAIGN_EXAMPLE | {"failures": [{"code": "out_of_memory", "rows": 4}]}


class TenantCampaign(Identified):
    """A campaign of some tenant. Its template, metadata, rows and addresses are its tenant's, and not told here."""

    object: Literal["campaign"] = "campaign"
    tenant: str
    name: str | None
    state: CampaignState
    pause_reasons: Sequence[PauseReason]
    version: int
    created_at: int
    started_at: int | None
    ended_at: int | None
    run_at: int | None
    deadline: int | None
    on_deadline: OnDeadline
    variants: int
    sample: int
    approval: Approval
    priority: int
    max_running: int | None
    budget: Budget | None
    schedule: Schedule | None
    schedule_of: str | None
    records_read: int = Field(description="Records of the input.")
    error_code: str | None = Field(description="Why the input was not accepted, where it was not.")
    pools: Sequence[PlannedPool] = Field(description="Where its rows were planned to be rendered, and with what.")
    approved_gpu_seconds: float | None = Field(description="The upper bound of the plan that was approved.")
    counts: CampaignCounts
    spent: CampaignSpent
    forecast: CampaignForecast | None
    waiting_for: str | None


class FailureCount(BaseModel):
    """How many rows failed with a code."""

    code: str
    rows: int


class TenantCampaignWhole(TenantCampaign):
    """The same with why its rows failed, the commonest reason first; of at most 50,000 failed rows."""

    failures: Sequence[FailureCount]


class TenantCampaignList(Listing[TenantCampaign]):
    """A page of campaigns. `last_id` is where the next one goes on, which need not be the last campaign of this one."""


def tenant_campaign_of(campaign: Campaign, told: CampaignObject) -> TenantCampaign:
    """A campaign as administrators read it, from what its owner is told."""
    return TenantCampaign(
        tenant=campaign.tenant,
        records_read=campaign.records,
        error_code=None if campaign.error is None else campaign.error.code,
        pools=[
            PlannedPool(pool=each.pool, model=each.model, rows=each.rows, gpu_seconds=round(each.gpu_seconds, 3))
            for each in campaign.estimate
        ],
        approved_gpu_seconds=None if campaign.cap is None else round(campaign.cap, 3),
        **{name: getattr(told, name) for name in _SAME},
    )


def whole_of(seen: SeenCampaign, told: CampaignObject) -> TenantCampaignWhole:
    """The same, with why its rows failed."""
    failures = [FailureCount(code=each.code, rows=each.rows) for each in seen.failures]
    return TenantCampaignWhole(**dict(tenant_campaign_of(seen.campaign, told)), failures=failures)
