"""Campaigns of every tenant, for administrators: found, and seen with why their rows failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.campaigns.ids import behind, checked, found
from orchestrator.campaigns.reviewing import MOST_FAILURES
from orchestrator.domain.campaign import Campaign
from orchestrator.domain.campaign_filter import CampaignFilter
from orchestrator.domain.texts import check_tenant
from orchestrator.ports.campaign_values import CampaignPage
from orchestrator.ports.reviews import FailureGroup


class AnyCampaignStore(Protocol):
    """The parts of the store that this needs."""

    async def any_campaign(self, campaign_id: str) -> Campaign | None: ...

    async def list_campaigns(
        self, tenant: str | None, wanted: CampaignFilter, *, limit: int, after: str | None = None
    ) -> CampaignPage: ...

    async def failures_of(self, campaign: Campaign, *, examples: int, most: int) -> list[FailureGroup]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCampaign:
    """A campaign and why its rows failed, the commonest reason first."""

    campaign: Campaign
    failures: Sequence[FailureGroup]


class AnyCampaigns:
    """An id that is no campaign's, or a deleted one's, raises `NotFound`."""

    def __init__(self, store: AnyCampaignStore) -> None:
        self._store = store

    async def list(
        self, tenant: str | None, wanted: CampaignFilter, *, limit: int, after: str | None = None
    ) -> CampaignPage:
        """A page, newest first, behind the campaign `after`, which may be gone by now."""
        of = None if tenant is None else check_tenant(tenant)
        return await self._store.list_campaigns(of, wanted, limit=limit, after=behind(after))

    async def get(self, campaign_id: str) -> SeenCampaign:
        """One campaign. Rows bring examples of what their owner wrote, which are left where they are."""
        campaign = found(await self._store.any_campaign(checked(campaign_id)), campaign_id)
        failures = await self._store.failures_of(campaign, examples=0, most=MOST_FAILURES)
        return SeenCampaign(campaign=campaign, failures=failures)
