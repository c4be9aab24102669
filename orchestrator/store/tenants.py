"""Tenants: their shares and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.policy.limits import Limits
from orchestrator.ports import Tenant
from orchestrator.store.part import Part
from orchestrator.store.tables import lanes, tenants

_LIMITS = tuple(tenants.c[field.name] for field in fields(Limits))


class Tenants(Part):
    async def set_weight(self, tenant: str, weight: float) -> None:
        async def set_both(connection: AsyncConnection) -> None:
            known = insert(tenants).values(name=tenant, weight=weight)
            await connection.execute(known.on_conflict_do_update(index_elements=["name"], set_={"weight": weight}))
            await connection.execute(update(lanes).where(lanes.c.tenant == tenant).values(weight=weight))

        await self._database.transact(set_both)

    async def set_limits(self, tenant: str, changes: Mapping[str, float | None]) -> None:
        known = insert(tenants).values(name=tenant, **changes)
        await self._database.fetch(known.on_conflict_do_update(index_elements=["name"], set_=dict(changes)))
        self._notifier.announce()  # jobs that were held back may have room now

    async def list_tenants(self) -> list[Tenant]:
        found = await self._database.fetch(select(tenants).order_by(tenants.c.name))
        return [Tenant(name=row.name, weight=row.weight, limits=_limits(row)) for row in found]

    async def has_tenant(self, name: str) -> bool:
        return bool(await self._database.fetch(select(tenants.c.name).where(tenants.c.name == name)))

    async def limits_of(self, tenant: str) -> Limits:
        found = await self._database.fetch(select(*_LIMITS).where(tenants.c.name == tenant))
        return _limits(found[0]).over(self._defaults) if found else self._defaults


def _limits(row: Row[Any]) -> Limits:
    return Limits(**{column.name: getattr(row, column.name) for column in _LIMITS})
