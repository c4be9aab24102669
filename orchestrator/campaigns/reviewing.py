"""What people think of a tenant's videos: said, undone, shared out among reviewers, carried out. The use-cases."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

from orchestrator.campaigns import commands
from orchestrator.campaigns.campaigns import Campaigns
from orchestrator.config import Settings
from orchestrator.domain.campaign import Campaign
from orchestrator.domain.errors import InvalidField, NotFound, WrongState
from orchestrator.domain.job import parse_public_id, public_id
from orchestrator.domain.reviews import MAX_REASON, Entry, Opinion, Remedy, Review, Verdict, before, checked
from orchestrator.domain.texts import check_text
from orchestrator.intake.jobs import Jobs
from orchestrator.ports.campaign_values import Change
from orchestrator.ports.reviews import (
    Carried,
    FailureGroup,
    Met,
    ProgressPoint,
    Promoted,
    ReviewCounts,
    Reviewed,
    ReviewStore,
    SheetFilter,
    SheetPage,
)
from orchestrator.telemetry import acting

# For so long nobody else is asked to look at what somebody is about to; whoever goes on asks again.
HOLD_S = 300.0
_MAX_HOLDER = 64
_PAGE = 200
_SEED_BITS = 32
_POINTS = 240
_EXAMPLES = 3
# Counting looks at all reviews of a campaign: of so many videos, a count is good for so long.
MANY_VIDEOS = 10_000
COUNT_S = 5.0
# Failed rows that are looked at for their reasons.
MOST_FAILURES = 50_000


class Reviewing:
    """Reviews. Every id that is not one of the tenant's own raises `NotFound`, whatever the reason."""

    def __init__(self, settings: Settings, store: ReviewStore, campaigns: Campaigns, jobs: Jobs) -> None:
        self._settings = settings
        self._store = store
        self._campaigns = campaigns
        self._jobs = jobs
        self._counted: dict[int, tuple[float, ReviewCounts]] = {}

    # ------------------------------------------------------------ one video

    async def get(self, tenant: str, video_id: str) -> tuple[Reviewed, Sequence[Entry]]:
        """What is thought of a finished video, and all that was said of it, the oldest first."""
        of = await self._of(tenant, video_id)
        return of, await self._store.review_history(of.review.job_id, tenant)

    async def decide(self, tenant: str, video_id: str, version: int, opinion: Opinion) -> Met:
        """Say what is thought of a video. Where another has said something since `version`, that holds."""
        check_text(opinion.reason or "", "reason", max_chars=MAX_REASON)
        said = checked(opinion)
        return await self._store.decide(await self._of(tenant, video_id), tenant, version, said, reviewer())

    async def undo(self, tenant: str, video_id: str, version: int) -> Met:
        """Take back what was said last, and on from there what was said before."""
        return await self._store.undo_review(await self._of(tenant, video_id), tenant, version, reviewer(), before)

    async def render_again(self, tenant: str, video_id: str, version: int) -> Review:
        """Another video like one of no campaign that was rejected, with another seed."""
        of = await self._of(tenant, video_id)
        now = of.review
        if of.campaign is not None:
            raise WrongState("the video is a row's: its campaign carries out what reviewers reject")
        if now.applied_at is None:
            if now.version != version or now.opinion.action is not Remedy.NEW_SEED:
                raise WrongState("the video is not rejected for another seed in this version")
            seed = random.getrandbits(_SEED_BITS)
            job = await self._jobs.reseed(tenant, video_id, seed, idempotency_key=f"review-{video_id}-{version}")
            await self._store.note_applied(of, tenant, version, job.id, reviewer())
            if (now := (await self._of(tenant, video_id)).review).applied_as != job.id:
                # Nobody wants it any more, and no other call comes to it: its key has the version.
                await self._jobs.cancel(tenant, public_id(job.id))
                raise WrongState("what was asked for has been taken back meanwhile: no other video is made")
        return now

    async def list(self, tenant: str, *, limit: int, after: str | None, decision: Verdict | None) -> Sequence[Review]:
        """A page of reviews, the newest video first."""
        behind = None if after is None else parse_public_id(after)
        if after is not None and behind is None:
            raise _not_found(after, param="after")
        if behind is not None and not await self._known(behind, tenant):
            raise _not_found(after or "", param="after")
        return await self._store.list_reviews(tenant, limit=limit, after=behind, decision=decision)

    async def _known(self, job_id: UUID, tenant: str) -> bool:
        return bool(await self._store.review_history(job_id, tenant))

    async def _of(self, tenant: str, video_id: str) -> Reviewed:
        job_id = parse_public_id(video_id)
        found = None if job_id is None else await self._store.find_review(job_id, tenant)
        if found is None:
            raise _not_found(video_id)
        return found

    # ------------------------------------------------------------ a campaign's videos

    async def sheet(
        self, tenant: str, campaign_id: str, wanted: SheetFilter, *, after: int, limit: int
    ) -> tuple[Campaign, SheetPage]:
        """A page of the videos that a campaign has now, in the order of its rows."""
        campaign = await self._campaigns.get(tenant, campaign_id)
        return campaign, await self._store.sheet(campaign, wanted, after=after, limit=limit)

    async def hold(
        self, tenant: str, campaign_id: str, holder: str | None, *, after: int, limit: int
    ) -> tuple[Campaign, SheetPage]:
        """The next videos to decide on, which nobody else is given for a while."""
        campaign = await self._campaigns.get(tenant, campaign_id)
        mine = holder_of(holder)
        return campaign, await self._store.hold_reviews(campaign, mine, after=after, limit=limit, hold_s=HOLD_S)

    async def release(self, tenant: str, campaign_id: str, holder: str | None) -> int:
        """Give back what was held; how many."""
        return await self._store.release_reviews(await self._campaigns.get(tenant, campaign_id), holder_of(holder))

    async def counts(self, tenant: str, campaign_id: str) -> tuple[Campaign, ReviewCounts]:
        """How far people have come."""
        campaign = await self._campaigns.get(tenant, campaign_id)
        known = self._counted.get(campaign.number)
        if known is not None and time.monotonic() - known[0] < COUNT_S:
            return campaign, known[1]
        found = await self._store.count_reviews(campaign)
        if campaign.counts.succeeded >= MANY_VIDEOS:
            now = time.monotonic()
            self._counted = {of: each for of, each in self._counted.items() if now - each[0] < COUNT_S}
            self._counted[campaign.number] = (now, found)
        return campaign, found

    async def export(
        self, tenant: str, campaign_id: str, wanted: SheetFilter
    ) -> tuple[Campaign, AsyncIterator[Sequence[Reviewed]]]:
        """Every video of the campaign and what is thought of it, page by page."""
        campaign = await self._campaigns.get(tenant, campaign_id)
        return campaign, self._pages(campaign, wanted)

    async def _pages(self, campaign: Campaign, wanted: SheetFilter) -> AsyncIterator[Sequence[Reviewed]]:
        after, more = -1, True
        while more:
            page = await self._store.sheet(campaign, wanted, after=after, limit=_PAGE)
            after, more = page.after, page.has_more
            yield page.videos

    async def apply(self, tenant: str, campaign_id: str) -> Carried:
        """Carry out what was rejected, thousands at once: rows are left out, or rendered anew with another seed."""
        await self._campaigns.get(tenant, campaign_id)
        revisions = self._settings.revisions

        def carry(now: Campaign, drops: tuple[int, ...], again: tuple[int, ...]) -> Change:
            return commands.carried(now, drops, again, datetime.now(UTC), revisions=revisions)

        found = await self._store.apply_reviews(campaign_id, tenant, carry, reviewer())
        if found is None:
            raise _no_campaign(campaign_id)
        self._counted.pop(found.campaign.number, None)
        return found

    async def promote(self, tenant: str, campaign_id: str, profile: str = "exact") -> Promoted:
        """Render in full, with the seeds that they had, all that is approved and was not yet."""
        await self._campaigns.get(tenant, campaign_id)

        def promote(now: Campaign, places: tuple[int, ...]) -> Change:
            return commands.promote(now, places, profile, datetime.now(UTC))

        found = await self._store.promote_reviews(campaign_id, tenant, profile, promote)
        if found is None:
            raise _no_campaign(campaign_id)
        self._counted.pop(found.campaign.number, None)
        return found

    # ------------------------------------------------------------ how it got on

    async def progress(self, tenant: str, campaign_id: str) -> tuple[Campaign, Sequence[ProgressPoint]]:
        """How many rows had ended at a few hundred moments, at most."""
        campaign = await self._campaigns.get(tenant, campaign_id)
        return campaign, await self._store.progress_of(campaign, points=_POINTS)

    async def failures(self, tenant: str, campaign_id: str) -> tuple[Campaign, Sequence[FailureGroup]]:
        """Why rows failed, the commonest reason first, with a few rows of each."""
        campaign = await self._campaigns.get(tenant, campaign_id)
        return campaign, await self._store.failures_of(campaign, examples=_EXAMPLES, most=MOST_FAILURES)


def reviewer() -> str:
    """Who reviews: the key or the person that asks."""
    return acting.current().name


def holder_of(holder: str | None) -> str:
    """Who holds videos: a reviewer at one desk; a key that several use has a desk for each. Raises `InvalidField`."""
    if holder is None:
        return reviewer()
    check_text(holder, "holder", max_chars=_MAX_HOLDER)
    if not holder:
        raise InvalidField("must not be empty", param="holder")
    return f"{reviewer()}/{holder}"


def _no_campaign(campaign_id: str) -> NotFound:
    return NotFound(f"no campaign with the id {campaign_id[:80]!r}")


def _not_found(video_id: str, param: str | None = None) -> NotFound:
    return NotFound(f"no finished video with the id {video_id[:80]!r}", param=param)
