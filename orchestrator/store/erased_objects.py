"""What goes with objects when a tenant is erased: its jobs, what came late of them, and its pictures.

Pictures are shared by content. One of the erased tenant's is given up as the sweeper of `inputs.py` gives up what is
idle, only at once: from then on nobody begins to use it, and whoever brings the same picture uploads an object of its
own. Its object goes `grace_s` later, and only if no job has that content then: whoever had begun to use it has its job
by that time.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ARRAY, Text, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.ports.erasures import Round
from orchestrator.store.belongings import OF_JOBS
from orchestrator.store.part import Part

# Two arms, each of which has an index that fits.
_ENDED = text("""
    (SELECT id FROM jobs WHERE tenant = :tenant AND deleted_at IS NULL AND finished_at IS NOT NULL
     ORDER BY id LIMIT :n)
    UNION ALL
    (SELECT id FROM jobs WHERE tenant = :tenant AND deleted_at IS NOT NULL AND finished_at IS NOT NULL
     ORDER BY deleted_at LIMIT :n)
    LIMIT :n
""")
_FORGET = text("""
    WITH gone AS MATERIALIZED (
        DELETE FROM jobs WHERE id = ANY (:ids) AND tenant = :tenant AND finished_at IS NOT NULL
        RETURNING id, claims, finished_at, input
    ), ended AS (
        DELETE FROM attempts WHERE job_id IN (SELECT id FROM gone) RETURNING 1
    ), looked_after AS (
        DELETE FROM dead_letters WHERE job_id IN (SELECT id FROM gone) RETURNING 1
    ), late AS (
        INSERT INTO erasure_rest (erasure, kind, subject, due_at)
        SELECT :erasure, 'job', id::text, finished_at + make_interval(secs => :late_s) FROM gone
        WHERE claims > 0 AND finished_at > cogmill_now() - make_interval(secs => :late_s)
        ON CONFLICT DO NOTHING
    )
    SELECT (SELECT count(*) FROM gone) AS jobs, (SELECT count(*) FROM ended) AS attempts,
           (SELECT count(*) FROM looked_after) AS dead_letters,
           (SELECT array_agg(DISTINCT input) FROM gone WHERE input IS NOT NULL) AS contents
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)))
# A statement of its own, which sees that the jobs are gone.
_GIVE_UP = text("""
    WITH had AS MATERIALIZED (
        UPDATE inputs AS i
        SET dying_at = CASE WHEN dying_at IS NULL
                             AND NOT EXISTS (SELECT FROM jobs WHERE jobs.input = i.sha256) THEN cogmill_now()
                       ELSE dying_at END
        WHERE sha256 = ANY (:contents)
        RETURNING key
    )
    INSERT INTO erasure_rest (erasure, kind, subject, due_at)
    SELECT :erasure, 'picture', key, cogmill_now() + make_interval(secs => :grace_s) FROM had
    ON CONFLICT (erasure, kind, subject) DO UPDATE SET due_at = excluded.due_at
""").bindparams(bindparam("contents", type_=ARRAY(Text)))

_LATE = text("""
    SELECT subject FROM erasure_rest
    WHERE erasure = :erasure AND kind = 'job' AND due_at <= cogmill_now() ORDER BY subject LIMIT :n
""")
_DROP = text("""
    DELETE FROM erasure_rest WHERE erasure = :erasure AND kind = :kind AND subject = ANY (:subjects) RETURNING 1
""").bindparams(bindparam("subjects", type_=ARRAY(Text)))

# Of what is due: what is gone, by whichever sweep, and what jobs of others have, which stays theirs.
_SETTLED = text("""
    WITH settled AS (
        DELETE FROM erasure_rest AS r
        WHERE erasure = :erasure AND kind = 'picture' AND due_at <= cogmill_now()
          AND (NOT EXISTS (SELECT FROM inputs AS i WHERE i.key = r.subject)
               OR EXISTS (SELECT FROM inputs AS i JOIN jobs AS j ON j.input = i.sha256 AND j.tenant <> :tenant
                          WHERE i.key = r.subject))
        RETURNING EXISTS (SELECT FROM inputs AS i WHERE i.key = r.subject) AS shared
    )
    SELECT count(*) FILTER (WHERE shared) AS shared, count(*) FILTER (WHERE NOT shared) AS gone FROM settled
""")
# And those that others had at first, and have not any more.
_FREED = text("""
    SELECT array_agg(i.sha256) FROM erasure_rest AS r
    JOIN inputs AS i ON i.key = r.subject AND i.dying_at IS NULL
    WHERE r.erasure = :erasure AND r.kind = 'picture' AND r.due_at <= cogmill_now()
      AND NOT EXISTS (SELECT FROM jobs WHERE jobs.input = i.sha256)
""")
_DYING = text("""
    SELECT r.subject FROM erasure_rest AS r
    JOIN inputs AS i ON i.key = r.subject AND i.dying_at IS NOT NULL
    WHERE r.erasure = :erasure AND r.kind = 'picture' AND r.due_at <= cogmill_now()
      AND NOT EXISTS (SELECT FROM jobs WHERE jobs.input = i.sha256)
    ORDER BY r.subject LIMIT :n
""")
_PICTURES_GONE = text("""
    DELETE FROM inputs WHERE key = ANY (:subjects) AND dying_at IS NOT NULL
""").bindparams(bindparam("subjects", type_=ARRAY(Text)))

