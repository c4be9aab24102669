"""Where reviews are kept, and how campaigns got on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from orchestrator.domain.campaign import Campaign
from orchestrator.domain.reviews import Entry, Opinion, Review, Verdict
from orchestrator.ports.campaign_values import Change, EndedRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """A video, and what is thought of it."""

    review: Review
    # Where it is a row's: its campaign's id and number, and the row as it has ended.
    campaign: str | None = None
    number: int | None = None
    row: EndedRow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetFilter:
    """Which videos of a campaign are wanted."""

    # `undecided`, or a decision; None: all.
    decision: str | None = None
    rating: int | None = None
    flagged: bool = False
    # Those that came of a draft.
    promoted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetPage:
    """Videos in the order of their rows; the next page begins after `after`, also where a filter has left none."""

    videos: Sequence[Reviewed]
    after: int
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewCounts:
    """How far people have come with the videos that a campaign has now."""

    approved: int = 0
    new_seed: int = 0
    drop: int = 0
    # By rating, from 1 to 5.
    ratings: Sequence[int] = (0, 0, 0, 0, 0)
    # Somebody is about to look at them.
    held: int = 0
    # Carried out by now, of videos that are no more.
    applied: int = 0
    # Rows whose video was deleted: nobody has anything to look at.
    gone: int = 0

    @property
    def decided(self) -> int:
        return self.approved + self.new_seed + self.drop


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """What became of a word: the review as it stands, and whether the word counted."""

    review: Review
    accepted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What was carried out of a campaign's rejections."""

    campaign: Campaign
    new_seed: int
    drop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """How many rows are rendered again in full."""

    campaign: Campaign
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressPoint:
    """How a campaign's rows stood at a moment."""

    at: datetime
    succeeded: int
    failed: int
    others: int
    gpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Rows that failed for one reason, and a few of them: names, messages, jobs."""

    code: str
    rows: int
    examples: Sequence[Mapping[str, str | None]]


# Of the rows to drop and of those to render again, what becomes of the campaign.
Carry = Callable[[Campaign, tuple[int, ...], tuple[int, ...]], Change]
# Of the rows to render in full, what becomes of the campaign.
Promote = Callable[[Campaign, tuple[int, ...]], Change]
Undo = Callable[[Sequence[Entry], int], tuple[int, Opinion]]


class ReviewStore(Protocol):
    """Every method may raise `StoreUnavailable`; none is half done then."""

    async def find_review(self, job_id: UUID, tenant: str) -> Reviewed | None:
        """What is thought of a finished video of the tenant's; None where there is no such video."""
        ...

    async def review_history(self, job_id: UUID, tenant: str) -> list[Entry]:
        """What was said of it, the oldest first."""
        ...

    async def decide(self, of: Reviewed, tenant: str, version: int, opinion: Opinion, reviewer: str) -> Met:
        """Have an opinion hold, if `version` does. What comes too late is written down, and does not hold."""
        ...

    async def undo_review(self, of: Reviewed, tenant: str, version: int, reviewer: str, undo: Undo) -> Met:
        """Have what held before hold again, if `version` does."""
        ...

    async def list_reviews(
        self, tenant: str, *, limit: int, after: UUID | None, decision: Verdict | None
    ) -> list[Review]:
        """Reviews of a tenant's videos, the newest video first, behind one."""
        ...

    async def sheet(self, campaign: Campaign, wanted: SheetFilter, *, after: int, limit: int) -> SheetPage:
        """Videos of a campaign as they stand, behind a place."""
        ...

    async def hold_reviews(
        self, campaign: Campaign, holder: str, *, after: int, limit: int, hold_s: float
    ) -> SheetPage:
        """The next videos that nobody has decided on and nobody else looks at: they are the holder's for a while."""
        ...

    async def release_reviews(self, campaign: Campaign, holder: str) -> int:
        """Nobody looks at what this holder held; how many."""
        ...

    async def count_reviews(self, campaign: Campaign) -> ReviewCounts: ...

    async def apply_reviews(self, campaign_id: str, tenant: str, carry: Carry, reviewer: str) -> Carried | None:
        """Carry out what was rejected and waits for that, in one transaction; None where there is no such campaign."""
        ...

    async def promote_reviews(self, campaign_id: str, tenant: str, profile: str, promote: Promote) -> Promoted | None:
        """Have all be rendered in a profile that are approved, were not yet and are not about to, in one transaction.

        None where there is no such campaign.
        """
        ...

    async def note_applied(self, of: Reviewed, tenant: str, version: int, made: UUID | None, reviewer: str) -> bool:
        """What was asked for of one video has been done; whether that was new."""
        ...

    async def progress_of(self, campaign: Campaign, *, points: int) -> list[ProgressPoint]:
        """How it got on, at about so many moments."""
        ...

    async def failures_of(self, campaign: Campaign, *, examples: int, most: int) -> list[FailureGroup]:
        """Of at most so many rows that failed, the reasons, the commonest first."""
        ...
