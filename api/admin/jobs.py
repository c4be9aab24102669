"""`/v1/admin/jobs`: jobs of every tenant, with what befell them, but without what they show."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import Header, Query, Request
from fastapi.responses import Response

from api import deps
from api.admin.job_answers import JOB_EXAMPLE, JobObject, job_of
from api.admin.job_stories import STORY_EXAMPLE, JobStoryObject, story_of
from api.native.job_answers import COUNTS_EXAMPLE, JobCounts, Searched, counts_of
from api.native.job_queries import Common
from api.openai.errors import DOCS
from api.wire.docs import listed
from api.wire.paging import After, Limit, Order
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.domain.rights import Scope

router = Router(tags=["administration"])

QUEUED = JOB_EXAMPLE | {
    "state": "queued", "started_at": None, "finished_at": None, "claims": 0, "failures": 0, "stage": None, "step": 0,
    "cluster": None, "worker": None, "failure": None, "attempts": [], "incidents": [],
}  # fmt: skip


class JobList(Searched[JobObject]):
    """A page of jobs of all tenants."""


IdempotencyKey = Annotated[
    str | None, Header(max_length=200, description="A repeated request with the same key answers the first one's job.")
]
Tenant = Annotated[str | None, Query(description="Of this tenant alone.")]
Pool = Annotated[str | None, Query(description="Of this pool alone.")]
Model = Annotated[str | None, Query(description="Of this model alone, by its name in the configuration.")]


@router.get(
    "/v1/admin/jobs",
    response_model=JobList,
    summary="List jobs of all tenants",
    **DOCS.route(Scope.VIEW, errors=(400, 404), example={**listed(JOB_EXAMPLE), "searched_until": None}),
)
async def list_jobs(
    request: Request,
    viewer: deps.Key,
    wanted: Common,
    limit: Limit = 20,
    after: After = None,
    order: Order = "desc",
    tenant: Tenant = None,
) -> Response:
    """A page of jobs, without those that were deleted. Rows of campaigns and batches are among them.

    As with `GET /v1/jobs`, one page reads 20,000 of them at most.
    """
    found = await deps.services(request).search.find(
        replace(wanted, tenant=tenant), limit=limit, after=after, newest_first=order == "desc"
    )
    return reply(JobList.found(found, [job_of(each) for each in found.jobs]))


@router.get(
    "/v1/admin/jobs/counts",
    response_model=JobCounts,
    summary="Count jobs of all tenants",
    **DOCS.route(Scope.VIEW, errors=(400,), example=COUNTS_EXAMPLE),
)
async def count_jobs(request: Request, viewer: deps.Key, wanted: Common, tenant: Tenant = None) -> Response:
    """How many jobs stand how, of those that are all of what the filters say but for their state.

    Up to some 10,000 are counted; of more than that the database estimates, and `about` says so.
    """
    found = await deps.services(request).search.counts(replace(wanted, tenant=tenant))
    return reply(counts_of(dict(found)))


@router.get(
    "/v1/admin/jobs/{job_id}",
    response_model=JobStoryObject,
    summary="Retrieve a job",
    **DOCS.route(Scope.VIEW, errors=(404,), example=STORY_EXAMPLE),
)
async def retrieve_job(request: Request, job_id: str, viewer: deps.Key) -> Response:
    """A job of any tenant, with its attempts and incidents, why it waits, its life in spans, and what it used."""
    return reply(story_of(await deps.services(request).search.story(job_id, None)))


@router.post(
    "/v1/admin/jobs/{job_id}/cancel",
    response_model=JobObject,
    summary="Cancel a job",
    **DOCS.route(Scope.OPERATE, errors=(404,), example=JOB_EXAMPLE),
)
async def cancel_job(request: Request, job_id: str, operator: deps.Key) -> Response:
    """Cancel a waiting job at once, or a running one within a denoise step; one that has ended stays as it is."""
    jobs = deps.services(request).administration.jobs
    return reply(job_of(await jobs.cancel(job_id, by=deps.name_of(operator))))


@router.post(
    "/v1/admin/jobs/{job_id}/retry",
    response_model=JobObject,
    summary="Retry a job",
    **DOCS.route(Scope.OPERATE, errors=(400, 404), example=QUEUED),
)
async def retry_job(
    request: Request, job_id: str, operator: deps.Key, idempotency_key: IdempotencyKey = None
) -> Response:
    """A new job of the same tenant like one that failed or was cancelled.

    Asked again there is another one, unless both carry the same idempotency key.
    """
    jobs = deps.services(request).administration.jobs
    again = await jobs.retry(job_id, by=deps.name_of(operator), idempotency_key=idempotency_key or None)
    return reply(job_of(again))
