"""`/v1/admin/campaigns`: campaigns of every tenant, how they stand and why they wait, but without what they show."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from api import deps
from api.admin.campaign_answers import (
    TENANT_CAMPAIGN_EXAMPLE,
    WHOLE_EXAMPLE,
    TenantCampaignList,
    TenantCampaignWhole,
    tenant_campaign_of,
    whole_of,
)
from api.native.campaigns import Wanted, described, told
from api.openai.errors import DOCS
from api.wire.docs import listed
from api.wire.paging import After, Limit
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.domain.rights import Scope

router = Router(tags=["administration"])


@router.get(
    "/v1/admin/campaigns",
    response_model=TenantCampaignList,
    summary="List campaigns of all tenants",
    **DOCS.route(Scope.VIEW, errors=(400, 404), example=listed(TENANT_CAMPAIGN_EXAMPLE)),
)
async def list_campaigns(
    request: Request,
    viewer: deps.Key,
    wanted: Wanted,
    limit: Limit = 20,
    after: After = None,
    tenant: Annotated[str | None, Query(description="Of this tenant alone.")] = None,
) -> Response:
    """A page of campaigns, newest first, without those that were deleted.

    As with `GET /v1/campaigns`, one page looks at 20,000 of them at most.
    """
    campaigns = deps.services(request).administration.campaigns
    page = await campaigns.list(tenant, wanted, limit=limit, after=after)
    pairs = zip(page.campaigns, await told(request, page.campaigns), strict=True)
    found = TenantCampaignList.of([tenant_campaign_of(*pair) for pair in pairs], has_more=page.has_more)
    return reply(found.model_copy(update={"last_id": page.last}))


@router.get(
    "/v1/admin/campaigns/{campaign_id}",
    response_model=TenantCampaignWhole,
    summary="Retrieve a campaign of any tenant",
    **DOCS.route(Scope.VIEW, errors=(404,), example=WHOLE_EXAMPLE),
)
async def retrieve_campaign(request: Request, campaign_id: str, viewer: deps.Key) -> Response:
    """A campaign of any tenant, with why its rows failed. Nothing is done to it here: that is its tenant's to do."""
    seen = await deps.services(request).administration.campaigns.get(campaign_id)
    return reply(whole_of(seen, await described(request, seen.campaign)))
