"""`/v1/admin/shares`: what tenants have of single pools, guaranteed workers and caps."""

from __future__ import annotations

from typing import Literal

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api import deps
from api.openai.errors import DOCS
from api.wire.bodies import Integer, read_json, typed
from api.wire.docs import Body
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.domain.rights import Scope
from orchestrator.ports import Share

router = Router(tags=["administration"])

_EXAMPLE: dict[str, JsonValue] = {
    "object": "tenant.share",
    "tenant": "acme",
    "pool": "main",
    "guaranteed": 4,
    "running": None,
}
_LIST: dict[str, JsonValue] = {"object": "list", "data": [_EXAMPLE]}


class ShareObject(BaseModel):
    """What a tenant has of a pool."""

    object: Literal["tenant.share"] = "tenant.share"
    tenant: str
    pool: str
    guaranteed: int = Field(description="Workers that it gets when it wants them; they are lent while it does not.")
    running: int | None = Field(description="Jobs that it may run there at once; null is as many as over all pools.")


class ShareList(BaseModel):
    """All of them, by pool and tenant."""

    object: Literal["list"] = "list"
    data: list[ShareObject]


class ChangeShare(BaseModel):
    """What is left out stays; 0 and null take it away."""

    model_config = ConfigDict(extra="forbid")

    guaranteed: Integer | None = Field(None, description="At most what the pool's workers have room for.")
    running: Integer | None = None


_READS = Body(fields=ChangeShare, examples={"typical": {"guaranteed": 4}, "no cap": {"running": None}})


@router.get(
    "/v1/admin/shares",
    response_model=ShareList,
    summary="List shares of pools",
    **DOCS.route(Scope.VIEW, example=_LIST),
)
async def list_shares(request: Request, viewer: deps.Key) -> Response:
    """What tenants have of single pools."""
    shares = await deps.services(request).administration.tenants.shares()
    return reply(ShareList(data=[_share(each) for each in shares]))


@router.put(
    "/v1/admin/tenants/{tenant}/shares/{pool}",
    response_model=ShareObject,
    summary="Change a share of a pool",
    **DOCS.route(Scope.ADMIN, errors=(404,), example=_EXAMPLE, reads=_READS),
)
async def put_share(request: Request, tenant: str, pool: str, admin: deps.Key) -> Response:
    """From the next claim on. Asked again, it changes nothing; a share of nothing is none."""
    body = typed(ChangeShare, await read_json(request), nulls=True)
    changes = body.model_dump(include=body.model_fields_set)
    return reply(_share(await deps.services(request).administration.tenants.share(tenant, pool, changes)))


def _share(share: Share) -> ShareObject:
    return ShareObject(tenant=share.tenant, pool=share.pool, guaranteed=share.guaranteed, running=share.running)
