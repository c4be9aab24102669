"""`/api/paas/v4`: video generations and their results."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import Response

from api import deps
from api.bigmodel.errors import DOCS
from api.bigmodel.schemas import GENERATE_EXAMPLES, PROCESSING_EXAMPLE, SUCCESS_EXAMPLE, GenerateVideo, Task, VideoLink
from api.bigmodel.translate import request_of, task_of
from api.services import Services
from api.wire.bodies import read_json, typed
from api.wire.docs import Body
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.domain.job import VideoResult, public_id
from orchestrator.domain.rights import Scope

router = Router(tags=["bigmodel"])


@router.post(
    "/api/paas/v4/videos/generations",
    response_model=Task,
    response_model_exclude_none=True,
    summary="Generate a video",
    dependencies=[deps.LARGE_BODY_TURN],
    **DOCS.route(
        Scope.SUBMIT, reads=Body(fields=GenerateVideo, examples=GENERATE_EXAMPLES), example=PROCESSING_EXAMPLE
    ),
)
async def generate(request: Request, tenant: deps.Tenant) -> Response:
    """Queue a video; the answer comes once the job is durable."""
    fields = typed(GenerateVideo, await read_json(request))
    wanted = request_of(fields, fallback_request_id=request.state.request_id)
    job = await deps.services(request).jobs.submit(tenant, wanted)
    return reply(task_of(job), exclude_none=True)


@router.get(
    "/api/paas/v4/async-result/{video_id}",
    response_model=Task,
    response_model_exclude_none=True,
    summary="Retrieve a task",
    **DOCS.route(Scope.READ, errors=(404,), example=SUCCESS_EXAMPLE),
)
async def result(request: Request, video_id: str, tenant: deps.Tenant) -> Response:
    """The task as it stands; once it succeeded, with fresh signed URLs."""
    services = deps.services(request)
    job = await services.jobs.get(tenant, video_id)
    links = None if job.result is None else await _links(services, job.result, public_id(job.id))
    return reply(task_of(job, links), exclude_none=True)


async def _links(services: Services, video: VideoResult, name: str) -> VideoLink:
    lifetime_s = services.settings.s3.url_lifetime_s
    sign = services.downloads.sign
    return VideoLink(
        url=await sign(video.video, lifetime_s=lifetime_s, filename=f"{name}.mp4"),
        cover_image_url=await sign(video.cover, lifetime_s=lifetime_s),
    )
