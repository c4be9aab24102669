"""What requests about campaigns are answered: a campaign, its plan, and what comes before its rows are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field, JsonValue

from api.native.campaign_schemas import Approval, OnDeadline, OnMiss, Order
from api.wire.paging import Identified, Listing
from orchestrator.domain.campaign import CampaignState, PauseReason

CAMPAIGN_EXAMPLE: dict[str, JsonValue] = {
    "id": "campaign_0199c3a57be47c21b1f3a1d3c5e7f901",
    "object": "campaign",
    "name": "autumn mugs",
    "state": "running",
    "pause_reasons": [],
    "version": 9,
    "created_at": 1758941485,
    "started_at": 1758941502,
    "ended_at": None,
    "run_at": None,
    "deadline": 1758985200,
    "on_deadline": "continue",
    "on_miss": "warn",
    "template": {"prompt": "a {product} on a {scene}, morning light", "negative_prompt": None},
    "template_version": 1,
    "defaults": {"size": "720x480"},
    "variants": 1,
    "seeds": None,
    "sample": 12,
    "order": "arrival",
    "strict": False,
    "approval": "required",
    "priority": 20,
    "max_running": None,
    "budget": {"amount": 500.0, "unit": "money", "actions": [{"percent": 80, "do": "tell"}]},
    "stop_on_failures": {"count": None, "share": 0.5, "of_first": 20},
    "progress_every": 10,
    "webhook_url": None,
    "row_webhooks": False,
    "output": None,
    "metadata": {"season": "autumn"},
    "schedule": None,
    "schedule_of": None,
    "input": {
        "source": "file-0198c5a7e3b97d6f8a0c1f2e3d4c5b6a",
        "format": "csv",
        "records_read": 4002,
        "bytes": 210113,
    },
    "error": None,
    "counts": {
        "rows": 4000,
        "bad": 2,
        "waiting": 2790,
        "held": 0,
        "queued": 60,
        "running": 8,
        "succeeded": 1138,
        "failed": 4,
        "cancelled": 0,
        "dropped": 0,
        "waived": 0,
        "flagged": 1,
    },
    "spent": {"gpu_seconds": 51210.4, "reserved_gpu_seconds": 3060.0, "money": 35.56, "currency": "USD"},
    "plan_token": "plan_7c1f3a1d3c5e7f9010199c3a57be4c21",
    "approved_token": "plan_7c1f3a1d3c5e7f9010199c3a57be4c21",
    "forecast": {
        "rows_per_hour": 640.0,
        "low_at": 1758955100,
        "likely_at": 1758957570,
        "high_at": 1758961800,
        "at_risk": False,
        "made_at": 1758950012,
        "reason": None,
        "advice": None,
    },
    "manifest": {
        "revision": 2,
        "final": False,
        "rows": 4000,
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "key_id": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
    },
    "waiting_for": None,
}
PLAN_EXAMPLE: dict[str, JsonValue] = {
    "object": "campaign.plan",
    "campaign": CAMPAIGN_EXAMPLE["id"],
    "plan_token": CAMPAIGN_EXAMPLE["plan_token"],
    "rows": 4000,
    "bad_rows": 2,
    "gpu_seconds": {"low": 165000.0, "likely": 180000.0, "high": 204000.0},
    "money": {"low": 114.58, "likely": 125.0, "high": 141.67, "currency": "USD"},
    "charge": 180000.0,
    "hours": {"present": 6.25, "largest": 2.5},
    "workers": {"present": 8, "largest": 20},
    "deadline_holds": True,
    "pools": [{"pool": "main", "model": "cogvideox-5b", "rows": 4000, "gpu_seconds": 180000.0}],
}
UPLOAD_EXAMPLE: dict[str, JsonValue] = {
    "object": "campaign.upload",
    "url": "https://s3.example.org/cogmill/files/0f/file-0198c5a7e3b97d6f8a0c1f2e3d4c5b6a?X-Amz-Signature=4d1f",
    "method": "PUT",
    "expires_at": 1758945085,
}


class Template(BaseModel):
    prompt: str
    negative_prompt: str | None


class BudgetAction(BaseModel):
    percent: int
    do: str


class Budget(BaseModel):
    amount: float
    unit: str
    actions: Sequence[BudgetAction]


class StopOnFailures(BaseModel):
    count: int | None
    share: float | None
    of_first: int | None


class Schedule(BaseModel):
    cron: str
    time_zone: str


class CampaignInput(BaseModel):
    source: str
    format: str | None
    records_read: int
    bytes: int | None


class CampaignError(BaseModel):
    """Why the input was not accepted; `code` is stable."""

    code: str
    message: str


class CampaignCounts(BaseModel):
    """Rows by where they stand. `bad` are lines of the input that are no rows."""

    rows: int
    bad: int
    waiting: int = Field(description="Not yet in the queue.")
    held: int = Field(description="They have a job, which waits for the campaign to go on.")
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    dropped: int
    waived: int
    flagged: int = Field(description="Succeeded, and look as if they should not have: black, frozen, not finite.")


class CampaignSpent(BaseModel):
    gpu_seconds: float
    reserved_gpu_seconds: float = Field(description="Of the rows that are in the queue or rendered now.")
    money: float | None = Field(description="Null where none of its pools has a price.")
    currency: str | None


class CampaignForecast(BaseModel):
    """When the last row will be done, beside all else that there is to render: 10%, 50%, 90%."""

    rows_per_hour: float | None = Field(description="Lately; null while too few are done.")
    low_at: int | None = Field(description="Null, like the next two, where it is never done as things stand.")
    likely_at: int | None
    high_at: int | None
    at_risk: bool | None = Field(
        description="The deadline lies before the end of that range, or a budget ends it before its last row; null "
        "without a deadline and such a budget."
    )
    made_at: int
    reason: str | None = Field(description="Why it is never done, where it is not.")
    advice: str | None = Field(
        description="What would make the deadline hold and the budget last, where it is at risk."
    )


class ManifestRevision(BaseModel):
    revision: int
    final: bool
    rows: int
    sha256: str
    key_id: str = Field(description="Of the key that signed it: `/.well-known/jwks.json`.")


class CampaignObject(Identified):
    """A campaign; every key is always there. Times are Unix seconds."""

    object: Literal["campaign"] = "campaign"
    name: str | None
    state: CampaignState
    pause_reasons: Sequence[PauseReason]
    version: int = Field(description="Grows with every change; the `ETag` that `If-Match` takes.")
    created_at: int
    started_at: int | None
    ended_at: int | None
    run_at: int | None
    deadline: int | None
    on_deadline: OnDeadline
    on_miss: OnMiss
    template: Template
    template_version: int
    defaults: Mapping[str, Any]
    variants: int
    seeds: Sequence[int] | None
    sample: int
    order: Order
    strict: bool
    approval: Approval
    priority: int
    max_running: int | None
    budget: Budget | None
    stop_on_failures: StopOnFailures | None
    progress_every: int
    webhook_url: str | None
    row_webhooks: bool
    output: str | None
    metadata: Mapping[str, str] | None
    schedule: Schedule | None
    schedule_of: str | None = Field(description="The recurring campaign that made this one.")
    input: CampaignInput | None
    error: CampaignError | None
    counts: CampaignCounts
    spent: CampaignSpent
    plan_token: str | None
    approved_token: str | None
    forecast: CampaignForecast | None
    manifest: ManifestRevision | None = Field(description="The newest one.")
    waiting_for: str | None = Field(
        description="Why nothing of it is rendered now, with the number that has to change: a pause, a budget, a time, "
        "workers, a cap, or its place in the queue. The last two only where one campaign is asked for."
    )


class CampaignList(Listing[CampaignObject]):
    """A page of campaigns."""


class DeletedCampaign(BaseModel):
    id: str
    object: Literal["campaign.deleted"] = "campaign.deleted"
    deleted: Literal[True] = True


class Range(BaseModel):
    """One in ten is below the first, and one in ten above the last."""

    low: float
    likely: float
    high: float


class MoneyRange(Range):
    currency: str


class Hours(BaseModel):
    """On the workers that are there, and on the largest fleet that is allowed; null where a pool has no worker."""

    present: float | None
    largest: float | None


class Workers(BaseModel):
    present: int
    largest: int


class PlannedPool(BaseModel):
    pool: str
    model: str
    rows: int
    gpu_seconds: float


class CampaignPlan(BaseModel):
    """What is left to render, and what that costs. Approving names the token, and caps spending at the upper bound."""

    object: Literal["campaign.plan"] = "campaign.plan"
    campaign: str
    plan_token: str
    rows: int
    bad_rows: int
    gpu_seconds: Range
    money: MoneyRange | None
    charge: float = Field(
        description="What fair shares and daily limits will likely count: the GPU seconds, or the seconds for which "
        "finishing keeps workers where those are more. `hours` go by it; budgets and money do not."
    )
    hours: Hours
    workers: Workers
    deadline_holds: bool | None
    pools: Sequence[PlannedPool]


class CampaignUpload(BaseModel):
    """A URL that the input may be put to, without a key; then call `ingest`."""

    object: Literal["campaign.upload"] = "campaign.upload"
    url: str
    method: Literal["PUT"] = "PUT"
    expires_at: int