_COUNT = text("""
    UPDATE erasures SET erased = erased || coalesce((
        SELECT jsonb_object_agg(key, coalesce((erased ->> key)::bigint, 0) + value::bigint)
        FROM jsonb_each_text(:counts) WHERE value::bigint > 0), '{}')
    WHERE id = :erasure
""").bindparams(bindparam("counts", type_=JSONB))


class AgainKind(StrEnum):
    """What an erasure comes back to."""

    JOB = "job"
    PICTURE = "picture"


class ErasedObjects(Part):
    async def ended_jobs(self, round_: Round, *, limit: int) -> list[UUID]:
        return [row.id for row in await self._database.fetch(_ENDED, {"tenant": round_.tenant, "n": limit})]

    async def forget_jobs(
        self, round_: Round, ids: Sequence[UUID], *, objects: int, size: int, late_s: float, grace_s: float
    ) -> int:
        of = {"erasure": round_.erasure.id}

        async def forget(connection: AsyncConnection) -> int:
            which = {**of, "tenant": round_.tenant, "ids": list(ids), "late_s": late_s}
            gone = (await connection.execute(_FORGET, which)).one()
            if gone.contents:
                await connection.execute(_GIVE_UP, {**of, "contents": gone.contents, "grace_s": grace_s})
            rows = {name: getattr(gone, name) for name in OF_JOBS}
            await count(connection, round_, **rows, objects=objects, bytes=size)
            return int(gone.jobs)

        return await self._database.transact(forget)

    async def late_jobs(self, round_: Round, *, limit: int) -> list[UUID]:
        found = await self._database.fetch(_LATE, {"erasure": round_.erasure.id, "n": limit})
        return [UUID(row.subject) for row in found]

    async def late_jobs_swept(self, round_: Round, ids: Sequence[UUID], *, objects: int, size: int) -> None:
        async def drop(connection: AsyncConnection) -> None:
            await _not_again(connection, round_, AgainKind.JOB, [str(job_id) for job_id in ids])
            await count(connection, round_, objects=objects, bytes=size)

        await self._database.transact(drop)

    async def pictures_due(self, round_: Round, *, grace_s: float, limit: int) -> list[str]:
        of = {"erasure": round_.erasure.id}

        async def settle(connection: AsyncConnection) -> list[str]:
            settled = (await connection.execute(_SETTLED, {**of, "tenant": round_.tenant})).one()
            await count(connection, round_, pictures=settled.gone, pictures_of_others_too=settled.shared)
            if freed := await connection.scalar(_FREED, of):
                await connection.execute(_GIVE_UP, {**of, "contents": freed, "grace_s": grace_s})
            return list(await connection.scalars(_DYING, {**of, "n": limit}))

        return await self._database.transact(settle)

    async def pictures_swept(self, round_: Round, keys: Sequence[str], *, objects: int, size: int) -> None:
        async def drop(connection: AsyncConnection) -> None:
            await connection.execute(_PICTURES_GONE, {"subjects": list(keys)})
            await _not_again(connection, round_, AgainKind.PICTURE, keys)
            await count(connection, round_, pictures=len(keys), objects=objects, bytes=size)

        await self._database.transact(drop)

    async def objects_erased(self, round_: Round, *, objects: int, size: int) -> None:
        async def note(connection: AsyncConnection) -> None:
            await count(connection, round_, objects=objects, bytes=size)

        await self._database.transact(note)


async def count(connection: AsyncConnection, round_: Round, **counts: int) -> None:
    """Note what is gone, in the transaction that drops it."""
    if any(counts.values()):
        await connection.execute(_COUNT, {"erasure": round_.erasure.id, "counts": counts})


async def _not_again(connection: AsyncConnection, round_: Round, kind: AgainKind, subjects: Sequence[str]) -> None:
    which = {"erasure": round_.erasure.id, "kind": kind, "subjects": list(subjects)}
    await connection.execute(_DROP, which)
