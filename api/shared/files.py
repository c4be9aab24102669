"""Files, which dialects have alike: upload, list, retrieve, download, delete."""

from __future__ import annotations

import mimetypes
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api import deps
from api.wire.bodies import Integer, typed
from api.wire.docs import Body, Docs, binary, listed
from api.wire.holding import held
from api.wire.paging import After, Identified, Listing, Order
from api.wire.replies import reply, unix
from api.wire.routes import Router
from api.wire.streaming import Streamed
from api.wire.uploads import received
from orchestrator.domain.rights import Scope
from orchestrator.intake.files import MAX_LIFETIME_S, MIN_LIFETIME_S
from orchestrator.ports.files import File

_EXAMPLE: dict[str, JsonValue] = {
    "id": "file-0198c5a7e3b97d6f8a0c1f2e3d4c5b6a",
    "object": "file",
    "bytes": 1204,
    "created_at": 1758941485,
    "filename": "prompts.jsonl",
    "purpose": "batch",
    "status": "processed",
    "expires_at": 1761533485,
}


class ExpiresAfter(BaseModel):
    """From when, and for how many seconds, a file is kept."""

    model_config = ConfigDict(extra="forbid")

    anchor: Literal["created_at"]
    seconds: Annotated[Integer, Field(ge=MIN_LIFETIME_S, le=MAX_LIFETIME_S)]


class UploadFile(BaseModel):
    """A form with one file."""

    file: Annotated[Any, Field(json_schema_extra={"type": "string", "format": "binary"})] = None
    purpose: str = Field(
        description="`batch`, `campaign` (its rows), `vision` (an image of at most 5 MB) or `user_data`."
    )
    expires_after: ExpiresAfter | None = Field(
        None, description="Form fields `expires_after[anchor]` and `expires_after[seconds]`."
    )


class FileObject(Identified):
    """A file as its owner may read it."""

    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    expires_at: int | None


class FileList(Listing[FileObject]):
    """A page of files."""


class DeletedFile(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


_FORM = Body(
    fields=UploadFile,
    examples={"prompts": {"purpose": "batch", "file": "(the bytes of prompts.jsonl)"}},
    multipart=True,
    json=False,
)
_DELETED: dict[str, JsonValue] = {"id": _EXAMPLE["id"], "object": "file", "deleted": True}


def file_routes(prefix: str, docs: Docs) -> Router:
    """The routes below `prefix`, documented in one dialect's words."""
    router = Router()
    one = f"{prefix}/files/{{file_id}}"
    router.post(
        f"{prefix}/files",
        response_model=FileObject,
        summary="Upload a file",
        dependencies=[deps.UPLOAD_TURN],
        **docs.route(Scope.SUBMIT, reads=_FORM, example=_EXAMPLE),
    )(upload)
    router.get(
        f"{prefix}/files",
        response_model=FileList,
        summary="List files",
        **docs.route(Scope.READ, errors=(400, 404), example=listed(_EXAMPLE)),
    )(list_files)
    router.get(
        one,
        response_model=FileObject,
        summary="Retrieve a file",
        **docs.route(Scope.READ, errors=(404,), example=_EXAMPLE),
    )(retrieve)
    router.get(
        f"{one}/content",
        response_class=Response,
        summary="Download a file",
        **docs.route(
            Scope.READ,
            errors=(404, 502),
            answers={
                200: binary("application/octet-stream"),
                302: {"description": "Where it is, for a while, without a key."},
            },
            sends=("etag", "content-disposition", "x-content-type-options"),
        ),
    )(content)
    router.delete(
        one,
        response_model=DeletedFile,
        summary="Delete a file",
        **docs.route(Scope.SUBMIT, errors=(404,), example=_DELETED),
    )(delete)
    return router


async def upload(request: Request, tenant: deps.Tenant) -> Response:
    """Keep a file; the answer comes once it is stored. Files of batches go after 30 days unless told otherwise."""
    async with received(request, "file") as sent:
        fields = typed(UploadFile, sent.fields)
        file = await deps.services(request).files.add(
            tenant,
            sent.path,
            filename=sent.filename,
            purpose=fields.purpose,
            content_type=mimetypes.guess_type(sent.filename)[0] or "application/octet-stream",
            lifetime_s=None if fields.expires_after is None else fields.expires_after.seconds,
        )
    return reply(_shown(file))


async def list_files(
    request: Request,
    tenant: deps.Tenant,
    limit: Annotated[int, Query(ge=1, le=10_000, description="How many on a page.")] = 100,
    after: After = None,
    order: Order = "desc",
    purpose: Annotated[str | None, Query(description="Only files of this purpose.")] = None,
) -> Response:
    """A page of the tenant's files by creation time."""
    page = await deps.services(request).files.list(tenant, limit=limit, after=after, order=order, purpose=purpose)
    return reply(FileList.of([_shown(file) for file in page.files], has_more=page.has_more))


async def retrieve(request: Request, file_id: str, tenant: deps.Tenant) -> Response:
    """What is known of a file."""
    return reply(_shown(await deps.services(request).files.get(tenant, file_id)))


async def content(request: Request, file_id: str, tenant: deps.Tenant) -> Response:
    """The file's bytes."""
    services = deps.services(request)
    file = await services.files.get(tenant, file_id)
    if services.settings.api.content == "redirect":
        return await deps.redirect(services, file.object, file.filename)
    held(request).take(services.rooms.downloads)
    # Opened before the status goes out, so that a missing object or a silent S3 is an error and not a torn 200.
    chunks = await services.downloads.open(file.object, None)
    headers = {
        "content-length": str(file.object.size),
        "etag": f'"{file.object.sha256}"',
        # What a tenant uploaded is never shown by a browser under our name.
        "content-disposition": f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}",
        "x-content-type-options": "nosniff",
    }
    return Streamed(chunks, 200, headers, "application/octet-stream")


async def delete(request: Request, file_id: str, tenant: deps.Tenant) -> Response:
    """Delete a file."""
    await deps.services(request).files.delete(tenant, file_id)
    return reply(DeletedFile(id=file_id))


def _shown(file: File) -> FileObject:
    return FileObject(
        id=file.id,
        bytes=file.object.size,
        created_at=unix(file.created_at),
        filename=file.filename,
        purpose=file.purpose,
        expires_at=unix(file.expires_at),
    )
