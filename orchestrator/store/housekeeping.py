"""What may be deleted and when: objects first, rows once their objects are gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.ports import Sweep
from orchestrator.store.part import Part

# The first arm lists tombstones, the second what is old, the third what losing claims may have left, the fourth what
# has checkpoints. What is to be remembered keeps the winner's prefix, or prefix 0, which no claim ever has: so does,
# for a while, the tombstone of a job whose claims may still be uploading, or what comes late would have no row that
# leads to it.
_TO_SWEEP = text("""
    SELECT * FROM (
        (SELECT id, CASE WHEN (claims > 1 OR claims = 1 AND state <> 'succeeded')
                         AND finished_at > cogmill_now() - make_interval(secs => :losers_after_s) THEN 0 END AS keep
         FROM jobs
         WHERE deleted_at IS NOT NULL AND finished_at IS NOT NULL
           AND (swept_at IS NULL OR finished_at <= cogmill_now() - make_interval(secs => :losers_after_s))
         ORDER BY deleted_at LIMIT :n)
        UNION
        (SELECT id, NULL FROM jobs
         WHERE finished_at IS NOT NULL AND finished_at <= cogmill_now() - make_interval(secs => :keep_s)
         ORDER BY finished_at LIMIT :n)
        UNION
        (SELECT id, CASE WHEN state = 'succeeded' THEN claims ELSE 0 END FROM jobs
         WHERE finished_at IS NOT NULL AND swept_at IS NULL AND (claims > 1 OR claims = 1 AND state <> 'succeeded')
           AND finished_at <= cogmill_now() - make_interval(secs => :losers_after_s)
           AND finished_at > cogmill_now() - make_interval(secs => :keep_s) AND deleted_at IS NULL
         ORDER BY finished_at LIMIT :n)
        UNION
        (SELECT id, CASE WHEN state = 'succeeded' THEN claims ELSE 0 END FROM jobs
         WHERE finished_at IS NOT NULL AND checkpoint IS NOT NULL
           AND finished_at > cogmill_now() - make_interval(secs => :keep_s) AND deleted_at IS NULL
         ORDER BY finished_at LIMIT :n)
    ) AS due
    LIMIT :n
""")

_FORGET = text("""
    WITH gone AS (DELETE FROM jobs WHERE id = ANY (:ids) AND finished_at IS NOT NULL RETURNING id),
    letters AS (DELETE FROM dead_letters WHERE job_id IN (SELECT id FROM gone)),
    opinions AS (DELETE FROM reviews WHERE campaign IS NULL AND job_id IN (SELECT id FROM gone)),
    words AS (DELETE FROM review_entries WHERE campaign IS NULL AND job_id IN (SELECT id FROM gone))
    DELETE FROM attempts WHERE job_id IN (SELECT id FROM gone)
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)))

# A job that was swept for its checkpoints comes again for what its losing claims may be uploading still.
_REMEMBER = text("""
    UPDATE jobs SET checkpoint = NULL, swept_at = CASE WHEN checkpoint IS NULL THEN cogmill_now() ELSE swept_at END
    WHERE id = ANY (:ids) AND finished_at IS NOT NULL
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)))

_PRUNE_OUTBOX = text("""
    DELETE FROM outbox WHERE at < cogmill_now() - make_interval(secs => :keep_s) RETURNING 1
""")

# A dead incarnation is remembered for as long as anybody could still speak for it, and while a claim names it.
_PRUNE_WORKERS = text("""
    DELETE FROM workers AS w
    WHERE NOT alive AND beat_at < cogmill_now() - make_interval(secs => :keep_s)
      AND NOT EXISTS (SELECT FROM jobs AS j WHERE j.state = 'running' AND j.cluster = w.cluster
                      AND j.worker = w.name AND j.incarnation = w.incarnation)
    RETURNING 1
""")

# Where clusters have rows, one that has none and no worker has ended, and nobody obeys there any more.
_PRUNE_ORDERS = text("""
    DELETE FROM worker_orders AS o
    WHERE o.asked_at < cogmill_now() - make_interval(secs => :keep_s) AND EXISTS (SELECT FROM ray_clusters)
      AND NOT EXISTS (SELECT FROM ray_clusters AS c WHERE c.name = o.cluster)
      AND NOT EXISTS (SELECT FROM workers AS w WHERE w.cluster = o.cluster AND w.alive)
    RETURNING 1
""")


class Housekeeping(Part):
    async def objects_to_sweep(self, *, keep_s: float, losers_after_s: float, limit: int) -> list[Sweep]:
        due = await self._database.fetch(_TO_SWEEP, {"keep_s": keep_s, "losers_after_s": losers_after_s, "n": limit})
        return [Sweep(job_id=row.id, keep=row.keep) for row in due]

    async def swept(self, sweeps: Sequence[Sweep]) -> None:
        gone = [sweep.job_id for sweep in sweeps if sweep.keep is None]
        kept = [sweep.job_id for sweep in sweeps if sweep.keep is not None]

        async def record(connection: AsyncConnection) -> None:
            await connection.execute(_FORGET, {"ids": gone})
            await connection.execute(_REMEMBER, {"ids": kept})

        await self._database.transact(record)

    async def prune_history(self, *, keep_s: float) -> int:
        """Delete what is older than that of the outbox, of dead workers and of ended clusters' orders; how many."""
        parameters: dict[str, Any] = {"keep_s": keep_s}
        statements = (_PRUNE_OUTBOX, _PRUNE_WORKERS, _PRUNE_ORDERS)
        pruned = [await self._database.fetch(statement, parameters) for statement in statements]
        return sum(map(len, pruned))
