"""Tenants: their shares and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import Action
from orchestrator.policy.limits import Limits
from orchestrator.ports import Tenant
from orchestrator.store.audit import record_difference
from orchestrator.store.part import Part
from orchestrator.store.tables import lanes, tenants

_LIMITS = tuple(tenants.c[field.name] for field in fields(Limits))


class Tenants(Part):
    async def set_weight(self, tenant: str, weight: float) -> None:
        async def set_both(connection: AsyncConnection) -> None:
            before = await _locked(connection, tenant)
            known = insert(tenants).values(name=tenant, weight=weight)
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
            known = insert(tenants).values(name=tenant, **changes)
            await connection.execute(known.on_conflict_do_update(index_elements=["name"], set_=dict(changes)))
            await record_difference(
                connection, Action.TENANT_LIMITS, f"tenant:{tenant}", before, changes, tenant=tenant
            )

        await self._database.transact(change)
        self._notifier.announce()  # jobs that were held back may have room now

    async def list_tenants(self) -> list[Tenant]:
        found = await self._database.fetch(select(tenants).order_by(tenants.c.name))
        return [Tenant(name=row.name, weight=row.weight, limits=_limits(row)) for row in found]

    async def limits_of(self, tenant: str) -> Limits:
        found = await self._database.fetch(select(*_LIMITS).where(tenants.c.name == tenant))
        return _limits(found[0]).over(self._defaults) if found else self._defaults


async def _locked(connection: AsyncConnection, tenant: str) -> Row[Any] | None:
    """A tenant's row, which stays as it is until the transaction ends."""
    return (await connection.execute(select(tenants).where(tenants.c.name == tenant).with_for_update())).one_or_none()


def _limits(row: Row[Any]) -> Limits:
    return Limits(**{column.name: getattr(row, column.name) for column in _LIMITS})
