"""API keys, and the tenants that they belong to: shares and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.policy.limits import Limits
from orchestrator.ports import ApiKey, Tenant
from orchestrator.store.part import Part
from orchestrator.store.tables import keys, lanes, tenants

_LIMITS = tuple(tenants.c[field.name] for field in fields(Limits))


class Tenants(Part):
    async def add_key(self, key_id: str, tenant: str, name: str, *, operator: bool = False) -> ApiKey:
        async def add(connection: AsyncConnection) -> Row[Any]:
            await connection.execute(insert(tenants).values(name=tenant).on_conflict_do_nothing())
            added = insert(keys).values(id=key_id, tenant=tenant, name=name, operator=operator).returning(keys)
            row: Row[Any] = (await connection.execute(added)).one()
            return row

        return _key(await self._database.transact(add))

    async def list_keys(self, tenant: str | None = None) -> list[ApiKey]:
        query = select(keys).order_by(keys.c.created_at, keys.c.id)
        if tenant is not None:
            query = query.where(keys.c.tenant == tenant)
        return [_key(row) for row in await self._database.fetch(query)]

    async def revoke_key(self, key_id: str) -> bool:
        revoke = (
            update(keys)
            .where(keys.c.id == key_id, keys.c.revoked_at.is_(None))
            .values(revoked_at=func.cogmill_now())
            .returning(keys.c.id)
        )
        return bool(await self._database.fetch(revoke))

    async def find_key(self, key_id: str) -> ApiKey | None:
        found = await self._database.fetch(select(keys).where(keys.c.id == key_id))
        return _key(found[0]) if found else None

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

    async def limits_of(self, tenant: str) -> Limits:
        found = await self._database.fetch(select(*_LIMITS).where(tenants.c.name == tenant))
        return _limits(found[0]).over(self._defaults) if found else self._defaults


def _limits(row: Row[Any]) -> Limits:
    return Limits(**{column.name: getattr(row, column.name) for column in _LIMITS})


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        operator=row.operator,
    )
