"""`/v1/admin/erasures`: tenants are erased, how far that is, and the receipt."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api import deps
from api.openai.errors import DOCS
from api.wire.bodies import read_json, typed
from api.wire.docs import Body, listed
from api.wire.paging import After, Identified, Limit, Listing
from api.wire.replies import reply, unix
from api.wire.routes import Router
from orchestrator.domain.rights import Scope
from orchestrator.domain.texts import check_text
from orchestrator.ports.erasures import Erasure

router = Router(tags=["administration"])

_EXAMPLE: dict[str, JsonValue] = {
    "id": "erasure_01998f0e1c2b7d3aa1b2c3d4e5f60718",
    "object": "tenant.erasure",
    "status": "in_progress",
    "tenant": "acme",
    "usage": "erased",
    "requested_at": 1758941485,
    "requested_by": "key:cgm_7Qd2kLx0VbT9sYwE",
    "erased": {"jobs": 1200, "attempts": 1204, "objects": 3600, "bytes": 48318382080},
    "waits_for": "2 renders are being stopped",
    "finished_at": None,
}
_RECEIPT: JsonValue = {
    "object": "tenant.erasure_receipt.signed",
    "algorithm": "Ed25519",
    "receipt": {
        "object": "tenant.erasure_receipt",
        "version": 1,
        "erasure": "erasure_01998f0e1c2b7d3aa1b2c3d4e5f60718",
        "tenant": {"salt": "5f0c1a9be2d34786", "sha256": "b2a1f0c59d3e4876"},
        "requested_at": "2025-09-27T02:51:25Z",
        "requested_by": "key:cgm_7Qd2kLx0VbT9sYwE",
        "finished_at": "2025-09-27T04:02:11Z",
        "usage": "erased",
        "erased": {"jobs": 1200, "objects": 3600, "bytes": 48318382080},
        "remains": [{"what": "logs", "why": "lines with the tenant's name go when their retention is over"}],
        "key_id": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
    },
    "signature": "dGhlIGZpcnN0IGJ5dGVzIG9mIG9uZQ==",
}
_MAX_NAME = 256


class ErasureObject(Identified):
    """A tenant's erasure."""

    object: Literal["tenant.erasure"] = "tenant.erasure"
    status: Literal["in_progress", "finished"]
    tenant: str | None = Field(description="Null once it is finished: nothing here says the name then.")
    usage: Literal["erased", "kept_unnamed"] = Field(description="What becomes of what it has used.")
    requested_at: int
    requested_by: str
    erased: dict[str, int] = Field(description="What is gone by now: rows by their table, objects, bytes.")
    waits_for: str | None = Field(description="What it waits for; null while it is at work.")
    finished_at: int | None


class ErasureList(Listing[ErasureObject]):
    """A page of erasures."""


class EraseTenant(BaseModel):
    """Nothing brings it back."""

    model_config = ConfigDict(extra="forbid")

    confirm: str = Field(max_length=_MAX_NAME, description="The tenant's name once more.")
    keep_usage: bool = Field(False, description="Keep what was used and when, under no tenant's name.")


class Said(BaseModel):
    """What is erased, and what remains."""

    model_config = ConfigDict(extra="allow")

    object: Literal["tenant.erasure_receipt"]
    version: int
    erasure: str
    key_id: str


class SignedReceiptObject(BaseModel):
    """A receipt with its signature: Ed25519 over the canonical JSON (RFC 8785) of `receipt`."""

    object: Literal["tenant.erasure_receipt.signed"]
    algorithm: Literal["Ed25519"]
    receipt: Said
    signature: str


@router.post(
    "/v1/admin/tenants/{tenant}/erasure",
    response_model=ErasureObject,
    summary="Erase a tenant",
    **DOCS.route(
        Scope.ADMIN,
        reads=Body(fields=EraseTenant, examples={"typical": {"confirm": "acme"}}),
        errors=(400, 403, 404),
        example=_EXAMPLE,
    ),
)
async def erase_tenant(request: Request, tenant: str, admin: deps.Key) -> Response:
    """Close a tenant at once, stop its renders, and erase all that is kept of it. Asked again: how far that is."""
    fields = typed(EraseTenant, await read_json(request))
    check_text(tenant, "tenant", max_chars=_MAX_NAME)
    erasure = await deps.services(request).erasing.request(
        tenant, by=deps.id_of(admin), own_tenant=admin.tenant, keep_usage=fields.keep_usage, confirm=fields.confirm
    )
    return reply(ErasureObject(**_shown(erasure)))


@router.get(
    "/v1/admin/erasures",
    response_model=ErasureList,
    summary="List erasures",
    **DOCS.route(Scope.VIEW, errors=(400, 403, 404), example=listed(_EXAMPLE)),
)
async def list_erasures(request: Request, viewer: deps.Key, limit: Limit = 20, after: After = None) -> Response:
    """Erasures of tenants, newest first."""
    found, has_more = await deps.services(request).erasing.list(limit=limit, after=after)
    return reply(ErasureList.of([ErasureObject(**_shown(each)) for each in found], has_more=has_more))


@router.get(
    "/v1/admin/erasures/{erasure_id}",
    response_model=ErasureObject,
    summary="Retrieve an erasure",
    **DOCS.route(Scope.VIEW, errors=(403, 404), example=_EXAMPLE),
)
async def retrieve_erasure(request: Request, erasure_id: str, viewer: deps.Key) -> Response:
    """How far an erasure is, and what it waits for."""
    return reply(ErasureObject(**_shown(await deps.services(request).erasing.get(erasure_id))))


@router.get(
    "/v1/admin/erasures/{erasure_id}/receipt",
    response_model=SignedReceiptObject,
    summary="Download the receipt of an erasure",
    **DOCS.route(Scope.ADMIN, errors=(400, 403, 404), example=_RECEIPT),
)
async def retrieve_receipt(request: Request, erasure_id: str, admin: deps.Key) -> Response:
    """What was erased and what remains, signed with the key of `/.well-known/jwks.json`: the very bytes."""
    return Response(await deps.services(request).erasing.receipt(erasure_id), media_type="application/json")


def _shown(erasure: Erasure) -> dict[str, Any]:
    return {
        "id": erasure.id,
        "status": "in_progress" if erasure.finished_at is None else "finished",
        "tenant": erasure.tenant,
        "usage": "kept_unnamed" if erasure.keep_usage else "erased",
        "requested_at": unix(erasure.requested_at),
        "requested_by": erasure.requested_by,
        "erased": dict(erasure.erased),
        "waits_for": erasure.waits_for,
        "finished_at": unix(erasure.finished_at),
    }
