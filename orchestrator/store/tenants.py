"""Tenants: their shares and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import Row, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import Action, Change
from orchestrator.policy.limits import Limits
from orchestrator.ports import Tenant, TenantPage
from orchestrator.store.audit import record, record_difference
from orchestrator.store.part import Part
from orchestrator.store.tables import erasures, lanes, tenants

# As admission counts (`store/admission.py`), but whether it is limited or not.
_USE = text("""
    SELECT (SELECT count(*) FROM jobs AS j
            WHERE j.tenant = :tenant AND j.state IN ('held', 'queued')
            AND coalesce(j.finished_at, 'infinity') = 'infinity')::float8 AS queued,
           cogmill_running(:tenant, NULL)::float8 AS running,
           (SELECT coalesce(sum(coalesce(charge, cost)), 0) FROM jobs AS j
            WHERE j.tenant = :tenant AND coalesce(j.finished_at, 'infinity') = 'infinity')
           + (SELECT coalesce(sum(coalesce(charge, gpu_seconds)), 0) FROM usage AS u
              WHERE u.tenant = :tenant AND u.at >= date_trunc('day', cogmill_now(), 'UTC')) AS gpu_seconds_per_day
""")

_LIMITS = tuple(tenants.c[field.name] for field in fields(Limits))


class Tenants(Part):
    async def set_weight(self, tenant: str, weight: float) -> None:
        async def set_both(connection: AsyncConnection) -> None:
            before = await _locked(connection, tenant)
            known = insert(tenants).values(new_tenant(tenant) | {"weight": weight})
            await connection.execute(known.on_conflict_do_update(index_elements=["name"], set_={"weight": weight}))
            await connection.execute(update(lanes).where(lanes.c.tenant == tenant).values(weight=weight))
            was = {"weight": 1.0 if before is None else before.weight}
            await record_difference(
                connection, Action.TENANT_WEIGHT, f"tenant:{tenant}", was, {"weight": weight}, tenant=tenant
            )

        await self._database.transact(set_both)

    async def set_limits(self, tenant: str, changes: Mapping[str, float | None]) -> None:
        async def change(connection: AsyncConnection) -> None:
            row = await _locked(connection, tenant)
            before = {name: None if row is None else getattr(row, name) for name in changes}
            known = insert(tenants).values(new_tenant(tenant) | dict(changes))
            await connection.execute(known.on_conflict_do_update(index_elements=["name"], set_=dict(changes)))
            await record_difference(
                connection, Action.TENANT_LIMITS, f"tenant:{tenant}", before, changes, tenant=tenant
            )

        await self._database.transact(change)
        self._notifier.announce()  # jobs that were held back may have room now

    async def list_tenants(self) -> list[Tenant]:
        found = await self._database.fetch(select(tenants).order_by(tenants.c.name))
        return [_tenant(row) for row in found]

    async def page_tenants(self, *, limit: int, after: str | None) -> TenantPage:
        query = select(tenants) if after is None else select(tenants).where(tenants.c.name > after)
        found = await self._database.fetch(query.order_by(tenants.c.name).limit(limit + 1))
        return TenantPage(tenants=[_tenant(row) for row in found[:limit]], has_more=len(found) > limit)

    async def find_tenant(self, name: str) -> Tenant | None:
        found = await self._database.fetch(select(tenants).where(tenants.c.name == name))
        return _tenant(found[0]) if found else None

    async def add_tenant(self, name: str) -> bool:
        new = insert(tenants).values(new_tenant(name)).on_conflict_do_nothing().returning(tenants.c.weight)

        async def add(connection: AsyncConnection) -> bool:
            weight = await connection.scalar(new)
            if weight is not None:
                of, after = f"tenant:{name}", {"weight": weight}
                await record(connection, Change(action=Action.TENANT_CREATE, object=of, tenant=name, after=after))
            return weight is not None

        return await self._database.transact(add)

    async def use_of(self, tenant: str) -> Mapping[str, float]:
        (row,) = await self._database.fetch(_USE, {"tenant": tenant})
        return dict(row._mapping)

    async def has_tenant(self, name: str) -> bool:
        going = select(erasures.c.id).where(erasures.c.tenant == name, erasures.c.finished_at.is_(None))
        there = select(tenants.c.name).where(tenants.c.name == name, ~going.exists())
        return bool(await self._database.fetch(there))

    async def limits_of(self, tenant: str) -> Limits:
        found = await self._database.fetch(select(*_LIMITS).where(tenants.c.name == tenant))
        return _limits(found[0]).over(self._defaults) if found else self._defaults


def new_tenant(name: str) -> dict[str, Any]:
    """The values of a row that is new: nobody has been shown its secret, which is of no master key yet."""
    return {"name": name, "master": None}


def _tenant(row: Row[Any]) -> Tenant:
    return Tenant(name=row.name, weight=row.weight, limits=_limits(row))


async def _locked(connection: AsyncConnection, tenant: str) -> Row[Any] | None:
    """A tenant's row, which stays as it is until the transaction ends."""
    return (await connection.execute(select(tenants).where(tenants.c.name == tenant).with_for_update())).one_or_none()


def _limits(row: Row[Any]) -> Limits:
    return Limits(**{column.name: getattr(row, column.name) for column in _LIMITS})
