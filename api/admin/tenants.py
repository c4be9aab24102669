"""`/v1/admin/tenants`: every tenant, its weight and its limits, and how much of them is used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Annotated, Any, Final, Literal

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema
from pydantic_core import PydanticCustomError

from api import deps
from api.openai.errors import DOCS
from api.wire.bodies import Number, read_json, read_optional, typed
from api.wire.docs import Body, listed
from api.wire.paging import After, Identified, Limit, Listing
from api.wire.replies import reply
from api.wire.routes import Router
from orchestrator.domain.rights import Scope
from orchestrator.policy.limits import Limits
from orchestrator.ports import Tenant
from orchestrator.tenants.administering import LimitSeen

router = Router(tags=["administration"])

NAMES = tuple(field.name for field in fields(Limits))
# A limit of one's own that says that there is none; and one that gives way to the deployment's.
NONE: Final = "none"
DEFAULT: Final = "default"
Shown = float | Literal["none"] | None

_LIMITS: dict[str, JsonValue] = dict.fromkeys(NAMES)
_EXAMPLE: dict[str, JsonValue] = {
    "id": "acme",
    "object": "tenant",
    "weight": 2.0,
    "limits": {**_LIMITS, "queued": 5000.0, "running": NONE},
}
_USE: dict[str, JsonValue] = {
    "object": "tenant.limits",
    "tenant": "acme",
    "data": [
        {"object": "tenant.limit", "limit": "queued", "own": 5000.0, "effective": 5000.0, "used": 1204.0},
        {"object": "tenant.limit", "limit": "running", "own": NONE, "effective": None, "used": 8.0},
    ],
}


class TenantObject(Identified):
    """Who asks for videos. Its id is its name."""

    object: Literal["tenant"] = "tenant"
    weight: float = Field(description="Its share of the GPUs, relative to the others', whose is 1 unless set.")
    limits: dict[str, Shown] = Field(
        description="Its own, by name: a number, `none` where it has none at all, null where the deployment's holds."
    )


class TenantList(Listing[TenantObject]):
    """A page of tenants, by name."""


class LimitObject(BaseModel):
    """One limit, and how much of it is used."""

    object: Literal["tenant.limit"] = "tenant.limit"
    limit: str
    own: Shown = Field(description="As in the tenant.")
    effective: float | None = Field(description="What holds; null is no limit.")
    used: float | None = Field(description="What counts against it now; null where nothing is counted.")


class LimitsObject(BaseModel):
    """Every limit of a tenant."""

    object: Literal["tenant.limits"] = "tenant.limits"
    tenant: str
    data: list[LimitObject]


def _limit(value: object) -> object:
    """A number, or a word that stands for one."""
    if value == NONE:
        return math.inf
    if value == DEFAULT:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("invalid_value", "must be a number, 'none' or 'default'")
    return value


_Wish = Annotated[
    float | None,
    BeforeValidator(_limit),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "enum": [NONE, DEFAULT]}]}),
]


class ChangeTenant(BaseModel):
    """What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    weight: Number | None = Field(None, description="A positive number; it holds from the next claim on.")
    limits: dict[str, _Wish] = Field(
        {},
        description="By name, of: "
        + ", ".join(f"`{name}`" for name in NAMES)
        + ". A number, `none` to lift it, or `default` to go back to the deployment's.",
    )


_READS: dict[str, JsonValue] = {"typical": {"weight": 2, "limits": {"queued": 5000, "running": NONE}}, "as it is": {}}


@router.get(
    "/v1/admin/tenants",
    response_model=TenantList,
    summary="List tenants",
    **DOCS.route(Scope.VIEW, errors=(400,), example=listed(_EXAMPLE)),
)
async def list_tenants(request: Request, viewer: deps.Key, limit: Limit = 20, after: After = None) -> Response:
    """A page of all tenants, by name."""
    page = await deps.services(request).administration.tenants.list(limit=limit, after=after)
    return reply(TenantList.of([_tenant(each) for each in page.tenants], has_more=page.has_more))


@router.get(
    "/v1/admin/tenants/{tenant}",
    response_model=TenantObject,
    summary="Retrieve a tenant",
    **DOCS.route(Scope.VIEW, errors=(404,), example=_EXAMPLE),
)
async def retrieve_tenant(request: Request, tenant: str, viewer: deps.Key) -> Response:
    """Its weight and its own limits."""
    return reply(_tenant(await deps.services(request).administration.tenants.get(tenant)))


@router.put(
    "/v1/admin/tenants/{tenant}",
    response_model=TenantObject,
    summary="Make a tenant, or change it",
    **DOCS.route(
        Scope.ADMIN,
        reads=Body(fields=ChangeTenant, examples=_READS, required=False),
        errors=(404,),
        example=_EXAMPLE,
    ),
)
async def put_tenant(request: Request, tenant: str, admin: deps.Key) -> Response:
    """Make it where there is none, and change what is named. Asked again, it changes nothing."""
    body = typed(ChangeTenant, await read_optional(request), nested=True)
    tenants = deps.services(request).administration.tenants
    return reply(_tenant(await tenants.put(tenant, weight=body.weight, limits=body.limits)))


@router.patch(
    "/v1/admin/tenants/{tenant}",
    response_model=TenantObject,
    summary="Change a tenant",
    **DOCS.route(Scope.ADMIN, errors=(404,), example=_EXAMPLE, reads=Body(fields=ChangeTenant, examples=_READS)),
)
async def patch_tenant(request: Request, tenant: str, admin: deps.Key) -> Response:
    """Change what is named: from the next request, submit or claim on. What is over a lowered limit stays."""
    body = typed(ChangeTenant, await read_json(request), nested=True)
    tenants = deps.services(request).administration.tenants
    return reply(_tenant(await tenants.change(tenant, weight=body.weight, limits=body.limits)))


@router.get(
    "/v1/admin/tenants/{tenant}/limits",
    response_model=LimitsObject,
    summary="Limits of a tenant, and their use",
    **DOCS.route(Scope.VIEW, errors=(404,), example=_USE),
)
async def show_limits(request: Request, tenant: str, viewer: deps.Key) -> Response:
    """Every limit: the tenant's own, what holds, and what counts against it now."""
    limits = await deps.services(request).administration.tenants.limits(tenant)
    return reply(LimitsObject(tenant=tenant, data=[_seen(each) for each in limits]))


def _tenant(tenant: Tenant) -> TenantObject:
    own: Mapping[str, Any] = asdict(tenant.limits)
    return TenantObject(
        id=tenant.name, weight=tenant.weight, limits={name: _shown(value) for name, value in own.items()}
    )


def _seen(each: LimitSeen) -> LimitObject:
    effective = None if math.isinf(each.effective) else each.effective
    return LimitObject(limit=each.name, own=_shown(each.own), effective=effective, used=each.used)


def _shown(value: float | None) -> Shown:
    return NONE if value is not None and math.isinf(value) else value
