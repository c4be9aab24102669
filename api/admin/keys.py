"""`/v1/admin/keys`: keys of every tenant, made, replaced and revoked by administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response
from pydantic import Field, JsonValue

from api import deps
from api.native import keys as own
from api.openai.errors import DOCS
from api.wire.bodies import read_json, read_optional, typed
from api.wire.docs import Body, listed
from api.wire.paging import After, Limit, Listing
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.domain.callers import read_networks
from orchestrator.domain.rights import USUAL, Role, Scope, read_role, read_scopes, scopes_of
from orchestrator.ports import ApiKey
from orchestrator.tenants.issuing import Issued, Wanted

router = Router(tags=["administration"])

_EXAMPLE: dict[str, JsonValue] = {**own.EXAMPLE, "tenant": "acme"}
_WHOLE: dict[str, JsonValue] = {**own.WHOLE, "tenant": "acme"}


class TenantKey(own.KeyObject):
    """A key of some tenant, without its secret."""

    tenant: str


class TenantKeyWithSecret(TenantKey):
    """The whole key is shown when it is made, and never again."""

    key: str


class TenantKeyList(Listing[TenantKey]):
    """A page of keys, revoked and expired ones among them."""


class CreateTenantKey(own.CreateKey):
    """Without scopes and role it may what a tenant's keys usually may; networks and end are its maker's."""

    tenant: str = Field(max_length=64, description="Whose; it is made if it is new.")
    role: str | None = Field(
        None, description=f"Also the scopes of: {', '.join(f'`{it}`' for it in Role)}. Without `scopes`, those alone."
    )


_CREATE = Body(
    fields=CreateTenantKey,
    examples={
        "a tenant's first": {"tenant": "acme", "name": "everything"},
        "an operator": {"tenant": "platform", "name": "on call", "role": "operator", "expires_at": 4102444800},
    },
)


@router.get(
    "/v1/admin/keys",
    response_model=TenantKeyList,
    summary="List keys of all tenants",
    **DOCS.route(Scope.VIEW, errors=(400, 404), example=listed(_EXAMPLE)),
)
async def list_keys(
    request: Request,
    viewer: deps.Key,
    limit: Limit = 20,
    after: After = None,
    tenant: Annotated[str | None, Query(description="Of this tenant alone.")] = None,
) -> Response:
    """A page of keys, newest first, without their secrets."""
    page = await deps.services(request).administration.keys.list_of(tenant, limit=limit, after=after)
    return reply(TenantKeyList.of([_key(key) for key in page.keys], has_more=page.has_more))


@router.post(
    "/v1/admin/keys",
    response_model=TenantKeyWithSecret,
    summary="Make a key of a tenant",
    **DOCS.route(Scope.ADMIN, reads=_CREATE, sends=("cache-control",), example=_WHOLE),
)
async def create_key(request: Request, admin: deps.Key) -> Response:
    """A key of any tenant. It lives no longer, and from no more networks, than the one that makes it; of what concerns
    every tenant it may no more than that one. The answer holds it whole, once: asked again, there are two.
    """
    fields = typed(CreateTenantKey, await read_json(request))
    role = None if fields.role is None else read_role(fields.role)
    named = None if fields.scopes is None else read_scopes(fields.scopes)
    wanted = Wanted(
        scopes=scopes_of(role, named, usual=USUAL),
        allow=None if fields.allow is None else read_networks(fields.allow),
        expires_at=fields.expires_at,
    )
    keys = deps.services(request).administration.keys
    return _told(await keys.create_for(admin, fields.tenant, name=fields.name, wanted=wanted))


@router.get(
    "/v1/admin/keys/{key_id}",
    response_model=TenantKey,
    summary="Retrieve a key of a tenant",
    **DOCS.route(Scope.VIEW, errors=(404,), example=_EXAMPLE),
)
async def retrieve_key(request: Request, key_id: str, viewer: deps.Key) -> Response:
    """What is known of a key, whoever's it is."""
    return reply(_key(await deps.services(request).administration.keys.get(viewer, key_id)))


@router.post(
    "/v1/admin/keys/{key_id}/rotate",
    response_model=TenantKeyWithSecret,
    summary="Replace a key of a tenant",
    **DOCS.route(
        Scope.ADMIN,
        reads=Body(fields=own.RotateKey, examples={"typical": {"overlap_s": 3600}, "default": {}}, required=False),
        errors=(404,),
        sends=("cache-control",),
        example=_WHOLE,
    ),
)
async def rotate_key(request: Request, key_id: str, admin: deps.Key) -> Response:
    """A new key in the place of this one, which goes on for a while. One that was replaced is not replaced again."""
    fields = typed(own.RotateKey, await read_optional(request))
    keys = deps.services(request).administration.keys
    return _told(await keys.rotate(admin, key_id, overlap_s=fields.overlap_s, expires_at=fields.expires_at))


@router.post(
    "/v1/admin/keys/{key_id}/revoke",
    response_model=TenantKey,
    summary="Revoke a key of a tenant",
    **DOCS.route(
        Scope.ADMIN,
        reads=Body(fields=own.RevokeKey, examples={"typical": {"descendants": True}, "default": {}}, required=False),
        errors=(404,),
        example=_EXAMPLE | {"revoked_at": 1758945600},
    ),
)
async def revoke_key(request: Request, key_id: str, admin: deps.Key) -> Response:
    """End a key for good, on every replica within seconds. Asked again, it changes nothing."""
    fields = typed(own.RevokeKey, await read_optional(request))
    keys = deps.services(request).administration.keys
    return reply(_key(await keys.revoke(admin, key_id, descendants=fields.descendants)))


def _told(issued: Issued) -> Response:
    whole = TenantKeyWithSecret(**own.shown(issued.key), tenant=issued.key.tenant, key=issued.whole)
    return reply(whole, headers=own.HEADERS)


def _key(key: ApiKey) -> TenantKey:
    return TenantKey(**own.shown(key), tenant=key.tenant)
