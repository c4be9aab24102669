"""Quarantines: lives of workers that got no more jobs, and the jobs that had failed there, with what they failed."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, text

from orchestrator.domain.job import WorkerRef, public_id
from orchestrator.ports.overview import Quarantine, QuarantinedJob
from orchestrator.store.part import Part

_RECORD = text("""
    INSERT INTO quarantines (cluster, worker, incarnation, job_id, tenant, pool)
    SELECT :cluster, :worker, :incarnation, j.id, j.tenant, :pool FROM jobs AS j WHERE j.id = ANY (:jobs) ORDER BY j.id
    ON CONFLICT DO NOTHING
""").bindparams(bindparam("jobs", type_=ARRAY(Uuid)))

# A job that was swept since has left no attempt.
_LIST = text("""
    SELECT q.cluster, q.worker, q.incarnation, min(q.pool) AS pool, max(q.at) AS at,
           jsonb_agg(jsonb_build_object('job_id', q.job_id, 'tenant', q.tenant, 'code', a.code, 'message', a.message)
                     ORDER BY a.ended_at, q.job_id) AS jobs
    FROM quarantines AS q LEFT JOIN LATERAL (
        SELECT failure ->> 'code' AS code, failure ->> 'message' AS message, ended_at FROM attempts
        WHERE job_id = q.job_id AND cluster = q.cluster AND worker = q.worker AND incarnation = q.incarnation
        ORDER BY number DESC LIMIT 1) AS a ON true
    WHERE CAST(:pool AS text) IS NULL OR q.pool = :pool
    GROUP BY q.cluster, q.worker, q.incarnation ORDER BY max(q.at) DESC, q.cluster, q.worker LIMIT :n
""")
_PRUNE = text("DELETE FROM quarantines WHERE at < cogmill_now() - make_interval(secs => :keep_s) RETURNING 1")


class Quarantines(Part):
    async def record_quarantine(self, cluster: str, worker: WorkerRef, pool: str, jobs: Collection[UUID]) -> None:
        where = {"cluster": cluster, "worker": worker.name, "incarnation": worker.incarnation, "pool": pool}
        await self._database.fetch(_RECORD, {**where, "jobs": list(jobs)})

    async def list_quarantines(self, *, pool: str | None, limit: int) -> list[Quarantine]:
        found = await self._database.fetch(_LIST, {"pool": pool, "n": limit})
        return [
            Quarantine(
                cluster=row.cluster,
                worker=row.worker,
                incarnation=row.incarnation,
                pool=row.pool,
                at=row.at,
                jobs=[
                    QuarantinedJob(
                        id=public_id(UUID(job["job_id"])),
                        tenant=job["tenant"],
                        code=job["code"],
                        message=job["message"],
                    )
                    for job in row.jobs
                ],
            )
            for row in found
        ]

    async def prune_quarantines(self, *, keep_s: float) -> int:
        return len(await self._database.fetch(_PRUNE, {"keep_s": keep_s}))
