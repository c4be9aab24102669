"""Tenants and their keys, for administrators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from cogmill_client.effects import Items, Request, Steps
from cogmill_client.exchange import answer_of, reads
from cogmill_client.models.admin import (
    LiftedBudget,
    Tenant,
    TenantBudget,
    TenantKey,
    TenantKeyWithSecret,
    TenantLimits,
    TenantShare,
)
from cogmill_client.models.base import Answer
from cogmill_client.paging import listed
from cogmill_client.urls import at, query, without_none

# A number, `none` (no limit) or `default` (the deployment's).
LimitWish = float | str


class _Shares(Answer):
    data: list[TenantShare]


class _Budgets(Answer):
    data: list[TenantBudget]


def tenants(*, limit: int | None = None, after: str | None = None) -> Items[Tenant]:
    """All tenants, by name."""
    return listed("/v1/admin/tenants", Tenant, limit=limit, after=after)


def tenant(name: str) -> Steps[Tenant]:
    """One tenant: its weight and its own limits."""
    return answer_of(Request(method="GET", url=at("/v1/admin/tenants/{}", name)), reads(Tenant))


def put_tenant(
    name: str, *, weight: float | None = None, limits: Mapping[str, LimitWish] | None = None
) -> Steps[Tenant]:
    """Make a tenant if it is new, and change what is given."""
    return _changed("PUT", name, weight, limits)


def change_tenant(
    name: str, *, weight: float | None = None, limits: Mapping[str, LimitWish] | None = None
) -> Steps[Tenant]:
    """Change what is given of a tenant that there is."""
    return _changed("PATCH", name, weight, limits)


def limits(name: str) -> Steps[TenantLimits]:
    """Every limit of a tenant, and how much of it is used."""
    return answer_of(Request(method="GET", url=at("/v1/admin/tenants/{}/limits", name)), reads(TenantLimits))


def shares() -> Steps[list[TenantShare]]:
    """What tenants have of single pools."""
    return _all(Request(method="GET", url="/v1/admin/shares"), _Shares)


def set_share(name: str, pool: str, changes: Mapping[str, int | None]) -> Steps[TenantShare]:
    """Change `guaranteed` or `running` of a tenant in a pool; None is no cap of its own there."""
    request = Request(method="PUT", url=at("/v1/admin/tenants/{}/shares/{}", name, pool), json=dict(changes))
    return answer_of(request, reads(TenantShare))


def budgets(name: str) -> Steps[list[TenantBudget]]:
    """What a tenant's campaigns and batches may use in a day or a month."""
    return _all(Request(method="GET", url=at("/v1/admin/tenants/{}/budgets", name)), _Budgets)


def set_budget(
    name: str, period: str, unit: str, *, amount: float, actions: Sequence[Mapping[str, Any]] = ()
) -> Steps[TenantBudget]:
    """Set a budget of `gpu_seconds` or `money`, in each `day` or `month`."""
    url = at("/v1/admin/tenants/{}/budgets/{}/{}", name, period, unit)
    fields = {"amount": amount, "actions": [dict(action) for action in actions]}
    return answer_of(Request(method="PUT", url=url, json=fields), reads(TenantBudget))


def lift_budget(name: str, period: str, unit: str) -> Steps[LiftedBudget]:
    """Take a budget away."""
    url = at("/v1/admin/tenants/{}/budgets/{}/{}", name, period, unit)
    return answer_of(Request(method="DELETE", url=url), reads(LiftedBudget))


def keys(*, tenant: str | None = None, limit: int | None = None, after: str | None = None) -> Items[TenantKey]:
    """The keys of a tenant, or of all, the newest first."""
    return listed("/v1/admin/keys", TenantKey, query(tenant=tenant), limit=limit, after=after)


def create_key(
    tenant: str,
    *,
    name: str = "",
    role: str | None = None,
    scopes: Sequence[str] | None = None,
    allow: Sequence[str] | None = None,
    expires_at: datetime | int | None = None,
) -> Steps[TenantKeyWithSecret]:
    """Make a key of any tenant. The answer has the whole key, for the only time."""
    fields = without_none(
        tenant=tenant,
        name=name,
        role=role,
        scopes=None if scopes is None else list(scopes),
        allow=None if allow is None else list(allow),
        expires_at=expires_at,
    )
    return answer_of(_once("/v1/admin/keys", fields), reads(TenantKeyWithSecret))


def key(key_id: str) -> Steps[TenantKey]:
    """What is known of a key, whoever's it is."""
    return answer_of(Request(method="GET", url=at("/v1/admin/keys/{}", key_id)), reads(TenantKey))


def rotate_key(
    key_id: str, *, overlap_s: float | None = None, expires_at: datetime | int | None = None
) -> Steps[TenantKeyWithSecret]:
    """Make a key in the place of another, which goes on for `overlap_s` seconds, a day unless told otherwise."""
    fields = without_none(overlap_s=overlap_s, expires_at=expires_at)
    return answer_of(_once(at("/v1/admin/keys/{}/rotate", key_id), fields), reads(TenantKeyWithSecret))


def revoke_key(key_id: str, *, descendants: bool = False) -> Steps[TenantKey]:
    """End a key for good; with `descendants` also what it made, and what that made."""
    request = Request(method="POST", url=at("/v1/admin/keys/{}/revoke", key_id), json={"descendants": descendants})
    return answer_of(request, reads(TenantKey))


def _changed(method: str, name: str, weight: float | None, wish: Mapping[str, LimitWish] | None) -> Steps[Tenant]:
    fields = without_none(weight=weight, limits=None if wish is None else dict(wish))
    return answer_of(Request(method=method, url=at("/v1/admin/tenants/{}", name), json=fields), reads(Tenant))


def _all(request: Request, of: type[BaseModel]) -> Steps[Any]:
    answer: Any = yield from answer_of(request, reads(of))
    return answer.data


def _once(url: str, fields: Mapping[str, Any]) -> Request:
    # As with one's own keys (`procedures/keys.py`): sent twice, there would be two.
    return Request(method="POST", url=url, json=fields, repeatable=False)
