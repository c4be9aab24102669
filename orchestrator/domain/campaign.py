"""A campaign's life and what becomes of its rows: values, the table of its states, and pure rules.

```
draft -> ingesting -> planned -> sampling -> awaiting_approval -> running <-> paused -> finishing -> completed
             \\-> failed      \\________________________________________/                   ^            \\
                                                                        retry, promote:  running <-------'
any but the last two -> cancelled
```

A batch is a campaign of the plainest kind: it is ingesting, running, finishing, and then it has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from orchestrator.domain.errors import IllegalTransition


class Kind(StrEnum):
    """Who stands above the rows."""

    BATCH = "batch"
    CAMPAIGN = "campaign"


class CampaignState(StrEnum):
    """Where a campaign stands."""

    # Its rows are still to come.
    DRAFT = "draft"
    # They are being read and checked.
    INGESTING = "ingesting"
    # What it will render and what that costs is known.
    PLANNED = "planned"
    # A few rows are rendered before anybody pays for the rest.
    SAMPLING = "sampling"
    # Somebody has to look.
    AWAITING_APPROVAL = "awaiting_approval"
    RUNNING = "running"
    # Nothing begins, for the reasons that it has.
    PAUSED = "paused"
    # Every row has ended, or its time is over and what lives is being stopped; the manifest is being written.
    FINISHING = "finishing"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    # Its input was not accepted.
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """True when nothing more happens unless its owner asks for it."""
        return self in (CampaignState.COMPLETED, CampaignState.CANCELLED, CampaignState.FAILED)


_S = CampaignState
TRANSITIONS: dict[CampaignState, frozenset[CampaignState]] = {
    _S.DRAFT: frozenset({_S.INGESTING, _S.CANCELLED}),
    _S.INGESTING: frozenset({_S.PLANNED, _S.RUNNING, _S.FAILED, _S.CANCELLED}),
    _S.PLANNED: frozenset({_S.SAMPLING, _S.AWAITING_APPROVAL, _S.RUNNING, _S.CANCELLED}),
    _S.SAMPLING: frozenset({_S.AWAITING_APPROVAL, _S.RUNNING, _S.PAUSED, _S.PLANNED, _S.CANCELLED}),
    _S.AWAITING_APPROVAL: frozenset({_S.RUNNING, _S.SAMPLING, _S.PLANNED, _S.CANCELLED}),
    _S.RUNNING: frozenset({_S.PAUSED, _S.FINISHING, _S.CANCELLED}),
    _S.PAUSED: frozenset({_S.PAUSED, _S.RUNNING, _S.SAMPLING, _S.PLANNED, _S.FINISHING, _S.CANCELLED}),
    _S.FINISHING: frozenset({_S.COMPLETED, _S.CANCELLED}),
    _S.COMPLETED: frozenset({_S.RUNNING}),
    _S.CANCELLED: frozenset(),
    _S.FAILED: frozenset(),
}


def require(current: CampaignState, target: CampaignState) -> CampaignState:
    """Return `target` if a campaign may go there from `current`; raise `IllegalTransition` otherwise."""
    if target not in TRANSITIONS[current]:
        raise IllegalTransition(current, target)
    return target


class PauseReason(StrEnum):
    """Why nothing of a campaign begins. Several may hold at once; resuming takes only `owner` away."""

    OWNER = "owner"
    BUDGET = "budget"
    FAILURES = "failures"
    # A limit of the tenant's.
    QUOTA = "quota"
    # Its pools are closed at this hour.
    CLOSED_HOURS = "closed_hours"
    # What was approved is no longer what would be rendered.
    REVISION = "revision"


class Outcome(StrEnum):
    """How a row has ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    # Stopped on the way, by its owner or with its campaign.
    CANCELLED = "cancelled"
    # Left out by whoever looked at the sample.
    DROPPED = "dropped"
    # It failed, and its owner goes on without it.
    WAIVED = "waived"


