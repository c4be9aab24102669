"""Batches, which dialects have alike: create, list, retrieve, cancel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api import deps
from api.shared.files import ExpiresAfter
from api.wire.bodies import read_json, typed
from api.wire.docs import Body, Docs, listed
from api.wire.paging import After, Identified, Limit, Listing
from api.wire.replies import reply, unix
from api.wire.routes import Router
from orchestrator.domain import batch as domain
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.rights import Scope

_EXAMPLE: dict[str, JsonValue] = {
    "id": "batch_0198c5a7e3b97d6f8a0c1f2e3d4c5b6a",
    "object": "batch",
    "endpoint": "/v1/videos",
    "errors": None,
    "input_file_id": "file-0198c5a7e3b97d6f8a0c1f2e3d4c5b6a",
    "completion_window": "24h",
    "status": "in_progress",
    "output_file_id": None,
    "error_file_id": None,
    "created_at": 1758941485,
    "in_progress_at": 1758941489,
    "expires_at": 1759027885,
    "finalizing_at": None,
    "completed_at": None,
    "failed_at": None,
    "expired_at": None,
    "cancelling_at": None,
    "cancelled_at": None,
    "request_counts": {"total": 100, "completed": 41, "failed": 1},
    "metadata": {"campaign": "autumn"},
}


class CreateBatch(BaseModel):
    """The requests of an uploaded file, to be rendered when there is room."""

    model_config = ConfigDict(extra="ignore")

    input_file_id: str = Field(description="A file uploaded for the purpose `batch`: JSON Lines.")
    endpoint: str = Field(description="The route that every line names.")
    completion_window: str | None = Field(None, description="Hours or days, up to `7d`; `24h` by default.")
    metadata: dict[str, str] | None = Field(None, description="At most 16 short texts.")
    output_expires_after: ExpiresAfter | None = Field(None, description="Of the output and error files.")
    auto_delete_input_file: bool | None = Field(None, description="Delete the input file at the end.")


class BatchError(BaseModel):
    code: str
    message: str
    param: str | None
    line: int | None


class BatchErrors(BaseModel):
    object: Literal["list"] = "list"
    data: Sequence[BatchError]


class RequestCounts(BaseModel):
    total: int
    completed: int
    failed: int


class BatchObject(Identified):
    """A batch; every key is always there."""

    object: Literal["batch"] = "batch"
    endpoint: str
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: domain.BatchStatus
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: Mapping[str, str] | None


class BatchList(Listing[BatchObject]):
    """A page of batches."""


def batch_routes(prefix: str, docs: Docs, *, dialect: str, endpoint: str, delete_input: bool) -> Router:
    """The routes below `prefix`. Lines are of `dialect` and name `endpoint`; `delete_input` is its default."""
    router = Router()
    one = f"{prefix}/batches/{{batch_id}}"
    reads = Body(fields=CreateBatch, examples={"a day": {"input_file_id": "file-0", "endpoint": endpoint}})
    router.post(
        f"{prefix}/batches",
        response_model=BatchObject,
        summary="Create a batch",
        **docs.route(Scope.SUBMIT, reads=reads, example=_EXAMPLE),
    )(_creating(dialect, endpoint, delete_input=delete_input))
    router.get(
        f"{prefix}/batches",
        response_model=BatchList,
        summary="List batches",
        **docs.route(Scope.READ, errors=(400, 404), example=listed(_EXAMPLE)),
    )(list_batches)
    router.get(
        one,
        response_model=BatchObject,
        summary="Retrieve a batch",
        **docs.route(Scope.READ, errors=(404,), example=_EXAMPLE),
    )(retrieve)
    router.post(
        f"{one}/cancel",
        response_model=BatchObject,
        summary="Cancel a batch",
        **docs.route(
            Scope.SUBMIT, errors=(400, 404), example=_EXAMPLE | {"status": "cancelling", "cancelling_at": 1758941999}
        ),
    )(cancel)
    return router


def _creating(dialect: str, endpoint: str, *, delete_input: bool) -> Callable[..., Awaitable[Response]]:
    async def create(request: Request, tenant: deps.Tenant) -> Response:
        """Have the requests of a file rendered, in the order of the file, behind what is more urgent."""
        fields = typed(CreateBatch, await read_json(request))
        if fields.endpoint != endpoint:
            raise InvalidField(f"must be {endpoint}, not {fields.endpoint[:80]!r}", param="endpoint")
        after, deletes = fields.output_expires_after, fields.auto_delete_input_file
        batch = await deps.services(request).batches.create(
            tenant,
            dialect=dialect,
            endpoint=endpoint,
            input_file=fields.input_file_id,
            window=fields.completion_window,
            metadata=fields.metadata,
            delete_input=delete_input if deletes is None else deletes,
            output_lifetime_s=None if after is None else after.seconds,
        )
        return reply(_shown(batch))

    return create


async def list_batches(request: Request, tenant: deps.Tenant, limit: Limit = 20, after: After = None) -> Response:
    """A page of the tenant's batches, newest first."""
    page = await deps.services(request).batches.list(tenant, limit=limit, after=after)
    return reply(BatchList.of([_shown(batch) for batch in page.batches], has_more=page.has_more))


async def retrieve(request: Request, batch_id: str, tenant: deps.Tenant) -> Response:
    """The batch as it stands."""
    return reply(_shown(await deps.services(request).batches.get(tenant, batch_id)))


async def cancel(request: Request, batch_id: str, tenant: deps.Tenant) -> Response:
    """Drop what waits and cancel what renders; what is finished by then stays."""
    return reply(_shown(await deps.services(request).batches.cancel(tenant, batch_id)))


def _shown(batch: domain.Batch) -> BatchObject:
    errors = batch.errors
    return BatchObject(
        id=batch.id,
        endpoint=batch.endpoint,
        errors=None if errors is None else BatchErrors(data=[_error(error) for error in errors]),
        input_file_id=batch.input_file,
        completion_window=batch.completion_window,
        status=batch.status,
        output_file_id=batch.output_file,
        error_file_id=batch.error_file,
        created_at=unix(batch.created_at),
        in_progress_at=unix(batch.in_progress_at),
        expires_at=unix(batch.expires_at),
        finalizing_at=unix(batch.finalizing_at),
        completed_at=unix(batch.completed_at),
        failed_at=unix(batch.failed_at),
        expired_at=unix(batch.expired_at),
        cancelling_at=unix(batch.cancelling_at),
        cancelled_at=unix(batch.cancelled_at),
        request_counts=RequestCounts(total=batch.total, completed=batch.completed, failed=batch.failed),
        metadata=batch.metadata,
    )


def _error(error: domain.LineError) -> BatchError:
    return BatchError(code=error.code, message=error.message, param=error.param, line=error.line)
