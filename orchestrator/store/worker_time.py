"""The workers' side of the ledger: seconds by hour, pool, kind and what they went into."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.domain.worker_time import Spell, Spent
from orchestrator.store.part import Part
from orchestrator.store.tables import worker_time

# In order of the keys: two dispatchers that add to the same rows must not wait for each other in a circle.
_ADD = text("""
    INSERT INTO worker_time (hour, pool, kind, spell, seconds)
    SELECT date_trunc('hour', cogmill_now(), 'UTC'), pool, kind, spell, seconds
    FROM jsonb_to_recordset(:sums) AS s(pool text, kind text, spell text, seconds float8)
    ORDER BY pool, kind, spell
    ON CONFLICT (hour, pool, kind, spell) DO UPDATE SET seconds = worker_time.seconds + excluded.seconds
""").bindparams(bindparam("sums", type_=JSONB))


class WorkerTime(Part):
    async def record_worker_time(self, sums: Sequence[Spent]) -> None:
        told = [{"pool": s.pool, "kind": s.kind, "spell": s.spell, "seconds": s.seconds} for s in sums]
        await self._database.fetch(_ADD, {"sums": told})

    async def worker_time(self, since: datetime, until: datetime) -> list[Spent]:
        table = worker_time.c
        asked = select(table.hour, table.pool, table.kind, table.spell, table.seconds)
        within = asked.where(table.hour >= since, table.hour < until).order_by(*worker_time.primary_key)
        found = await self._database.fetch(within)
        return [Spent(**{**row._mapping, "spell": Spell(row.spell)}) for row in found]
