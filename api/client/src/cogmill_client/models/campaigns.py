"""A campaign as the API tells of it. Times are Unix seconds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from cogmill_client.models.base import Answer, Identified, OrNewer, Problem

CampaignState = Literal[
    "draft", "ingesting", "planned", "sampling", "awaiting_approval", "running", "paused", "finishing", "completed",
    "cancelled", "failed",
]  # fmt: skip
PauseReason = Literal["owner", "budget", "failures", "quota", "closed_hours", "revision"]
InputFormat = Literal["jsonl", "csv", "parquet", "manifest"]
Order = Literal["arrival", "spread"]
Approval = Literal["required", "none"]
OnDeadline = Literal["continue", "stop"]
OnMiss = Literal["refuse", "warn"]


class Template(Answer):
    """What every row's prompt is made of."""

    prompt: str
    negative_prompt: str | None


class BudgetAction(Answer):
    """What happens at so many percent of the budget."""

    percent: int
    do: str


class Budget(Answer):
    """What may be spent."""

    amount: float
    unit: str
    actions: list[BudgetAction]


class StopOnFailures(Answer):
    """How many failures pause the campaign."""

    count: int | None
    share: float | None
    of_first: int | None


class Schedule(Answer):
    """When a recurring campaign makes the next one."""

    cron: str
    time_zone: str


class CampaignInput(Answer):
    """Where the rows come from, and how much of it is read."""

    source: str
    format: str | None
    records_read: int
    bytes: int | None


class Counts(Answer):
    """Rows by what became of them."""

    rows: int
    bad: int
    waiting: int
    held: int
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    dropped: int
    waived: int
    flagged: int


class Spent(Answer):
    """What was used and what is reserved."""

    gpu_seconds: float
    reserved_gpu_seconds: float
    money: float | None
    currency: str | None


class Forecast(Answer):
    """When it will be done: 10%, 50% and 90%."""

    rows_per_hour: float | None
    low_at: int | None
    likely_at: int | None
    high_at: int | None
    at_risk: bool | None
    made_at: int
    reason: str | None
    advice: str | None


class Manifest(Answer):
    """The newest manifest."""

    revision: int
    final: bool
    rows: int
    sha256: str
    key_id: str


class Campaign(Identified):
    """Many rows under one template, one budget and one deadline."""

    object: Literal["campaign"]
    name: str | None
    state: Annotated[CampaignState, OrNewer]
    pause_reasons: list[Annotated[PauseReason, OrNewer]]
    version: int
    created_at: int
    started_at: int | None
    ended_at: int | None
    run_at: int | None
    deadline: int | None
    on_deadline: Annotated[OnDeadline, OrNewer]
    on_miss: Annotated[OnMiss, OrNewer]
    template: Template
    template_version: int
    defaults: dict[str, Any]
    variants: int
    seeds: list[int] | None
    sample: int
    order: Annotated[Order, OrNewer]
    strict: bool
    approval: Annotated[Approval, OrNewer]
    priority: int
    max_running: int | None
    budget: Budget | None
    stop_on_failures: StopOnFailures | None
    progress_every: int
    webhook_url: str | None
    row_webhooks: bool
    output: str | None
    metadata: dict[str, str] | None
    schedule: Schedule | None
    schedule_of: str | None
    input: CampaignInput | None
    error: Problem | None
    counts: Counts
    spent: Spent
    plan_token: str | None
    approved_token: str | None
    forecast: Forecast | None
    manifest: Manifest | None
    waiting_for: str | None

    @property
    def ended(self) -> bool:
        """Nothing more will become of it unless it is told to."""
        return self.state in ("completed", "cancelled", "failed")

    @property
    def needs_approval(self) -> bool:
        """It goes on once its plan is approved, and not before."""
        return self.state == "awaiting_approval" or (self.state == "paused" and "revision" in self.pause_reasons)

    @property
    def etag(self) -> str:
        """What `patch` takes, so that nobody else's change is overwritten."""
        return f'"{self.version}"'