class PassKind(StrEnum):
    """Why rows are gone through."""

    # The few that are looked at first.
    SAMPLE = "sample"
    # All of them.
    MAIN = "main"
    # Those that failed, again.
    RETRY = "retry"
    # A draft's, in full.
    PROMOTE = "promote"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One going through a campaign's rows. What it has not come to is beyond its cursor."""

    # Counts from 1. A row remembers the pass that it was last ended by.
    number: int
    kind: PassKind
    # The rows to go through, in this order; None: all of the kind's, in the campaign's order.
    places: tuple[int, ...] | None
    # How many have been gone through; of a retry or a promotion of all, the first place that has not.
    cursor: int
    # What its rows are rendered with instead: `{"profile": "exact"}`.
    overrides: Mapping[str, Any] = field(default_factory=dict)
    # For long it has come no further than to a row that needs what does not answer.
    stuck: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateVersion:
    """What all rows have in common, as it was from one change to the next."""

    # Counts from 1.
    version: int
    # Texts with `{variables}`. Empty where the rows bring their own prompt.
    prompt: str
    negative_prompt: str | None = None
    # Parameters of a video that hold where a row says nothing.
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetAction:
    """What happens when so much of a budget is gone."""

    percent: int
    # `tell`, `finish` or `cancel`.
    do: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetAsk:
    """A budget as it was asked for."""

    amount: float
    # `gpu_seconds` or `money`.
    unit: str
    actions: tuple[BudgetAction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRule:
    """When failures pause a campaign: more than `count` of them, or more than `share` of the first `of_first` rows."""

    count: int | None = None
    share: float | None = None
    of_first: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What an owner has said of a campaign and may say anew."""

    name: str | None = None
    variants: int = 1
    seeds: tuple[int, ...] | None = None
    # Rows that are rendered before the rest is approved.
    sample: int = 0
    # `arrival` or `spread`.
    order: str = "arrival"
    # One bad row refuses all.
    strict: bool = False
    # Somebody has to approve the plan.
    approval: bool = True
    on_deadline: str = "continue"
    # What becomes of an approval whose deadline cannot hold: `refuse` or `warn`.
    on_miss: str = "warn"
    budget: BudgetAsk | None = None
    stop: StopRule = StopRule()
    # Of rows ended, between two events; 0 is never.
    progress_every: int = 10
    webhook_url: str | None = None
    row_webhooks: bool = False
    # `s3://bucket/prefix/{custom_id}.mp4`.
    output: str | None = None
    metadata: Mapping[str, str] | None = None
    cron: str | None = None
    time_zone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """Where the rows come from."""

    # As its owner named it, or `upload`.
    source: str
    # S3's key in our bucket.
    key: str
    format: str | None = None
    # Bytes, and the SHA-256 of all that was read, in hex; None until it has been.
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows that one pool renders with one model."""

    pool: str
    model: str
    rows: int
    # Of all of them, by the catalogue: what renders have taught comes on top when they are priced.
    gpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One wish, as it was taken in."""

    # Counts from 0 over what is good, as `line` from 1 over the input.
    place: int
    line: int
    custom_id: str
    # JSON; empty where its line is read again from the file of its batch.
    body: str
    # How often it got a new seed.
    reseed: int = 0
    # The profile that it was to be promoted to; None where it never was.
    profile: str | None = None
    # Where that line lies: the first of its bytes, and how many there are.
    input_at: int | None = None
    input_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowError:
    """Why a row has no video, or why an input was not accepted."""

    code: str
    message: str
    # The field to blame, by its neutral name.
    param: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Where the rows of a campaign stand."""

    rows: int = 0
    # Lines of the input that are no rows.
    bad: int = 0
    held: int = 0
    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    dropped: int = 0
    waived: int = 0
    # Succeeded, and looks as if it should not have.
    flagged: int = 0

    @property
    def ended(self) -> int:
        return self.succeeded + self.failed + self.cancelled + self.dropped + self.waived

    @property
    def live(self) -> int:
        """Rows that have a job."""
        return self.held + self.queued + self.running

    @property
    def waiting(self) -> int:
        """Rows beyond the cursor."""
        return max(0, self.rows - self.ended - self.live)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestMark:
    """The newest manifest of a campaign."""

    revision: int
    final: bool
    rows: int
    sha256: str
    key: str
    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A row as its owner may read it, and as who works on it holds it."""

    id: str
    # What its rows refer to.
    number: int
    kind: Kind
    tenant: str
    state: CampaignState
    pauses: frozenset[PauseReason]
    # Grows with every change of state or of what was asked.
    version: int
    ask: Ask
    # The oldest first; the last one holds.
    templates: tuple[TemplateVersion, ...]
    # Raised when what has not begun is deleted, so that its rows get other jobs.
    generation: int
    priority: int
    max_running: int | None
    input: Input | None
    # Records of the input that have been read.
    records: int
    counts: Counts
    estimate: tuple[Group, ...]
    # A hash of everything that decides look or quantity; None until the rows are read.
    plan_token: str | None
    approved_token: str | None
    # The quoted upper bound that was approved, in GPU seconds.
    cap: float | None
    # Spoken for, and used.
    reserved: float
    used: float
    # The same in money, in the currency of the deployment.
    reserved_money: float
    spent: float
    # The percentages that the world has heard of: of the rows, and of the budget.
    told_progress: int
    told_budget: frozenset[int]
    # Ended since the template's version began.
    fresh_succeeded: int
    fresh_failed: int
    # Failed among the first rows of it (`StopRule.of_first`).
    first_failed: int
    error: RowError | None
    # `(unix time, rows ended)`, for the rate.
    history: tuple[tuple[float, int], ...]
    manifest: ManifestMark | None
    schedule_of: str | None
    next_run_at: datetime | None
    run_at: datetime | None
    deadline: datetime | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    # Nothing of it waits or lives any more.
    drained: bool
    # The key that made it, and with it its jobs.
    made_by: str | None = None
    # Where in which trace it was asked for.
    trace: str | None = None

    @property
    def template(self) -> TemplateVersion:
        return self.templates[-1]

    @property
    def typical(self) -> float:
        """GPU seconds of a row, rather too many than too few: the catalogue's word, or what those took that ended."""
        rows = sum(group.rows for group in self.estimate)
        estimated = sum(group.gpu_seconds for group in self.estimate) / max(1, rows)
        return max(estimated, self.used / max(1, self.counts.succeeded + self.counts.failed))

    @property
    def tally(self) -> Counts:
        """Its counts as its owner reads them: what never began when it has ended was cancelled with it."""
        if self.ended_at is None:
            return self.counts
        return replace(self.counts, cancelled=self.counts.cancelled + self.counts.waiting)

    @property
    def approved(self) -> bool:
        """Whether the rest may be rendered."""
        return not self.ask.approval or (self.plan_token is not None and self.plan_token == self.approved_token)
