"""Pauses of pools: every claim looks here, so they hold for every dispatcher at once, and outlive them all."""

from __future__ import annotations

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import Action, Change
from orchestrator.domain.pausing import Pause
from orchestrator.store.audit import record
from orchestrator.store.part import Part
from orchestrator.store.tables import pauses

_NOW = func.cogmill_now()
_COLUMNS = (
    pauses.c.pool, pauses.c.reason, pauses.c.paused_by, pauses.c.paused_at, pauses.c.resumed_by, pauses.c.resumed_at
)  # fmt: skip


class Pauses(Part):
    async def pause(self, pool: str, *, reason: str, by: str) -> None:
        given = {"reason": reason, "paused_by": by, "paused_at": _NOW, "resumed_by": None, "resumed_at": None}
        last = insert(pauses).values(pool=pool, **given)

        async def change(connection: AsyncConnection) -> None:
            await connection.execute(last.on_conflict_do_update(index_elements=["pool"], set_=given))
            after = {"reason": reason, "by": by}
            await record(connection, Change(action=Action.POOL_PAUSE, object=f"pool:{pool}", after=after))

        await self._database.transact(change)

    async def resume(self, pool: str, *, by: str) -> bool:
        standing = update(pauses).where(pauses.c.pool == pool, pauses.c.resumed_at.is_(None))
        ends = standing.values(resumed_by=by, resumed_at=_NOW).returning(pauses.c.reason, pauses.c.paused_by)

        async def change(connection: AsyncConnection) -> bool:
            ended = (await connection.execute(ends)).one_or_none()
            if ended is not None:
                before = {"reason": ended.reason, "by": ended.paused_by}
                await record(connection, Change(action=Action.POOL_RESUME, object=f"pool:{pool}", before=before))
            return ended is not None

        ended = await self._database.transact(change)
        if ended:
            self._notifier.announce()  # what waited may be claimed now
        return ended

    async def pauses(self) -> list[Pause]:
        found = await self._database.fetch(select(*_COLUMNS).order_by(pauses.c.pool))
        return [Pause(**row._mapping) for row in found]
