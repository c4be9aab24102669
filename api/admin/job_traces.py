"""`/v1/admin/jobs/{job_id}/trace`: the life of a job of any tenant."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import Response

from api import deps
from api.native.job_traces import TRACE_EXAMPLE, JobTrace, trace_of
from api.openai.errors import DOCS
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.domain.rights import Scope

router = Router(tags=["administration"])


@router.get(
    "/v1/admin/jobs/{job_id}/trace",
    response_model=JobTrace,
    summary="Retrieve the life of any tenant's job",
    **DOCS.route(Scope.VIEW, errors=(404,), example=TRACE_EXAMPLE),
)
async def trace_job(request: Request, job_id: str, viewer: deps.Key) -> Response:
    """What a job of any tenant waited for and why, its attempts with their stages, and who was told of its end.

    It comes from the database: no tracing has to be on.
    """
    return reply(trace_of(await deps.services(request).lives.of(job_id)))
