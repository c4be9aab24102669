"""`/v1/admin/jobs`: jobs of every tenant, with what befell them, but without what they show."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response

from api import deps
from api.admin.job_answers import JOB_EXAMPLE, JobObject, job_of
from api.openai.errors import DOCS
from api.wire.docs import listed
from api.wire.paging import After, Limit, Listing
from api.wire.replies import reply
from orchestrator.domain.rights import Scope
from orchestrator.domain.states import JobState
from orchestrator.ports.any_jobs import Chosen

router = APIRouter(tags=["administration"])

QUEUED = JOB_EXAMPLE | {
    "state": "queued", "started_at": None, "finished_at": None, "claims": 0, "failures": 0, "stage": None, "step": 0,
    "cluster": None, "worker": None, "failure": None, "attempts": [], "incidents": [],
}  # fmt: skip


class JobList(Listing[JobObject]):
    """A page of jobs, newest first."""


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
    **DOCS.route(Scope.VIEW, errors=(400, 404), example=listed(JOB_EXAMPLE)),
)
async def list_jobs(
    request: Request,
    viewer: deps.Key,
    limit: Limit = 20,
    after: After = None,
    state: Annotated[JobState | None, Query(description="Only jobs that stand so.")] = None,
    pool: Pool = None,
    model: Model = None,
    tenant: Tenant = None,
) -> Response:
    """A page of jobs, newest first, without those that were deleted. Rows of campaigns and batches are among them."""
    chosen = Chosen(tenant=tenant, state=state, pool=pool, model=model)
    page = await deps.services(request).administration.jobs.list(chosen, limit=limit, after=after)
    return reply(JobList.of([job_of(each) for each in page.jobs], has_more=page.has_more))


@router.get(
    "/v1/admin/jobs/{job_id}",
    response_model=JobObject,
    summary="Retrieve a job",
    **DOCS.route(Scope.VIEW, errors=(404,), example=JOB_EXAMPLE),
)
async def retrieve_job(request: Request, job_id: str, viewer: deps.Key) -> Response:
    """A job of any tenant, with its attempts and incidents."""
    return reply(job_of(await deps.services(request).administration.jobs.get(job_id)))


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
