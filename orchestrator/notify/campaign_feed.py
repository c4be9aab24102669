"""Keeps everybody who watches a campaign up to date: each watched one is read once in a round, however many watch."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from orchestrator.domain.campaign import Campaign
from orchestrator.notify import watching
from orchestrator.notify.watching import Watches
from orchestrator.telemetry import aside

# A campaign's id and its tenant.
Key = tuple[str, str]
Watch = watching.Watch[Key, Campaign]


class CampaignReader(Protocol):
    """The one part of `CampaignStore` that the feed needs."""

    async def get_campaign(self, campaign_id: str, tenant: str) -> Campaign | None: ...


def _place(campaign: Campaign) -> object:
    return campaign.version, campaign.counts, campaign.ended_at


class CampaignFeed:
    """`run_once` reads what is watched; while nobody watches, it waits."""

    def __init__(self, store: CampaignReader, *, watchers: int) -> None:
        self._store = store
        self._watches = Watches[Key, Campaign]("campaigns", _place, most=watchers)

    def watch(self, campaign: Campaign, most: float | None = None) -> AbstractContextManager[Watch]:
        """Watch a campaign until the block ends.

        Raises `LimitExceeded` when too many watch, or `most` of its tenant's.
        """
        return self._watches.watch((campaign.id, campaign.tenant), campaign.tenant, most)

    def end_all(self) -> None:
        """End every watch that there is: this process stops, and another one may be asked."""
        self._watches.end_all()

    async def run_once(self) -> None:
        """Read every watched campaign and wake those whose campaign has moved. Raises `StoreUnavailable`."""
        for (campaign_id, tenant), watches in (await self._watches.asked()).items():
            with aside.unless_it_breaks("campaign_feed", campaign=campaign_id):
                found = await self._store.get_campaign(campaign_id, tenant)
                for watch in watches:
                    watch.show(found)
