"""How workers stand with their models: written by their dispatcher, whole each time, and read by whoever answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import bindparam, func, select, text
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.store.part import Part
from orchestrator.store.tables import worker_loads

# What a dispatcher has not said again for so long is not known any more.
STALE = timedelta(minutes=10)

_RECORD = text("""
    WITH told AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(:loads) AS t(
            worker text, pool text, model text, state text, failures int, reason text, detail text, adapters text[])
    ), gone AS (
        DELETE FROM worker_loads WHERE cluster = :cluster AND worker NOT IN (SELECT worker FROM told)
    )
    INSERT INTO worker_loads (cluster, worker, pool, model, state, failures, reason, detail, adapters)
    SELECT :cluster, worker, pool, model, state, failures, reason, detail, adapters FROM told ORDER BY worker
    ON CONFLICT (cluster, worker) DO UPDATE
    SET pool = excluded.pool, model = excluded.model, state = excluded.state, failures = excluded.failures,
        reason = excluded.reason, detail = excluded.detail, adapters = excluded.adapters, told_at = cogmill_now()
""").bindparams(bindparam("loads", type_=JSONB))


class Loads(Part):
    async def record_loads(self, cluster: str, loads: Sequence[WorkerLoad]) -> None:
        await self._database.fetch(_RECORD, {"cluster": cluster, "loads": list(loads)})

    async def worker_loads(self) -> list[WorkerLoad]:
        table = worker_loads.c
        asked = select(
            table.worker, table.pool, table.model, table.state, table.failures, table.reason, table.detail,
            table.adapters,
        )  # fmt: skip
        fresh = asked.where(table.told_at > func.cogmill_now() - STALE).order_by(table.cluster, table.worker)
        found = await self._database.fetch(fresh)
        return [
            WorkerLoad(**{**row._mapping, "state": LoadState(row.state), "adapters": tuple(row.adapters)})
            for row in found
        ]
