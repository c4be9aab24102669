"""`/v1/campaigns/{id}/reviews`: the desk of those who look at a campaign's videos, several at once."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import JsonValue

from api import deps
from api.native import review_schemas as schemas
from api.native.campaign_rows import place_after
from api.native.campaigns import described
from api.native.review_answers import COLUMNS, counts_of, exported, page_of
from api.openai.errors import DOCS
from api.wire.bodies import read_optional, typed
from api.wire.docs import Body
from api.wire.holding import held
from api.wire.line_files import streamed_lines
from api.wire.paging import Limit
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.rights import Scope
from orchestrator.ports.reviews import SheetFilter

router = Router(tags=["campaigns"])

_PAGE_EXAMPLE: dict[str, JsonValue] = {
    "object": "list", "data": [schemas.SHEET_EXAMPLE], "first_id": "6", "last_id": "6", "has_more": True,
}  # fmt: skip
MOST_HELD = 100
_USUAL = 20
_EXPORT_EXAMPLE = '{"custom_id": "mug-7", "place": 6, "rating": 4, "decision": "approve"}\n'

Standing = Literal["undecided", "approve", "reject"]
DecisionQuery = Annotated[Standing | None, Query(description="Only those.")]
RatingQuery = Annotated[int | None, Query(ge=1, le=5, description="Only those with this rating.")]


@router.get(
    "/v1/campaigns/{campaign_id}/reviews",
    response_model=schemas.SheetPageObject,
    summary="List a campaign's videos with their reviews",
    **DOCS.route(Scope.READ, errors=(400, 404), example=_PAGE_EXAMPLE),
)
async def sheet(
    request: Request,
    campaign_id: str,
    tenant: deps.Tenant,
    limit: Limit = 20,
    after: Annotated[str | None, Query(description="The `last_id` of the page before.")] = None,
    decision: DecisionQuery = None,
    rating: RatingQuery = None,
    flagged: Annotated[bool, Query(description="Only what looks as if it should not have succeeded.")] = False,
    promoted: Annotated[bool, Query(description="Only what came of a draft.")] = False,
) -> Response:
    """The videos that the campaign has now, in the order of its rows."""
    wanted = SheetFilter(decision=decision, rating=rating, flagged=flagged, promoted=promoted)
    reviewing = deps.services(request).reviewing
    campaign, page = await reviewing.sheet(tenant, campaign_id, wanted, after=place_after(after), limit=limit)
    return reply(page_of(campaign, page))


@router.post(
    "/v1/campaigns/{campaign_id}/reviews/hold",
    response_model=schemas.SheetPageObject,
    summary="Take the next videos to review",
    **DOCS.route(
        Scope.CAMPAIGNS,
        reads=Body(fields=schemas.HoldVideos, examples={"typical": {"holder": "desk-1", "limit": 20}}, required=False),
        example=_PAGE_EXAMPLE,
        errors=(404,),
    ),
)
async def hold(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """The next videos that nobody has decided on. For five minutes nobody else is given them; ask again for longer."""
    fields = typed(schemas.HoldVideos, await read_optional(request))
    limit = _USUAL if fields.limit is None else fields.limit
    if not 1 <= limit <= MOST_HELD:
        raise InvalidField(f"must be between 1 and {MOST_HELD}", param="limit")
    reviewing, after = deps.services(request).reviewing, place_after(fields.after)
    campaign, page = await reviewing.hold(tenant, campaign_id, fields.holder, after=after, limit=limit)
    return reply(page_of(campaign, page))


@router.post(
    "/v1/campaigns/{campaign_id}/reviews/release",
    response_model=schemas.VideosReleased,
    summary="Give videos back unreviewed",
    **DOCS.route(
        Scope.CAMPAIGNS,
        reads=Body(fields=schemas.ReleaseVideos, examples={"typical": {"holder": "desk-1"}}, required=False),
        example={"object": "campaign.reviews_released", "released": 12},
        errors=(404,),
    ),
)
async def release(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """Let others be given what this holder has."""
    fields = typed(schemas.ReleaseVideos, await read_optional(request))
    reviewing = deps.services(request).reviewing
    return reply(schemas.VideosReleased(released=await reviewing.release(tenant, campaign_id, fields.holder)))


@router.get(
    "/v1/campaigns/{campaign_id}/reviews/counts",
    response_model=schemas.ReviewCountsObject,
    summary="Count a campaign's reviews",
    **DOCS.route(Scope.READ, errors=(404,), example=schemas.COUNTS_EXAMPLE),
)
async def counts(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """How far reviewers have come with the videos that it has now. Of 10,000 videos or more, up to five seconds ago."""
    return reply(counts_of(*await deps.services(request).reviewing.counts(tenant, campaign_id)))


@router.post(
    "/v1/campaigns/{campaign_id}/reviews/apply",
    response_model=schemas.ReviewsApplied,
    summary="Carry out what reviewers rejected",
    **DOCS.route(Scope.CAMPAIGNS, errors=(400, 404), example=schemas.APPLIED_EXAMPLE),
)
async def apply(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """Leave rejected rows out, or render them again with other seeds, 9,000 at a time; that comes on top of the plan.

    What was carried out is not undone any more. A campaign that was completed goes on.
    """
    done = await deps.services(request).reviewing.apply(tenant, campaign_id)
    told = await described(request, done.campaign)
    return reply(schemas.ReviewsApplied(new_seed=done.new_seed, drop=done.drop, campaign=told))


@router.post(
    "/v1/campaigns/{campaign_id}/reviews/promote",
    response_model=schemas.ReviewsPromoted,
    summary="Render what reviewers approved in full",
    **DOCS.route(
        Scope.CAMPAIGNS,
        reads=Body(fields=schemas.PromoteReviews, examples={"typical": {}}, required=False),
        errors=(404,),
        example=schemas.PROMOTED_EXAMPLE,
    ),
)
async def promote(request: Request, campaign_id: str, tenant: deps.Tenant) -> Response:
    """All that is approved and was not rendered so yet, however many: again, with the seeds that they had.

    What is about to be rendered so is not asked for twice. A campaign that was completed goes on.
    """
    fields = typed(schemas.PromoteReviews, await read_optional(request))
    done = await deps.services(request).reviewing.promote(tenant, campaign_id, fields.profile or "exact")
    told = await described(request, done.campaign)
    return reply(schemas.ReviewsPromoted(rows=done.rows, campaign=told))


@router.get(
    "/v1/campaigns/{campaign_id}/reviews/export",
    response_class=Response,
    summary="Export a campaign's reviews",
    **DOCS.route(
        Scope.READ,
        errors=(400, 404),
        sends=("content-disposition",),
        answers={
            200: {
                "description": "A line for each video that the campaign has now.",
                "content": {
                    "application/jsonl": {"schema": {"type": "string"}, "example": _EXPORT_EXAMPLE},
                    "text/csv": {"schema": {"type": "string"}},
                },
            }
        },
    ),
)
async def export(
    request: Request,
    campaign_id: str,
    tenant: deps.Tenant,
    format: Annotated[Literal["jsonl", "csv"], Query(description="How it is written.")] = "jsonl",
    decision: DecisionQuery = None,
    rating: RatingQuery = None,
) -> Response:
    """All videos and what is thought of them. No cell of the CSV runs in a spreadsheet."""
    services = deps.services(request)
    held(request).take(services.rooms.downloads)
    wanted = SheetFilter(decision=decision, rating=rating)
    campaign, pages = await services.reviewing.export(tenant, campaign_id, wanted)
    lines = (exported(campaign, page) async for page in pages)
    return await streamed_lines(lines, COLUMNS, format, filename=f"{campaign_id}-reviews.{format}")
