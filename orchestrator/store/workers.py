"""Leases seen from the workers' side: heartbeats, epochs, and which claims have lost their worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Row, Text, bindparam, select, text, update
from sqlalchemy.dialects.postgresql import insert

from orchestrator.domain.job import Claim, WorkerRef
from orchestrator.ports import Heartbeat
from orchestrator.store import rows
from orchestrator.store.part import Part
from orchestrator.store.tables import deployment, dispatchers, jobs, workers

# How many due jobs are woken in one transaction.
_CHUNK = 5_000

_BEAT = text("""
    INSERT INTO workers AS w (cluster, name, incarnation, pool)
    SELECT :cluster, b.name, b.incarnation, b.pool
    FROM (SELECT u.*, set_config('synchronous_commit', 'off', true)
          FROM unnest(:names, :incarnations, :pools) AS u(name, incarnation, pool) ORDER BY name, incarnation) AS b
    ON CONFLICT (cluster, name, incarnation) DO UPDATE
    SET beat = w.beat + 1, beat_at = cogmill_now(), pool = excluded.pool
    WHERE w.alive
    RETURNING name, incarnation
""").bindparams(*(bindparam(name, type_=ARRAY(Text)) for name in ("names", "incarnations", "pools")))

_RUNNING = text(
    f"SELECT {rows.CLAIM_COLUMNS} FROM jobs AS j WHERE state = 'running' AND cluster = :cluster ORDER BY id"
)

_ORPHANED = text(f"""
    SELECT {rows.CLAIM_COLUMNS} FROM jobs AS j
    WHERE j.state = 'running' AND NOT EXISTS (
        SELECT FROM workers AS w
        WHERE w.cluster = j.cluster AND w.name = j.worker AND w.incarnation = j.incarnation AND w.alive)
    ORDER BY j.id
""")

_WAKE = text("""
    UPDATE jobs SET ready = true
    WHERE id = ANY (ARRAY(
        SELECT id FROM jobs
        WHERE state IN ('held', 'queued') AND NOT ready AND state = 'queued' AND run_at <= cogmill_now()
        ORDER BY run_at LIMIT :chunk FOR UPDATE SKIP LOCKED))
    RETURNING id
""")


class WorkerRows(Part):
    async def deployment_id(self) -> str:
        found = await self._database.fetch(select(deployment.c.id))
        return str(found[0].id)

    async def check_writes(self) -> None:
        # A row lock is a write, which a standby refuses; this one holds up nobody and changes nothing.
        await self._database.fetch(select(deployment.c.id).with_for_update(read=True, key_share=True))

    async def next_epoch(self, cluster: str) -> int:
        first = insert(dispatchers).values(cluster=cluster, epoch=1)
        grown = first.on_conflict_do_update(index_elements=["cluster"], set_={"epoch": dispatchers.c.epoch + 1})
        found = await self._database.fetch(grown.returning(dispatchers.c.epoch))
        return int(found[0].epoch)

    async def running(self, cluster: str) -> list[Claim]:
        return rows.claims(await self._database.fetch(_RUNNING, {"cluster": cluster}))

    async def cancel_requests(self, cluster: str) -> set[UUID]:
        asked = select(jobs.c.token).where(
            jobs.c.cluster == cluster, text("state = 'running' AND cancel_requested_at IS NOT NULL")
        )
        return {row.token for row in await self._database.fetch(asked)}

    async def beat(self, cluster: str, workers: Mapping[WorkerRef, str]) -> set[WorkerRef]:
        if not workers:
            return set()
        beaten = await self._database.fetch(
            _BEAT,
            {
                "cluster": cluster,
                "names": [worker.name for worker in workers],
                "incarnations": [worker.incarnation for worker in workers],
                "pools": list(workers.values()),
            },
        )
        alive = {(row.name, row.incarnation) for row in beaten}
        return {worker for worker in workers if (worker.name, worker.incarnation) not in alive}

    async def wake_due(self) -> int:
        woken = chunk = await self._wake_chunk()
        while chunk == _CHUNK:
            chunk = await self._wake_chunk()
            woken += chunk
        if woken:
            self._notifier.announce()
        return woken

    async def heartbeats(self) -> list[Heartbeat]:
        return [_heartbeat(row) for row in await self._database.fetch(select(workers).where(workers.c.alive))]

    async def declare_dead(self, cluster: str, worker: WorkerRef, *, beat: int | None = None) -> bool:
        one = (
            update(workers)
            .where(workers.c.cluster == cluster, workers.c.name == worker.name)
            .where(workers.c.incarnation == worker.incarnation, workers.c.alive)
            .values(alive=False)
            .returning(workers.c.name)
        )
        return bool(await self._database.fetch(one if beat is None else one.where(workers.c.beat == beat)))

    async def orphaned(self) -> list[Claim]:
        return rows.claims(await self._database.fetch(_ORPHANED))

    async def _wake_chunk(self) -> int:
        return len(await self._database.fetch(_WAKE, {"chunk": _CHUNK}))


def _heartbeat(row: Row[Any]) -> Heartbeat:
    return Heartbeat(
        cluster=row.cluster,
        worker=WorkerRef(name=row.name, incarnation=row.incarnation),
        pool=row.pool,
        beat=row.beat,
        alive=row.alive,
    )
