"""`/v1/jobs`, which is ours: a tenant's jobs found by filters, counted by state, and each with all that befell it."""

from __future__ import annotations

from dataclasses import replace

from fastapi import Request
from fastapi.responses import Response

from api import deps
from api.native.job_answers import (
    COUNTS_EXAMPLE,
    ROW_EXAMPLE,
    STORY_EXAMPLE,
    JobCounts,
    JobRows,
    OwnJob,
    counts_of,
    own_of,
    page_of,
)
from api.native.job_queries import Own
from api.native.webhook_schemas import DELIVERY_EXAMPLE, JobDeliveries
from api.native.webhooks import delivery_of
from api.openai.errors import DOCS
from api.wire.docs import listed
from api.wire.paging import After, Limit, Order
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.domain.rights import Scope

router = Router(tags=["jobs"])


@router.get(
    "/v1/jobs",
    response_model=JobRows,
    summary="Find jobs",
    **DOCS.route(Scope.READ, errors=(400, 404), example={**listed(ROW_EXAMPLE), "searched_until": None}),
)
async def find_jobs(
    request: Request,
    tenant: deps.Tenant,
    wanted: Own,
    limit: Limit = 20,
    after: After = None,
    order: Order = "desc",
) -> Response:
    """A page of the tenant's jobs that are all of what the filters say, rows of campaigns and batches among them.

    It comes in bounded time, however many jobs there are: one page reads 20,000 of them at most. Where that was not
    enough to fill it, `searched_until` says how far it has come, and the next page goes on from there.
    """
    services = deps.services(request)
    found = await services.search.find(
        replace(wanted, tenant=tenant), limit=limit, after=after, newest_first=order == "desc"
    )
    return reply(page_of(found, keep_s=services.settings.retention.jobs_s))


@router.get(
    "/v1/jobs/counts",
    response_model=JobCounts,
    summary="Count jobs",
    **DOCS.route(Scope.READ, errors=(400,), example=COUNTS_EXAMPLE),
)
async def count_jobs(request: Request, tenant: deps.Tenant, wanted: Own) -> Response:
    """How many of the tenant's jobs stand how, of those that are all of what the filters say but for their state.

    Up to some 10,000 are counted; of more than that the database estimates, and `about` says so.
    """
    found = await deps.services(request).search.counts(replace(wanted, tenant=tenant))
    return reply(counts_of(dict(found)))


@router.get(
    "/v1/jobs/{job_id}",
    response_model=OwnJob,
    summary="Retrieve a job whole",
    **DOCS.route(Scope.READ, errors=(404,), example=STORY_EXAMPLE),
)
async def retrieve_job(request: Request, job_id: str, tenant: deps.Tenant) -> Response:
    """A job with its video, its attempts, why it waits, its life in spans, and what it used. Its id is its video's."""
    services = deps.services(request)
    story = await services.search.story(job_id, tenant)
    return reply(own_of(story, keep_s=services.settings.retention.jobs_s))


@router.get(
    "/v1/jobs/{job_id}/deliveries",
    response_model=JobDeliveries,
    summary="List a job's webhook deliveries",
    **DOCS.route(
        Scope.WEBHOOKS,
        errors=(404,),
        example={"object": "list", "data": [DELIVERY_EXAMPLE], "complete": True},
    ),
)
async def list_deliveries(request: Request, job_id: str, tenant: deps.Tenant) -> Response:
    """What was sent of its end, newest first, as long as deliveries are kept."""
    found = await deps.services(request).search.deliveries(job_id, tenant)
    return reply(JobDeliveries(data=[delivery_of(each) for each in found.deliveries], complete=found.complete))
