"""`/v1/bulk-actions`, which is ours: cancel, retry or change the priority of all of a tenant's jobs that match."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import Header, Request
from fastapi.responses import Response

from api import deps
from api.native.bulk_answers import (
    EXAMPLE,
    READS,
    BulkList,
    BulkObject,
    BulkPreview,
    CreateBulk,
    bulk_of,
    preview_of,
)
from api.openai.errors import DOCS
from api.wire.bodies import read_json, typed
from api.wire.docs import listed
from api.wire.paging import After, Limit
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.domain.job_filter import JobFilter
from orchestrator.domain.rights import Scope
from orchestrator.ports import ApiKey

router = Router(tags=["jobs"])

IdempotencyKey = Annotated[
    str | None, Header(description="A repeated request with the same key answers the first one's action.")
]


@router.post(
    "/v1/bulk-actions",
    response_model=BulkObject | BulkPreview,
    summary="Act on all jobs that match",
    **DOCS.route(Scope.SUBMIT, reads=READS, example=EXAMPLE, errors=(403,)),
)
async def create_bulk(request: Request, key: deps.Key, idempotency_key: IdempotencyKey = None) -> Response:
    """Do something to all jobs that match now; it goes on by itself, whoever looks on, until it is done or called off.

    Jobs that come later are left alone. One that has moved on by the time that its turn comes is passed over, and
    counted; retried rows of campaigns are passed over too: those are tried again there. Nothing is done twice.
    """
    fields = typed(CreateBulk, await read_json(request), nested=True)
    wanted = replace(fields.filter.wanted(), tenant=key.tenant)
    return await asked(request, key, fields, wanted, idempotency_key)


@router.get(
    "/v1/bulk-actions",
    response_model=BulkList,
    summary="List bulk actions",
    **DOCS.route(Scope.READ, errors=(400,), example=listed(EXAMPLE)),
)
async def list_bulk(request: Request, tenant: deps.Tenant, limit: Limit = 20, after: After = None) -> Response:
    """A page of the tenant's actions, newest first. What has ended is kept as long as videos are."""
    page = await deps.services(request).bulks.list(tenant, limit=limit, after=after)
    return reply(BulkList.of([bulk_of(each) for each in page.actions], has_more=page.has_more))


@router.get(
    "/v1/bulk-actions/{bulk_id}",
    response_model=BulkObject,
    summary="Retrieve a bulk action",
    **DOCS.route(Scope.READ, errors=(404,), example=EXAMPLE),
)
async def retrieve_bulk(request: Request, bulk_id: str, tenant: deps.Tenant) -> Response:
    """How far an action has come."""
    return reply(bulk_of(await deps.services(request).bulks.get(bulk_id, tenant)))


@router.post(
    "/v1/bulk-actions/{bulk_id}/cancel",
    response_model=BulkObject,
    summary="Cancel a bulk action",
    **DOCS.route(Scope.SUBMIT, errors=(404,), example=EXAMPLE),
)
async def cancel_bulk(request: Request, bulk_id: str, tenant: deps.Tenant) -> Response:
    """Do no more of it. What was done stays done; one that has ended stays as it is."""
    return reply(bulk_of(await deps.services(request).bulks.cancel(bulk_id, tenant)))


async def asked(
    request: Request,
    key: ApiKey,
    fields: CreateBulk,
    wanted: JobFilter,
    idempotency_key: str | None,
    *,
    administrative: bool = False,
) -> Response:
    """The action that was asked for, or what it would be: `wanted` is the body's filter, as far as the key may look."""
    bulks = deps.services(request).bulks
    if fields.dry_run:
        return reply(preview_of(fields.action, await bulks.expected(fields.action, wanted)))
    made = await bulks.ask(
        key.tenant,
        fields.action,
        wanted,
        priority=fields.priority,
        asked_by=deps.name_of(key),
        administrative=administrative,
        idempotency_key=idempotency_key or None,
    )
    return reply(bulk_of(made))
