"""`/v1/videos`: create, list, retrieve, delete."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api import deps
from api.bodies import content_type, read_form, read_json, typed
from api.docs import Body
from api.openai.errors import DOCS
from api.openai.schemas import CreateVideo, DeletedVideo, Video, VideoList
from api.openai.translate import flatten, poll_after_ms, request_of, video_of
from api.replies import reply

router = APIRouter(tags=["openai"])


@router.post("/v1/videos", response_model=Video, **DOCS.route(reads=Body(fields=CreateVideo, multipart=True)))
async def create(request: Request, tenant: deps.Tenant) -> Response:
    """Queue a video; the answer comes once the job is durable."""
    form = content_type(request) == "multipart/form-data"
    body = await read_form(request) if form else await read_json(request)
    services = deps.services(request)
    job = await services.jobs.submit(tenant, request_of(typed(CreateVideo, flatten(body))))
    return reply(video_of(job, keep_s=services.settings.retention.jobs_s))


@router.get("/v1/videos", response_model=VideoList, **DOCS.route(errors=(400, 404)))
async def list_videos(
    request: Request,
    tenant: deps.Tenant,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(description="The last id of the page before.")] = None,
    order: Literal["asc", "desc"] = "desc",
) -> Response:
    """A page of the tenant's videos by creation time."""
    services = deps.services(request)
    page = await services.jobs.list(tenant, limit=limit, after=after, order=order)
    videos = [video_of(job, keep_s=services.settings.retention.jobs_s) for job in page.jobs]
    return reply(
        VideoList(
            data=videos,
            first_id=videos[0].id if videos else None,
            last_id=videos[-1].id if videos else None,
            has_more=page.has_more,
        )
    )


@router.get("/v1/videos/{video_id}", response_model=Video, **DOCS.route(errors=(404,)))
async def retrieve(request: Request, video_id: str, tenant: deps.Tenant) -> Response:
    """The video's job as it stands; `openai-poll-after-ms` says when asking again is worth it."""
    services = deps.services(request)
    job = await services.jobs.get(tenant, video_id)
    wait_ms = poll_after_ms(job)
    headers = {} if wait_ms is None else {"openai-poll-after-ms": str(wait_ms)}
    return reply(video_of(job, keep_s=services.settings.retention.jobs_s), headers=headers)


@router.delete("/v1/videos/{video_id}", response_model=DeletedVideo, **DOCS.route(errors=(404,)))
async def delete(request: Request, video_id: str, tenant: deps.Tenant) -> Response:
    """Cancel the video if it is not finished, and delete it."""
    await deps.services(request).jobs.delete(tenant, video_id)
    return reply(DeletedVideo(id=video_id))
