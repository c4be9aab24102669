"""`/v1/admin/bulk-actions`: the same as `/v1/bulk-actions`, of any tenant's jobs, or of all of them. Recorded."""

from __future__ import annotations

from dataclasses import replace

from fastapi import Request
from fastapi.responses import Response

from api import deps
from api.native.bulk_actions import IdempotencyKey, asked
from api.native.bulk_answers import (
    EXAMPLE,
    READS_OF_ANY,
    BulkList,
    BulkObject,
    BulkPreview,
    CreateBulkOfAny,
    bulk_of,
)
from api.openai.errors import DOCS
from api.wire.bodies import read_json, typed
from api.wire.docs import listed
from api.wire.paging import After, Limit
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.job_filter import JobFilter
from orchestrator.domain.rights import Scope

router = Router(tags=["administration"])


@router.post(
    "/v1/admin/bulk-actions",
    response_model=BulkObject | BulkPreview,
    summary="Act on all jobs of any tenant that match",
    **DOCS.route(Scope.OPERATE, reads=READS_OF_ANY, example=EXAMPLE),
)
async def create_bulk(request: Request, operator: deps.Key, idempotency_key: IdempotencyKey = None) -> Response:
    """Cancel, retry or change the priority of all jobs that match now, of one tenant or of all. No prompt is looked at.

    Retried jobs are within their tenants' limits; of all tenants' jobs, those of one that is full fail.
    """
    fields = typed(CreateBulkOfAny, await read_json(request), nested=True)
    return await asked(request, operator, fields, _checked(fields), idempotency_key, administrative=True)


@router.get(
    "/v1/admin/bulk-actions",
    response_model=BulkList,
    summary="List administrators' bulk actions",
    **DOCS.route(Scope.VIEW, errors=(400,), example=listed(EXAMPLE)),
)
async def list_bulk(request: Request, viewer: deps.Key, limit: Limit = 20, after: After = None) -> Response:
    """A page of what administrators asked for, newest first."""
    page = await deps.services(request).bulks.list(None, limit=limit, after=after)
    return reply(BulkList.of([bulk_of(each) for each in page.actions], has_more=page.has_more))


@router.get(
    "/v1/admin/bulk-actions/{bulk_id}",
    response_model=BulkObject,
    summary="Retrieve an administrator's bulk action",
    **DOCS.route(Scope.VIEW, errors=(404,), example=EXAMPLE),
)
async def retrieve_bulk(request: Request, bulk_id: str, viewer: deps.Key) -> Response:
    """How far an action has come."""
    return reply(bulk_of(await deps.services(request).bulks.get(bulk_id, None)))


@router.post(
    "/v1/admin/bulk-actions/{bulk_id}/cancel",
    response_model=BulkObject,
    summary="Cancel an administrator's bulk action",
    **DOCS.route(Scope.OPERATE, errors=(404,), example=EXAMPLE),
)
async def cancel_bulk(request: Request, bulk_id: str, operator: deps.Key) -> Response:
    """Do no more of it. What was done stays done."""
    return reply(bulk_of(await deps.services(request).bulks.cancel(bulk_id, None)))


def _checked(fields: CreateBulkOfAny) -> JobFilter:
    """What is asked for. Administrators see no prompts and no metadata, and so find nothing out by them."""
    wanted = fields.filter.wanted()
    for name in ("text", "metadata"):
        if getattr(wanted, name):
            raise InvalidField("is a tenant's own: administrators do not filter by it", param=f"filter.{name}")
    return replace(wanted, tenant=fields.tenant)
