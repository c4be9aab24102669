"""`/v1/reviews`, which is ours: what people think of finished videos, one by one."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import JsonValue

from api import deps
from api.native import review_schemas as schemas
from api.native.review_answers import review_of, with_history
from api.openai.errors import DOCS, body
from api.wire.bodies import read_json, typed
from api.wire.docs import Body, listed
from api.wire.paging import After, Limit
from api.wire.problem import Problem
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.domain.reviews import Opinion, Verdict
from orchestrator.domain.rights import Scope
from orchestrator.ports.reviews import Met, Reviewed

router = Router(tags=["reviews"])

_CONFLICT = Problem(status=409, code="review_conflict", message="another has said something meanwhile", param="version")
_ANSWERS: dict[int | str, dict[str, Any]] = {
    409: {
        "model": schemas.ReviewConflict,
        "description": "Another has said something meanwhile: what holds is in `review`.",
        "content": {"application/json": {"example": body(_CONFLICT).model_dump() | {"review": schemas.REVIEW_EXAMPLE}}},
    }
}
_HISTORY_EXAMPLE = schemas.REVIEW_EXAMPLE | {"history": [schemas.ENTRY_EXAMPLE]}
_EXAMPLES: dict[str, JsonValue] = {
    "a rating": {"version": 0, "rating": 4},
    "rejected": {
        "version": 1,
        "rating": 2,
        "decision": "reject",
        "reason": "the handle is wrong",
        "action": "new_seed",
    },
}


@router.get(
    "/v1/reviews",
    response_model=schemas.ReviewList,
    summary="List reviews",
    **DOCS.route(Scope.READ, errors=(400, 404), example=listed(schemas.REVIEW_EXAMPLE)),
)
async def list_reviews(
    request: Request,
    tenant: deps.Tenant,
    limit: Limit = 20,
    after: After = None,
    decision: Annotated[Verdict | None, Query(description="Only these.")] = None,
) -> Response:
    """A page of what was said of the tenant's videos, of campaigns or not, the newest video first."""
    reviewing = deps.services(request).reviewing
    found = await reviewing.list(tenant, limit=limit + 1, after=after, decision=decision)
    data = [review_of(review) for review in found[:limit]]
    return reply(schemas.ReviewList.of(data, has_more=len(found) > limit))


@router.get(
    "/v1/reviews/{video_id}",
    response_model=schemas.ReviewWithHistory,
    summary="Retrieve a video's review",
    **DOCS.route(Scope.READ, errors=(400, 404), example=_HISTORY_EXAMPLE),
)
async def retrieve(request: Request, video_id: str, tenant: deps.Tenant) -> Response:
    """What is thought of a finished video, and all that was said of it."""
    of, entries = await deps.services(request).reviewing.get(tenant, video_id)
    return reply(with_history(of.review, of.campaign, entries))


@router.put(
    "/v1/reviews/{video_id}",
    response_model=schemas.ReviewObject,
    summary="Review a video",
    **DOCS.route(
        Scope.CAMPAIGNS,
        reads=Body(fields=schemas.Decide, examples=_EXAMPLES),
        example=schemas.REVIEW_EXAMPLE,
        errors=(404,),
        answers=_ANSWERS,
    ),
)
async def decide(request: Request, video_id: str, tenant: deps.Tenant) -> Response:
    """Rate a finished video, approve or reject it. Who names an older version than the newest is told what holds."""
    fields = typed(schemas.Decide, await read_json(request))
    said = Opinion(rating=fields.rating, decision=fields.decision, reason=fields.reason or None, action=fields.action)
    return _met(await deps.services(request).reviewing.decide(tenant, video_id, fields.version, said))


@router.post(
    "/v1/reviews/{video_id}/undo",
    response_model=schemas.ReviewObject,
    summary="Undo what was said of a video",
    **DOCS.route(
        Scope.CAMPAIGNS,
        reads=Body(fields=schemas.Versioned, examples={"typical": {"version": 2}}),
        example=schemas.REVIEW_EXAMPLE | {"version": 3, "rating": 4, "decision": None, "reason": None, "action": None},
        errors=(404,),
        answers=_ANSWERS,
    ),
)
async def undo(request: Request, video_id: str, tenant: deps.Tenant) -> Response:
    """Have what was said before hold again; undoing again goes back further. Not once it has been carried out."""
    fields = typed(schemas.Versioned, await read_json(request))
    return _met(await deps.services(request).reviewing.undo(tenant, video_id, fields.version))


@router.post(
    "/v1/reviews/{video_id}/render_again",
    response_model=schemas.ReviewObject,
    summary="Render a rejected video again",
    **DOCS.route(
        Scope.SUBMIT,
        reads=Body(fields=schemas.Versioned, examples={"typical": {"version": 2}}),
        example=schemas.REVIEW_EXAMPLE
        | {"campaign": None, "applied_at": 1758950500, "applied_as": "video_0199c3a57be47c21b1f3a1d3c5e7fa00"},
        errors=(403, 404),
    ),
)
async def render_again(request: Request, video_id: str, tenant: deps.Tenant) -> Response:
    """Another video like one of no campaign that was rejected for another seed. Asking twice makes one."""
    fields = typed(schemas.Versioned, await read_json(request))
    return reply(review_of(await deps.services(request).reviewing.render_again(tenant, video_id, fields.version)))


def _met(met: Met) -> Response:
    of = Reviewed(review=met.review)
    if met.accepted:
        return reply(review_of(of.review))
    told = schemas.ReviewConflict(error=body(_CONFLICT).error, review=review_of(of.review))
    return Response(told.model_dump_json(), 409, media_type="application/json")
