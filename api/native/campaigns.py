"""`/v1/campaigns`, which are ours: many videos under one template, one budget and one deadline."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Header, Query, Request
from fastapi.responses import Response

from api import deps
from api.native import campaign_schemas as schemas
from api.native.campaign_answers import CAMPAIGN_EXAMPLE, CampaignList, CampaignObject, DeletedCampaign
from api.native.campaign_translate import blaming, campaign_of, check_sources, version_of, wish_of
from api.openai.errors import DOCS
from api.wire.bodies import read_json, typed
from api.wire.docs import Body, listed
from api.wire.paging import After, Limit
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.domain.campaign import Campaign, CampaignState
from orchestrator.domain.campaign_filter import MAX_NAME, CampaignFilter
from orchestrator.domain.outlooks import Subject
from orchestrator.domain.rights import Scope

router = Router(tags=["campaigns"])

# The headers of a campaign, as `shown` sends it.
TAGGED = ("etag", "cache-control")

IfMatch = Annotated[
    str | None, Header(description="The `ETag` of what was read: nothing is done where it is another by now.")
]


def _wanted(
    state: Annotated[CampaignState | None, Query(description="Only campaigns that stand so.")] = None,
    name: Annotated[
        str | None, Query(max_length=MAX_NAME, description="Only those with this in their name, whatever its case.")
    ] = None,
    at_risk: Annotated[
        bool, Query(description="Only those whose forecast says that the deadline or the budget does not hold.")
    ] = False,
) -> CampaignFilter:
    return CampaignFilter(state=state, name=name, at_risk=at_risk)


# The filters of every list of campaigns.
Wanted = Annotated[CampaignFilter, Depends(_wanted)]


@router.post(
    "/v1/campaigns",
    response_model=CampaignObject,
    summary="Create a campaign",
    **DOCS.route(
        Scope.CAMPAIGNS,
        reads=Body(fields=schemas.CreateCampaign, examples=schemas.CREATE_EXAMPLES),
        sends=TAGGED,
        example=CAMPAIGN_EXAMPLE | {"state": "ingesting", "plan_token": None},
        errors=(403, 404),
    ),
)
async def create(
    request: Request,
    tenant: deps.Tenant,
    idempotency_key: Annotated[
        str | None, Header(description="A repeated request with the same key answers the first one's campaign.")
    ] = None,
) -> Response:
    """Take in rows, price them, and render them once somebody approves; or make a draft that rows are sent to."""
    fields = typed(schemas.CreateCampaign, await read_json(request), nested=True)
    wish = wish_of(fields)
    check_sources(fields)
    with blaming(fields):
        campaign = await deps.services(request).campaigns.create(
            tenant,
            wish,
            source=fields.input if fields.like is None else fields.like,
            form=fields.format if fields.like is None else "manifest",
            clone_of=fields.clone_of,
            idempotency_key=idempotency_key or None,
        )
    return await shown(request, campaign)


@router.get(
    "/v1/campaigns",
    response_model=CampaignList,
    summary="List campaigns",
    **DOCS.route(Scope.READ, errors=(400, 404), example=listed(CAMPAIGN_EXAMPLE)),
)
async def list_campaigns(
    request: Request,
    tenant: deps.Tenant,
    wanted: Wanted,
    limit: Limit = 20,
    after: After = None,
) -> Response:
    """A page of the tenant's campaigns, newest first.

    One page looks at 20,000 of them at most: where filters leave few, it may be short and yet not the last.
    """
    page = await deps.services(request).campaigns.list(tenant, wanted, limit=limit, after=after)
    found = CampaignList.of(await told(request, page.campaigns), has_more=page.has_more)
    return reply(found.model_copy(update={"last_id": page.last}))


@router.get(
    "/v1/campaigns/{campaign_id}",
    response_model=CampaignObject,
    summary="Retrieve a campaign",
    **DOCS.route(Scope.READ, errors=(404,), sends=TAGGED, example=CAMPAIGN_EXAMPLE),
)
async def retrieve(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """The campaign as it stands."""
    return await shown(request, await deps.services(request).campaigns.get(tenant, campaign_id))


@router.patch(
    "/v1/campaigns/{campaign_id}",
    response_model=CampaignObject,
    summary="Change a campaign",
    **DOCS.route(
        Scope.CAMPAIGNS,
        reads=Body(
            fields=schemas.PatchCampaign,
            examples={
                "more time": {"deadline": "2026-12-02T08:00:00Z", "max_running": None},
                "another prompt": {"template": {"prompt": "a {product} on a {scene}, at night"}},
            },
        ),
        sends=TAGGED,
        example=CAMPAIGN_EXAMPLE,
        errors=(403, 404, 412),
    ),
)
async def patch(request: Request, campaign_id: str, tenant: deps.Tenant, if_match: IfMatch = None) -> Response:
    """Change what has not begun, and what holds from now on.

    Another template, or anything else that decides look or quantity, makes another plan, which somebody approves anew.
    What no worker has begun is then made by the new one; what was begun stays as it is.
    """
    fields = typed(schemas.PatchCampaign, await read_json(request), nulls=True, nested=True)
    version, wish = version_of(if_match), wish_of(fields)
    with blaming(fields):
        campaign = await deps.services(request).campaigns.patch(tenant, campaign_id, wish, version=version)
    return await shown(request, campaign)


@router.delete(
    "/v1/campaigns/{campaign_id}",
    response_model=DeletedCampaign,
    summary="Delete a campaign",
    **DOCS.route(
        Scope.CAMPAIGNS,
        errors=(400, 404),
        example={"id": CAMPAIGN_EXAMPLE["id"], "object": "campaign.deleted", "deleted": True},
    ),
)
async def delete(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """Forget a campaign that has ended, with its rows and manifests; its videos stay as long as others do."""
    await deps.services(request).campaigns.delete(tenant, campaign_id)
    return reply(DeletedCampaign(id=campaign_id))


async def told(request: Request, campaigns: Sequence[Campaign]) -> list[CampaignObject]:
    """Campaigns of a list as their owners read them now."""
    services = deps.services(request)
    known, now = await services.waiting.known(), datetime.now(UTC)
    return [
        campaign_of(campaign, services.settings, known, await services.forecasts.of(Subject.CAMPAIGN, campaign.id), now)
        for campaign in campaigns
    ]


async def shown(request: Request, campaign: Campaign) -> Response:
    """One campaign, with its version as its tag."""
    return reply(
        await described(request, campaign), headers={"etag": f'"{campaign.version}"', "cache-control": "no-store"}
    )


async def described(request: Request, campaign: Campaign) -> CampaignObject:
    """One campaign as its owner reads it now."""
    services = deps.services(request)
    known = await services.waiting.known()
    outlook = await services.forecasts.of(Subject.CAMPAIGN, campaign.id)
    turn = await services.waiting.turn_of(campaign)
    return campaign_of(campaign, services.settings, known, outlook, datetime.now(UTC), turn)
