"""`/v1/videos`: create, list, retrieve, delete, and what follows from one: remix, retry, cancel."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header, Request
from fastapi.responses import Response

from api import deps
from api.openai.errors import DOCS
from api.openai.schemas import (
    CREATE_EXAMPLES,
    VIDEO_EXAMPLE,
    CreateVideo,
    DeletedVideo,
    RemixVideo,
    Video,
    VideoList,
)
from api.openai.translate import flatten, poll_after_ms, request_of, video_of
from api.wire.bodies import content_type, read_form, read_json, typed
from api.wire.docs import Body, listed
from api.wire.paging import After, Limit, Order
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.domain.job import Job
from orchestrator.domain.rights import Scope

router = Router(tags=["openai"])

_REMIXED = VIDEO_EXAMPLE | {"status": "queued", "remixed_from_video_id": "video_0198c5a7e3b97d6f8a0c1f2e3d4c5b00"}
_RETRIED = VIDEO_EXAMPLE | {"status": "queued", "retry_of": "video_0198c5a7e3b97d6f8a0c1f2e3d4c5b00"}
_CANCELLED = VIDEO_EXAMPLE | {
    "status": "failed",
    "error": {"code": "cancelled", "message": "the video was cancelled"},
}


IdempotencyKey = Annotated[
    str | None, Header(description="A repeated request with the same key answers the first one's video.")
]


@router.post(
    "/v1/videos",
    response_model=Video,
    summary="Create a video",
    dependencies=[deps.LARGE_BODY_TURN],
    **DOCS.route(
        Scope.SUBMIT,
        reads=Body(fields=CreateVideo, examples=CREATE_EXAMPLES, multipart=True),
        example=VIDEO_EXAMPLE,
        errors=(403, 404),
    ),
)
async def create(
    request: Request,
    tenant: deps.Tenant,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Queue a video; the answer comes once the job is durable."""
    fields = typed(CreateVideo, flatten(await _body(request)))
    wanted = request_of(fields, idempotency_key=idempotency_key or None)
    return _shown(request, await deps.services(request).jobs.submit(tenant, wanted))


@router.get(
    "/v1/videos",
    response_model=VideoList,
    summary="List videos",
    **DOCS.route(Scope.READ, errors=(400, 404), example=listed(VIDEO_EXAMPLE)),
)
async def list_videos(
    request: Request,
    tenant: deps.Tenant,
    limit: Limit = 20,
    after: After = None,
    order: Order = "desc",
) -> Response:
    """A page of the tenant's videos by creation time."""
    services = deps.services(request)
    page = await services.jobs.list(tenant, limit=limit, after=after, order=order)
    videos = [video_of(job, keep_s=services.settings.retention.jobs_s) for job in page.jobs]
    return reply(VideoList.of(videos, has_more=page.has_more))


@router.get(
    "/v1/videos/{video_id}",
    response_model=Video,
    summary="Retrieve a video",
    **DOCS.route(Scope.READ, errors=(404,), sends=("openai-poll-after-ms",), example=VIDEO_EXAMPLE),
)
async def retrieve(request: Request, video_id: str, tenant: deps.Tenant) -> Response:
    """The video's job as it stands; `openai-poll-after-ms` says when asking again is worth it."""
    job = await deps.services(request).jobs.get(tenant, video_id)
    wait_ms = poll_after_ms(job)
    return _shown(request, job, {} if wait_ms is None else {"openai-poll-after-ms": str(wait_ms)})


@router.delete(
    "/v1/videos/{video_id}",
    response_model=DeletedVideo,
    summary="Delete a video",
    **DOCS.route(
        Scope.SUBMIT, errors=(404,), example={"id": VIDEO_EXAMPLE["id"], "object": "video.deleted", "deleted": True}
    ),
)
async def delete(request: Request, video_id: str, tenant: deps.Tenant) -> Response:
    """Cancel the video if it is not finished, and delete it."""
    await deps.services(request).jobs.delete(tenant, video_id)
    return reply(DeletedVideo(id=video_id))


@router.post(
    "/v1/videos/{video_id}/remix",
    response_model=Video,
    summary="Remix a video",
    dependencies=[deps.LARGE_BODY_TURN],
    **DOCS.route(
        Scope.SUBMIT,
        reads=Body(fields=RemixVideo, examples={"remix": {"prompt": "the same lighthouse at dawn"}}, multipart=True),
        example=_REMIXED,
        errors=(403, 404),
    ),
)
async def remix(
    request: Request, video_id: str, tenant: deps.Tenant, idempotency_key: IdempotencyKey = None
) -> Response:
    """A new video like an earlier one, its seed included, with another prompt."""
    fields = typed(RemixVideo, flatten(await _body(request)))
    jobs = deps.services(request).jobs
    return _shown(request, await jobs.remix(tenant, video_id, fields.prompt, idempotency_key=idempotency_key or None))


@router.post(
    "/v1/videos/{video_id}/retry",
    response_model=Video,
    summary="Retry a video",
    **DOCS.route(Scope.SUBMIT, errors=(400, 403, 404), example=_RETRIED),
)
async def retry(
    request: Request, video_id: str, tenant: deps.Tenant, idempotency_key: IdempotencyKey = None
) -> Response:
    """A new video like one that failed or was cancelled."""
    jobs = deps.services(request).jobs
    return _shown(request, await jobs.retry(tenant, video_id, idempotency_key=idempotency_key or None))


@router.post(
    "/v1/videos/{video_id}/cancel",
    response_model=Video,
    summary="Cancel a video",
    **DOCS.route(Scope.SUBMIT, errors=(404,), example=_CANCELLED),
)
async def cancel(request: Request, video_id: str, tenant: deps.Tenant) -> Response:
    """Cancel a waiting video at once, or a running one within a denoise step; one that has ended stays as it is."""
    return _shown(request, await deps.services(request).jobs.cancel(tenant, video_id))


async def _body(request: Request) -> dict[str, Any]:
    return await (read_form if content_type(request) == "multipart/form-data" else read_json)(request)


def _shown(request: Request, job: Job, headers: dict[str, str] | None = None) -> Response:
    return reply(video_of(job, keep_s=deps.services(request).settings.retention.jobs_s), headers=headers)
