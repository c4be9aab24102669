"""Campaigns as they are looked for: one tenant's or all, by filters, in bounded time however many there are.

They are read in the order of creation, by the primary key or by that of their tenant, and a page never reads more than
a window of them: it says how far it has come, and the next one goes on from there. What is at risk is found by its
forecast, of which there are as many as campaigns that go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Select, Text, bindparam, func, select, text

from orchestrator.domain.campaign import Campaign
from orchestrator.domain.campaign_filter import ALL, CampaignFilter
from orchestrator.domain.outlooks import BELIEVED, Subject
from orchestrator.ports.campaign_values import CampaignPage
from orchestrator.store.campaign_values import COLUMNS, LIVE, campaign
from orchestrator.store.part import Part
from orchestrator.store.tables import campaigns, forecasts

# So many campaigns a page looks at.
WINDOW = 20_000
# Ids are UUIDv7 behind a word: these lie around all that there are.
_BELOW, _ABOVE = "campaign_", "campaign_g"

_WHOLE = f"""
    SELECT {COLUMNS}, live.* FROM campaigns AS c, {LIVE}
    WHERE c.kind = 'campaign' AND c.deleted_at IS NULL AND c.id = ANY (:ids) ORDER BY c.id DESC
"""
_OF_IDS = text(_WHOLE).bindparams(bindparam("ids", type_=ARRAY(Text)))


class CampaignSearch(Part):
    async def any_campaign(self, campaign_id: str) -> Campaign | None:
        found = await self._campaigns_of([campaign_id])
        return found[0] if found else None

    async def list_campaigns(
        self, tenant: str | None, wanted: CampaignFilter = ALL, *, limit: int, after: str | None = None
    ) -> CampaignPage:
        seen = _window(tenant, wanted, after, WINDOW).subquery("seen")
        query = select(seen.c.id).where(*_sifting(wanted, seen.c)).order_by(seen.c.id.desc()).limit(limit + 1)
        ids: Sequence[str] = [row.id for row in await self._database.fetch(query)]
        shown = await self._campaigns_of(ids[:limit])
        if len(ids) > limit:
            return CampaignPage(campaigns=shown, has_more=True, last=ids[limit - 1])
        stopped = await self._last_of_window(tenant, wanted, after)
        if stopped is not None:
            return CampaignPage(campaigns=shown, has_more=True, last=stopped)
        return CampaignPage(campaigns=shown, has_more=False, last=ids[-1] if ids else None)

    async def _campaigns_of(self, ids: Sequence[str]) -> list[Campaign]:
        if not ids:
            return []
        return [campaign(row) for row in await self._database.fetch(_OF_IDS, {"ids": list(ids)})]

    async def _last_of_window(self, tenant: str | None, wanted: CampaignFilter, after: str | None) -> str | None:
        """The last campaign of a full window; None where the window reached the end, or nothing was sifted."""
        if wanted.state is None and not wanted.name:
            return None
        found = await self._database.fetch(_window(tenant, wanted, after, 1).offset(WINDOW - 1))
        return found[0].id if found else None


def _window(tenant: str | None, wanted: CampaignFilter, after: str | None, size: int) -> Select[Any]:
    """The next campaigns behind one, with what they are sifted by."""
    of = campaigns.c
    # As a word of the statement: of a parameter no partial index knows what it will be.
    query = select(of.id, of.state, of.ask["name"].astext.label("name")).where(text("campaigns.kind = 'campaign'"))
    query = query.where(of.deleted_at.is_(None), of.id < (_ABOVE if after is None else after))
    # Of all tenants by the primary key, in which batches come before them.
    query = query.where(of.id > _BELOW if tenant is None else of.tenant == tenant)
    if wanted.at_risk:
        told = forecasts.c
        query = query.where(
            of.id.in_(
                select(told.name).where(
                    told.subject == Subject.CAMPAIGN.value, told.at_risk, told.made_at > func.cogmill_now() - BELIEVED
                )
            )
        )
    return query.order_by(of.id.desc()).limit(size)


def _sifting(wanted: CampaignFilter, of: Any) -> list[ColumnElement[bool]]:
    """What is asked of each campaign that a window has."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.state is not None:
        conditions.append(of.state == wanted.state.value)
    if wanted.name:
        conditions.append(func.strpos(func.lower(of.name), func.lower(wanted.name)) > 0)
    return conditions
