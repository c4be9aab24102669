"""What an owner does about a campaign's rows and their costs: plans, approves, rejects, pauses, cancels, retries."""

from __future__ import annotations

from typing import TypeVar

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, JsonValue

from api import deps
from api.native import campaign_schemas as schemas
from api.native.campaign_answers import CAMPAIGN_EXAMPLE, PLAN_EXAMPLE, CampaignObject, CampaignPlan
from api.native.campaign_translate import plan_of, version_of
from api.native.campaigns import TAGGED, IfMatch, shown
from api.openai.errors import DOCS
from api.wire.bodies import read_json, read_optional, typed
from api.wire.docs import Body
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.campaigns.campaigns import Chosen
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.rights import Scope

router = Router(tags=["campaigns"])

Fields = TypeVar("Fields", bound=BaseModel)
_FAILED_ROWS: dict[str, JsonValue] = {"all": {}, "for a reason": {"code": "out_of_memory"}}


@router.post(
    "/v1/campaigns/{campaign_id}/plan",
    response_model=CampaignPlan,
    summary="Plan a campaign",
    **DOCS.route(Scope.CAMPAIGNS, errors=(400, 404), example=PLAN_EXAMPLE),
)
async def plan(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """What is left to render, what that costs, and how long it takes. Changes nothing."""
    services = deps.services(request)
    return reply(plan_of(await services.campaigns.plan(tenant, campaign_id), services.settings))


@router.post(
    "/v1/campaigns/{campaign_id}/approve",
    response_model=CampaignObject,
    summary="Approve a plan",
    **DOCS.route(
        Scope.CAMPAIGNS,
        reads=Body(fields=schemas.ApproveCampaign, examples={"typical": {"plan_token": PLAN_EXAMPLE["plan_token"]}}),
        sends=TAGGED,
        example=CAMPAIGN_EXAMPLE,
        errors=(404, 409, 412),
    ),
)
async def approve(request: Request, campaign_id: str, tenant: deps.Tenant, if_match: IfMatch = None) -> Response:
    """Let the rest be rendered, for no more than the plan's upper bound. 409 where the plan is another by now."""
    version = version_of(if_match)
    fields = typed(schemas.ApproveCampaign, await read_json(request))
    campaigns = deps.services(request).campaigns
    return await shown(request, await campaigns.approve(tenant, campaign_id, fields.plan_token, version=version))


@router.post(
    "/v1/campaigns/{campaign_id}/reject",
    response_model=CampaignObject,
    summary="Reject rows of the sample",
    **DOCS.route(
        Scope.CAMPAIGNS,
        reads=Body(fields=schemas.RejectRows, examples={"typical": {"rows": ["mug-7", "mug-31"], "do": "new_seed"}}),
        sends=TAGGED,
        example=CAMPAIGN_EXAMPLE | {"state": "sampling"},
        errors=(404,),
    ),
)
async def reject(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """Render rows of the sample with other seeds, or leave them out, which changes the plan."""
    fields = typed(schemas.RejectRows, await read_json(request), nested=True)
    campaigns = deps.services(request).campaigns
    return await shown(request, await campaigns.reject(tenant, campaign_id, fields.rows, drop=fields.do == "drop"))


@router.post(
    "/v1/campaigns/{campaign_id}/pause",
    response_model=CampaignObject,
    summary="Pause a campaign",
    **DOCS.route(
        Scope.CAMPAIGNS,
        reads=Body(fields=schemas.PauseCampaign, examples={"typical": {"reason": "the logo is wrong"}}, required=False),
        sends=TAGGED,
        example=CAMPAIGN_EXAMPLE | {"state": "paused", "pause_reasons": ["owner"]},
        errors=(404,),
    ),
)
async def pause(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """Begin nothing more; what renders now goes on to its end."""
    fields = await _optional(request, schemas.PauseCampaign)
    return await shown(request, await deps.services(request).campaigns.pause(tenant, campaign_id, fields.reason))


@router.post(
    "/v1/campaigns/{campaign_id}/resume",
    response_model=CampaignObject,
    summary="Resume a campaign",
    **DOCS.route(Scope.CAMPAIGNS, errors=(400, 404), sends=TAGGED, example=CAMPAIGN_EXAMPLE),
)
async def resume(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """End the owner's pause, or the one for failures. Other reasons go when they are no more."""
    return await shown(request, await deps.services(request).campaigns.resume(tenant, campaign_id))


@router.post(
    "/v1/campaigns/{campaign_id}/cancel",
    response_model=CampaignObject,
    summary="Cancel a campaign",
    **DOCS.route(Scope.CAMPAIGNS, errors=(400, 404), sends=TAGGED, example=CAMPAIGN_EXAMPLE | {"state": "cancelled"}),
)
async def cancel(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """End it for good: what waits never begins, what renders is stopped within a step, what is finished stays."""
    return await shown(request, await deps.services(request).campaigns.cancel(tenant, campaign_id))


@router.post(
    "/v1/campaigns/{campaign_id}/retry",
    response_model=CampaignObject,
    summary="Retry rows that failed",
    **DOCS.route(
        Scope.CAMPAIGNS,
        reads=Body(fields=schemas.ChooseRows, examples=_FAILED_ROWS, required=False),
        sends=TAGGED,
        example=CAMPAIGN_EXAMPLE,
        errors=(404,),
    ),
)
async def retry(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """Render failed rows again: all of them, those that are named, or those that failed with a code."""
    chosen = _chosen(await _optional(request, schemas.ChooseRows))
    return await shown(request, await deps.services(request).campaigns.retry(tenant, campaign_id, chosen))


@router.post(
    "/v1/campaigns/{campaign_id}/waive",
    response_model=CampaignObject,
    summary="Waive rows that failed",
    **DOCS.route(
        Scope.CAMPAIGNS,
        reads=Body(fields=schemas.ChooseRows, examples=_FAILED_ROWS, required=False),
        sends=TAGGED,
        example=CAMPAIGN_EXAMPLE,
        errors=(404,),
    ),
)
async def waive(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """Accept that failed rows stay without a video: all of them, those named, or those that failed with a code."""
    chosen = _chosen(await _optional(request, schemas.ChooseRows))
    return await shown(request, await deps.services(request).campaigns.waive(tenant, campaign_id, chosen))


@router.post(
    "/v1/campaigns/{campaign_id}/promote",
    response_model=CampaignObject,
    summary="Render a draft's rows in full",
    **DOCS.route(
        Scope.CAMPAIGNS,
        reads=Body(
            fields=schemas.PromoteRows,
            examples={"all": {}, "the best": {"rows": ["mug-7"], "profile": "exact"}},
            required=False,
        ),
        sends=TAGGED,
        example=CAMPAIGN_EXAMPLE,
        errors=(404,),
    ),
)
async def promote(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """Render rows that succeeded again in another profile, with the seeds that they had."""
    fields = await _optional(request, schemas.PromoteRows)
    campaigns = deps.services(request).campaigns
    return await shown(request, await campaigns.promote(tenant, campaign_id, fields.rows, fields.profile or "exact"))


async def _optional(request: Request, fields: type[Fields]) -> Fields:
    """A body that may be left out."""
    return typed(fields, await read_optional(request), nested=True)


def _chosen(fields: schemas.ChooseRows) -> Chosen:
    if fields.rows is not None and fields.code is not None:
        raise InvalidField("is given beside rows, which says which", param="code")
    return Chosen(rows=fields.rows, code=fields.code)
