"""The store of campaigns and their rows: for their owner, and for the engine that moves them on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from orchestrator.domain.audit import Action
from orchestrator.domain.campaign import (
    Campaign,
    CampaignState,
    Group,
    Kind,
    ManifestMark,
    Outcome,
    Pass,
    Row,
    RowError,
)
from orchestrator.domain.campaign_filter import ALL, CampaignFilter
from orchestrator.domain.campaign_rows import BadRow, NewRow
from orchestrator.ports.campaign_values import (
    Beside,
    Budget,
    CampaignPage,
    Change,
    EndedRow,
    Found,
    Hold,
    Kept,
    NewCampaign,
    RowFilter,
    RowPage,
    Submission,
    Submitted,
    ToFree,
    WindowJob,
    Work,
)

Decide = Callable[[Campaign], Change | None]
# The estimate of a campaign with these rows, from the one without them.
Estimate = Callable[[tuple[Group, ...], Sequence[NewRow]], tuple[Group, ...]]


class CampaignStore(Protocol):
    """Campaigns in PostgreSQL. Every method may raise `StoreUnavailable`; none is half done then.

    Those that take a `Hold` raise `LeaseLost`, and write nothing, when another holds the campaign now, or it is no
    longer in the hold's version.
    """

    # for its owner
    async def add_campaign(self, campaign: NewCampaign) -> Campaign:
        """Insert one; the first of its key in its place. Raises `KeyReused` when that was asked for otherwise.

        Raises `LimitExceeded` where its tenant's quotas have no room, however many come at once.
        """
        ...

    async def repeated_campaign(self, tenant: str, key: str, request_hash: str) -> Campaign | None:
        """The first one of an idempotency key. Raises `KeyReused` when that was asked for otherwise."""
        ...

    async def get_campaign(self, campaign_id: str, tenant: str) -> Campaign | None: ...

    async def any_campaign(self, campaign_id: str) -> Campaign | None:
        """A campaign, whoever's it is; None for a deleted one."""
        ...

    async def list_campaigns(
        self, tenant: str | None, wanted: CampaignFilter = ALL, *, limit: int, after: str | None = None
    ) -> CampaignPage:
        """A tenant's campaigns, or those of all (None), the newest first, behind one.

        A page looks at a bounded number, so that it may be short and yet not the last.
        """
        ...

    async def change_campaign(
        self, campaign_id: str, tenant: str, decide: Decide, *, action: Action | None = None
    ) -> Campaign | None:
        """Lock it, ask what becomes of it as it is then, carry that out. What `decide` raises changes nothing."""
        ...

    async def delete_campaign(self, campaign_id: str, tenant: str) -> bool:
        """Delete one that has ended, and in time its rows. False when there is no such one, or it has not ended."""
        ...

    async def places_of(
        self, campaign: Campaign, custom_ids: Sequence[str]
    ) -> Mapping[str, tuple[int, Outcome | None]]:
        """The places of rows and how they have ended, by their names; names that no row has are left out."""
        ...

    async def places_failed(self, campaign: Campaign, code: str, *, limit: int) -> list[int]:
        """Places of rows that failed for this reason."""
        ...

    async def rows_at(self, campaign: Campaign, places: Sequence[int]) -> list[Row]:
        """The rows at these places, in their order."""
        ...

    async def show_rows(self, campaign: Campaign, wanted: RowFilter, *, after: int, limit: int) -> RowPage: ...

    def bad_rows(self, campaign: Campaign) -> AsyncIterator[Sequence[BadRow]]:
        """All of them, page by page, in the order of the input."""
        ...

    # for whoever works on it
    async def lease_campaign(self, work: Work, lease_s: float) -> Hold | None:
        """The campaign that has waited longest for this work and that nobody holds; None when none is due."""
        ...

    async def renew_campaign(self, hold: Hold, lease_s: float) -> None: ...

    async def release_campaign(self, hold: Hold, *, pause_s: float) -> None:
        """Let go; nobody needs to look at it for `pause_s` seconds, unless its owner changes it."""
        ...

    async def park_campaign(self, hold: Hold, error: str) -> None:
        """Let go of what nobody foresaw, and keep `error` as evidence."""
        ...

    async def add_rows(
        self,
        hold: Hold,
        rows: Sequence[NewRow],
        bad: Sequence[BadRow],
        *,
        records: int,
        estimate: Estimate | None = None,
    ) -> int:
        """Append rows behind those that are there, but not the ones whose name came before, which are bad, too.

        Raises `LimitExceeded` where its tenant's quotas have no room for them. Of lines that are no rows the first
        20,000 of an input are kept.

        How many rows there are then. `records` is how many of the input have been read when these are in; nothing
        happens when they were in before. `estimate` is asked what it is with those that were appended.
        """
        ...

    async def read_held(self, hold: Hold) -> Campaign:
        """The campaign as it is now."""
        ...

    async def change_held(self, hold: Hold, change: Change) -> Campaign:
        """Carry out what the holder has decided."""
        ...

    async def find_rows(self, hold: Hold, wanted: Pass, *, limit: int) -> Found:
        """The next rows of a pass that have neither job nor end."""
        ...

    async def open_passes(self, hold: Hold) -> list[Pass]: ...

    async def submit_rows(
        self,
        hold: Hold,
        wanted: Pass,
        submissions: Sequence[Submission],
        refused: Sequence[tuple[Row, RowError]],
        *,
        cursor: int,
        done: bool,
        put_off: bool,
    ) -> Submitted:
        """Reserve, insert the jobs, end the refused rows and move the cursor, all in one transaction.

        Rows that the budgets or the tenant's limits have no room for get no job, and the cursor stays before them.
        `put_off` says that the row at the cursor needs what does not answer: for long, and the pass is `stuck`.
        """
        ...

    async def settle_rows(self, hold: Hold, *, limit: int) -> Campaign:
        """End the rows whose jobs have ended, book what they used, and count; the campaign as it is then."""
        ...

    async def window(self, hold: Hold) -> list[WindowJob]:
        """Jobs that have not been settled, in the order in which they were submitted."""
        ...

    async def rebalance(self, hold: Hold, *, to_hold: Sequence[UUID], to_ready: Sequence[UUID]) -> None:
        """Some wait where they are, others may be claimed."""
        ...

    def ended_rows(self, campaign: Campaign, *, with_jobs: bool = False) -> AsyncIterator[Sequence[EndedRow]]:
        """All rows, page by page, in order of place."""
        ...

    async def end_campaign(self, hold: Hold, state: CampaignState, manifest: ManifestMark | None) -> None:
        """finishing -> completed, or the end of a cancelled one."""
        ...

    async def workers_of(self, pools: Sequence[str]) -> Mapping[str, int]:
        """How many workers of each pool are alive."""
        ...

    async def rivals(self, tenant: str, priority: int) -> list[Campaign]:
        """The tenant's campaigns of one priority that render, whole, the oldest first: in the order of their claim."""
        ...

    async def beside(self, tenant: str, pool: str, priority: int, campaigns: Collection[str], *, most: int) -> Beside:
        """What the tenant has there, with and without these campaigns; of what waits up to `most` are counted."""
        ...

    async def lease_revision(self) -> Campaign | None:
        """A campaign of whose manifest a revision is wanted, for as long as that takes; None when there is none."""
        ...

    async def note_revision(self, campaign: Campaign, mark: ManifestMark) -> None:
        """The revision is in S3; nothing when a later one is."""
        ...

    async def campaign_states(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """How many campaigns that have not ended are in each state, and how many of their rows have ended how."""
        ...

    async def scheduled(self, campaign: Campaign, next_run_at: datetime) -> None:
        """One has begun; when the next one does."""
        ...

    async def due_schedules(self) -> list[Campaign]:
        """Recurring campaigns whose time has come."""
        ...

    # keeping house
    async def over(self, kind: Kind, *, older_than_s: float, limit: int) -> list[Kept]:
        """Batches that ended so long ago, or campaigns that were deleted, which still have rows."""
        ...

    async def live_of(self, kept: Kept) -> list[UUID]:
        """Jobs of them that have not ended."""
        ...

    async def forget_rows(self, kept: Kept) -> None: ...

    async def to_free(self, *, limit: int) -> list[ToFree]:
        """Those that have ended and still hold rows that never will begin, the first ended ones first."""
        ...

    async def free_rows(self, ended: ToFree) -> int:
        """Free these rows, some thousands in each transaction; how many they were."""
        ...

    async def forget_ended(self, *, keep_s: float) -> int:
        """Delete batches that ended so long ago, once they have no rows; how many."""
        ...

    async def delete_ended(self, *, older_than_s: float) -> None:
        """Delete, as their owner would, campaigns that ended so long ago and do not recur."""
        ...

    async def deleted_campaigns(self, *, limit: int) -> list[Kept]:
        """Campaigns that were deleted and have no rows any more."""
        ...

    async def forget_campaign(self, kept: Kept) -> None:
        """What it had in the bucket is gone: so is its last row, and whatever it had without ever having a good one."""
        ...

    # budgets
    async def set_budget(self, budget: Budget) -> None: ...

    async def drop_budget(self, tenant: str, period: str, unit: str) -> bool: ...

    async def budgets_of(self, tenant: str) -> list[Budget]: ...
