"""`/v1/videos/{id}/content`: a finished video, its thumbnail or its sprite sheet, whole or in ranges."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response

from api import deps, errors
from api.openai.errors import DOCS
from api.wire.docs import binary
from api.wire.headers import sent_with
from api.wire.holding import held
from api.wire.problem import Problem
from api.wire.ranges import NotSatisfiable, parse_range
from api.wire.routes import Router
from api.wire.scopes import keyed
from api.wire.streaming import Streamed
from orchestrator.domain.errors import NotFound, NotReady
from orchestrator.domain.job import Artifact, Job, public_id
from orchestrator.domain.rights import Scope

router = Router(tags=["openai"])

_KINDS = ("video/mp4", "image/webp", "image/png", "image/jpeg")


class Variant(StrEnum):
    """What a finished video leaves behind."""

    VIDEO = "video"
    THUMBNAIL = "thumbnail"
    SPRITESHEET = "spritesheet"


@router.head("/v1/videos/{video_id}/content", include_in_schema=False, openapi_extra=keyed(Scope.READ))
@router.get(
    "/v1/videos/{video_id}/content",
    response_class=Response,
    summary="Download a video",
    **DOCS.route(
        Scope.READ,
        errors=(404, 416, 502),
        sends=("accept-ranges", "etag", "content-disposition"),
        takes={
            "range": "Bytes of the file: one range of them (RFC 9110, section 14).",
            "if-range": "The `ETag` of the file that the range is for; where it is another by now, all of it comes.",
        },
        answers={
            200: {"description": "The whole file."} | binary(*_KINDS),
            302: {"description": "Where it is, for a while, without a key."},
            206: sent_with({"description": "The bytes of the range asked for."} | binary(*_KINDS), ["content-range"]),
        },
    ),
)
async def content(
    request: Request,
    video_id: str,
    tenant: deps.Tenant,
    variant: Annotated[Variant, Query(description="Which of its files.")] = Variant.VIDEO,
) -> Response:
    """The MP4, a small WebP of its first frame, or a JPEG of frames in rows. A `Range` header is honoured.

    Where the deployment says `api.content = "redirect"`, the answer to a GET leads to a signed URL of the bucket.

    Videos of the first release have their cover, a PNG, as `thumbnail`, and no `spritesheet`.
    """
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
    if services.settings.api.content == "redirect":
        return await deps.redirect(services, artifact, _filename(job, artifact))
    held(request).take(services.rooms.downloads)
    # Opened before the status goes out, so that a missing object or a silent S3 is an error and not a torn 200.
    chunks = await services.downloads.open(artifact, part)
    return Streamed(chunks, status, headers, artifact.content_type)


def _artifact(job: Job, variant: Variant) -> Artifact:
    if job.result is None:
        raise NotReady(f"the video is {job.state}; there is nothing to download")
    match variant:
        case Variant.VIDEO:
            return job.result.video
        case Variant.THUMBNAIL:
            return job.result.thumbnail or job.result.cover
        case Variant.SPRITESHEET if job.result.spritesheet is not None:
            return job.result.spritesheet
    raise NotFound("this video was made before there were sprite sheets", param="variant")


def _filename(job: Job, artifact: Artifact) -> str:
    return f"{public_id(job.id)}.{artifact.key.rpartition('.')[2]}"


def _range_header(request: Request, etag: str) -> str | None:
    # A HEAD has no ranges (RFC 9110, section 14.2).
    if request.method == "HEAD" or request.headers.get("if-range", etag) != etag:
        return None
    return request.headers.get("range")


def _not_satisfiable(request: Request, size: int) -> Response:
    return errors.response(
        request.scope,
        Problem(
            status=416,
            code="range_not_satisfiable",
            message=f"the object has {size} bytes",
            headers={"content-range": f"bytes */{size}"},
        ),
    )
