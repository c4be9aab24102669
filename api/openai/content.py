"""`/v1/videos/{id}/content`: the bytes of a finished video or of its cover, whole or in ranges."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from api import deps, errors
from api.docs import binary
from api.openai.errors import DOCS
from api.problem import Problem
from api.ranges import NotSatisfiable, parse_range
from orchestrator.domain.errors import InvalidField, NotReady, Unsupported
from orchestrator.domain.job import Artifact, Job, public_id

router = APIRouter(tags=["openai"])


@router.head("/v1/videos/{video_id}/content", include_in_schema=False)
@router.get(
    "/v1/videos/{video_id}/content",
    response_class=Response,
    **DOCS.route(
        errors=(400, 404, 416, 502),
        answers={
            200: {"description": "The whole file."} | binary("video/mp4", "image/webp", "image/png", "image/jpeg"),
            206: {"description": "The bytes of the range asked for."} | binary("video/mp4"),
        },
    ),
)
async def content(request: Request, video_id: str, tenant: deps.Tenant, variant: str = "video") -> Response:
    """The MP4 (`variant=video`) or the cover PNG (`variant=thumbnail`). A `Range` header is honoured."""
    services = deps.services(request)
    job = await services.jobs.get(tenant, video_id)
    artifact = _artifact(job, variant)
    headers = {
        "accept-ranges": "bytes",
        "etag": f'"{artifact.sha256}"',
        "content-disposition": f'attachment; filename="{_filename(job, artifact)}"',
    }
    try:
        part = parse_range(_range_header(request, headers["etag"]), artifact.size)
    except NotSatisfiable:
        return _not_satisfiable(request, artifact.size)
    headers["content-length"] = str(artifact.size if part is None else part.length)
    if part is not None:
        headers["content-range"] = f"bytes {part.start}-{part.end}/{artifact.size}"
    status = 200 if part is None else 206
    if request.method == "HEAD":
        await services.downloads.check(artifact)
        return Response(None, status, headers, artifact.content_type)
    # Opened before the status goes out, so that a missing object or a silent S3 is an error and not a torn 200.
    chunks = await services.downloads.open(artifact, part)
    return StreamingResponse(chunks, status, headers, artifact.content_type)


def _artifact(job: Job, variant: str) -> Artifact:
    if variant == "spritesheet":
        raise Unsupported("this deployment makes no sprite sheets yet", param="variant")
    if variant not in ("video", "thumbnail"):
        raise InvalidField(f"must be video or thumbnail, not {variant[:80]!r}", param="variant")
    if job.result is None:
        raise NotReady(f"the video is {job.state}; there is nothing to download")
    return job.result.video if variant == "video" else job.result.cover


def _filename(job: Job, artifact: Artifact) -> str:
    return f"{public_id(job.id)}.{artifact.key.rpartition('.')[2]}"


def _range_header(request: Request, etag: str) -> str | None:
    # A HEAD has no ranges (RFC 9110, section 14.2).
    if request.method == "HEAD" or request.headers.get("if-range", etag) != etag:
        return None
    return request.headers.get("range")


def _not_satisfiable(request: Request, size: int) -> Response:
    return errors.response(
        request.url.path,
        Problem(
            status=416,
            code="range_not_satisfiable",
            message=f"the object has {size} bytes",
            headers={"content-range": f"bytes */{size}"},
        ),
    )
