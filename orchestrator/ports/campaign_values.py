"""What goes into and comes out of the store of campaigns: what is wanted, what is decided, what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum, auto
from typing import Any, Final
from uuid import UUID

from orchestrator.domain.batch import Batch
from orchestrator.domain.campaign import (
    Ask,
    BudgetAction,
    BudgetAsk,
    Campaign,
    CampaignState,
    Input,
    Outcome,
    PassKind,
    PauseReason,
    Row,
    TemplateVersion,
)
from orchestrator.domain.job import Job, NewJob
from orchestrator.domain.states import JobState


class Work(StrEnum):
    """What a campaign waits for. Each kind of work has loops of its own, so that none holds up another."""

    INGEST = auto()
    MOVE = auto()
    FINISH = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCampaign:
    """What `add_campaign` inserts. `Campaign` explains the fields."""

    id: str
    tenant: str
    state: CampaignState
    ask: Ask
    template: TemplateVersion
    priority: int
    max_running: int | None = None
    input: Input | None = None
    run_at: datetime | None = None
    deadline: datetime | None = None
    schedule_of: str | None = None
    next_run_at: datetime | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None
    made_by: str | None = None
    trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A campaign as who works on it holds it."""

    campaign: Campaign
    # Fresh for each lease. Whatever the holder writes is filtered on it.
    token: UUID
    # Its deadline was over at the moment of the lease, and its own time to begin had come.
    overdue: bool
    due: bool
    # Its face, where it is a batch.
    batch: Batch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What one tenant has in one pool at one priority, and how busy that pool is."""

    # Renders in the pool, of whomever; those of the tenant at this priority; of these, those of no campaign, though
    # perhaps of a batch.
    busy: int
    running: int
    singles_running: int
    # Videos of no campaign that may be claimed, as far as they were counted.
    singles_ready: int


# The database's own clock, as a value in a `Change`.
NOW: Final = object()


class Window(StrEnum):
    """What becomes of the jobs that wait for a worker."""

    # They wait where they are until `READY`.
    HOLD = auto()
    READY = auto()
    # They end, and those that render are asked to.
    CANCEL = auto()
    # What no worker has ever had goes without a trace, and its rows are gone through again.
    FORGET = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPass:
    """Rows to be gone through (again). There is one main pass, however often it is asked for."""

    kind: PassKind
    # None: all of the kind's.
    places: tuple[int, ...] | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowEdit:
    """What its owner does to rows by hand."""

    # Of these rows (None: of all) those that stand so; None is one that has not ended. Who has a job is left alone.
    of: frozenset[Outcome | None]
    places: tuple[int, ...] | None = None
    # They have no outcome any more, nor a video, and so are rendered again; with another seed.
    reset: bool = False
    reseed: bool = False
    # Else they end so.
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of a campaign in one transaction: decided purely, carried out by the store."""

    # None: as it is.
    state: CampaignState | None = None
    pauses: frozenset[PauseReason] | None = None
    # Columns and their new values: dataclasses are kept as JSON.
    values: Mapping[str, Any] = field(default_factory=dict)
    window: Window | None = None
    passes: Sequence[NewPass] = ()
    edits: Sequence[RowEdit] = ()
    # More columns: what follows from the counts as the edits have left them.
    follows: Callable[[Campaign], Mapping[str, Any]] | None = None
    # What has not been gone through never is.
    closes: bool = False
    # Budgets of its tenant, in the period that goes on, and the percentages that have been told of each.
    told: Sequence[tuple[Budget, Sequence[int]]] = ()
    # Names of events, and what their bodies say beside the campaign's id.
    events: Sequence[tuple[str, Mapping[str, Any]]] = ()
    # The same of its face, where it is a batch.
    face: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A row that gets a job."""

    row: Row
    ordinal: int
    job: NewJob
    # Money for one GPU second.
    price: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A stretch of a pass: rows that wait in it, by their ordinals, and where the stretch ends."""

    rows: Sequence[tuple[int, Row]]
    # The cursor behind it.
    upto: int
    # There is nothing behind it.
    last: bool


class Short(StrEnum):
    """What there was not enough of."""

    BUDGET = auto()
    QUOTA = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """What became of submissions."""

    jobs: int
    # Why the rest got none, and when trying again may help.
    short: Short | None = None
    pause_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowJob:
    """A job of a campaign that is not settled."""

    place: int
    ordinal: int
    job_id: UUID
    state: JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRow:
    """A row as its owner may read it."""

    row: Row
    outcome: Outcome | None
    result: Mapping[str, Any]
    # Of its live job.
    job: Job | None
    # The version of the template that its live job was made with.
    version: int | None
    # The pass that its live job belongs to, or that ended it.
    pass_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFilter:
    """Which rows to show."""

    # A word of the API's: an outcome, `waiting`, or the state of a live job.
    state: str | None = None
    # The code of its error.
    reason: str | None = None
    custom_id: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPage:
    """A page of rows, in order of place."""

    rows: Sequence[ShownRow]
    has_more: bool
    # Where the next page begins: behind this place. A filtered page may end early, having looked at enough.
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRow:
    """A row as the manifest, or a batch's output, tells of it."""

    row: Row
    outcome: Outcome | None
    result: Mapping[str, Any]
    # Where it is asked for, and there is one.
    job: Job | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignPage:
    """A page of campaigns, the newest first."""

    campaigns: Sequence[Campaign]
    has_more: bool
    # Behind which the next page begins. Filters may have left out what lay there.
    last: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToFree:
    """A batch or a campaign that has ended, with rows that never began."""

    id: str
    number: int
    # These rows go; else they stay by name, and what they said goes.
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What has ended, and still has rows."""

    id: str
    number: int
    tenant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a tenant may use in each period."""

    tenant: str
    # `day` or `month`.
    period: str
    # `gpu_seconds` or `money`.
    unit: str
    amount: float
    actions: Sequence[BudgetAction] = ()
    # In the period that goes on.
    reserved: float = 0.0
    used: float = 0.0
    # The percentages whose action has been taken in it.
    told: frozenset[int] = frozenset()

    @property
    def ask(self) -> BudgetAsk:
        return BudgetAsk(amount=self.amount, unit=self.unit, actions=tuple(self.actions))
