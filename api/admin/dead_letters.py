"""`/v1/admin/dead_letters`: jobs that failed for the service's fault, with the evidence; released, or forgotten."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import Response

from api import deps
from api.admin.job_answers import JOB_EXAMPLE, JobObject, job_of
from api.admin.jobs import QUEUED, JobList, Model, Pool, Tenant
from api.openai.errors import DOCS
from api.wire.docs import listed
from api.wire.paging import After, Limit
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.domain.rights import Scope
from orchestrator.ports.any_jobs import Chosen

router = Router(tags=["administration"])

_FORGOTTEN = JOB_EXAMPLE | {
    "dead_letter": {
        "fate": "forgotten",
        "successor": None,
        "ended_by": "platform/on call (key cgm_7Qd2kLx0VbT9sYwE)",
        "ended_at": 1758945600,
    }
}


@router.get(
    "/v1/admin/dead_letters",
    response_model=JobList,
    summary="List dead letters",
    **DOCS.route(Scope.VIEW, errors=(400, 404), example=listed(JOB_EXAMPLE)),
)
async def list_dead_letters(
    request: Request,
    viewer: deps.Key,
    limit: Limit = 20,
    after: After = None,
    pool: Pool = None,
    model: Model = None,
    tenant: Tenant = None,
) -> Response:
    """Jobs that failed, and not for what their requests brought along, until somebody has looked after them.

    A page, newest first: each with its failure and its attempts. They stay as long as their jobs do.
    """
    chosen = Chosen(tenant=tenant, pool=pool, model=model)
    page = await deps.services(request).administration.jobs.letters(chosen, limit=limit, after=after)
    return reply(JobList.of([job_of(each) for each in page.jobs], has_more=page.has_more))


@router.post(
    "/v1/admin/dead_letters/{job_id}/release",
    response_model=JobObject,
    summary="Release a dead letter",
    **DOCS.route(Scope.OPERATE, errors=(400, 404), example=QUEUED),
)
async def release(request: Request, job_id: str, operator: deps.Key) -> Response:
    """Queue a job like it, in its tenant's name and with all its attempts before it; the answer is that job.

    The letter stays as it is, with what befell it, and names its successor. Asked again, the answer is the same job.
    """
    jobs = deps.services(request).administration.jobs
    return reply(job_of(await jobs.release(job_id, by=deps.name_of(operator))))


@router.post(
    "/v1/admin/dead_letters/{job_id}/forget",
    response_model=JobObject,
    summary="Forget a dead letter",
    **DOCS.route(Scope.OPERATE, errors=(400, 404), example=_FORGOTTEN),
)
async def forget(request: Request, job_id: str, operator: deps.Key) -> Response:
    """List it no more. Its tenant keeps the job. Asked again, it changes nothing."""
    jobs = deps.services(request).administration.jobs
    return reply(job_of(await jobs.forget(job_id, by=deps.name_of(operator))))
