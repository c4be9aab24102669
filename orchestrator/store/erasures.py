"""Erasures of tenants: asked for, taken round by round, finished. Each step is one transaction that may be repeated.

A step counts what it drops in the transaction that drops it, so a process that is killed loses no count of rows.
`belongings.py` says which rows are a tenant's.

Pictures are shared by content. One of the erased tenant's is given up as the sweeper of `inputs.py` gives up what is
idle, only at once: from then on nobody begins to use it, and whoever brings the same picture uploads an object of its
own. Its object goes `grace_s` later, and only if no job has that content then: whoever had begun to use it has its job
by that time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, Row, Text, TextClause, Uuid, bindparam, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from orchestrator.ports.erasures import Erasure, Left, Round
from orchestrator.store.belongings import LAST, OF_JOBS, OF_TENANT, ONCE_EMPTY
from orchestrator.store.part import Part
from orchestrator.store.tables import erasures

# A name that no tenant can have.
_NOBODY = "erased:"

_KNOWN = text("""
    SELECT EXISTS (SELECT FROM tenants WHERE name = :tenant) OR EXISTS (SELECT FROM keys WHERE tenant = :tenant)
           OR EXISTS (SELECT FROM jobs WHERE tenant = :tenant) OR EXISTS (SELECT FROM files WHERE tenant = :tenant)
           OR EXISTS (SELECT FROM campaigns WHERE tenant = :tenant) OR EXISTS (SELECT FROM usage WHERE tenant = :tenant)
           OR EXISTS (SELECT FROM batches WHERE tenant = :tenant)
""")
_BEGIN = text("""
    INSERT INTO erasures (id, tenant, keep_usage, requested_by) VALUES (:id, :tenant, :keep_usage, :by)
    ON CONFLICT (tenant) WHERE finished_at IS NULL DO NOTHING
    RETURNING id
""").bindparams(bindparam("keep_usage", type_=Boolean))
# With it, not after it: no loop takes them further, and none of the release before stumbles over the fence.
_CLOSE = (
    text("UPDATE keys SET revoked_at = cogmill_now() WHERE tenant = :tenant AND revoked_at IS NULL"),
    text("""
        UPDATE campaigns
        SET state = CASE WHEN ended_at IS NULL THEN 'cancelled' ELSE state END,
            pauses = '{}', ended_at = coalesce(ended_at, cogmill_now()), version = version + 1, next_run_at = NULL,
            manifest_due = false, writer = NULL, written_until = NULL, lease = NULL, leased_until = NULL
        WHERE tenant = :tenant AND (ended_at IS NULL OR next_run_at IS NOT NULL)
    """),
    text("""
        UPDATE batches SET status = 'cancelled', cancelled_at = cogmill_now(), ended_at = cogmill_now(), lease = NULL,
                           leased_until = NULL
        WHERE tenant = :tenant AND ended_at IS NULL
    """),
)

_NEXT = text("""
    UPDATE erasures SET due_at = cogmill_now() + make_interval(secs => :hold_s)
    WHERE id = (SELECT id FROM erasures WHERE finished_at IS NULL AND due_at <= cogmill_now()
                ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING *, cogmill_now() AS began_at
""")

# As a cancel of its owner, but nobody is told.
_STOP = text("""
    UPDATE jobs
    SET cancel_requested_at = coalesce(cancel_requested_at, cogmill_now()), ready = false,
        state = CASE WHEN state = 'running' THEN state ELSE 'cancelled' END,
        finished_at = CASE WHEN state <> 'running' THEN cogmill_now() END
    WHERE id = ANY (ARRAY(
        SELECT id FROM jobs
        WHERE tenant = :tenant AND coalesce(finished_at, 'infinity') = 'infinity'
          AND (state <> 'running' OR cancel_requested_at IS NULL)
        ORDER BY id LIMIT :n FOR UPDATE))
    RETURNING 1
""")
_CHUNK = 1_000

_ENDED = text("SELECT id FROM jobs WHERE tenant = :tenant AND finished_at IS NOT NULL ORDER BY id LIMIT :n")
_FORGET = text("""
    WITH gone AS MATERIALIZED (
        DELETE FROM jobs WHERE id = ANY (:ids) AND tenant = :tenant AND finished_at IS NOT NULL
        RETURNING id, claims, finished_at, input
    ), ended AS (
        DELETE FROM attempts WHERE job_id IN (SELECT id FROM gone) RETURNING 1
    ), late AS (
        INSERT INTO erasure_rest (erasure, kind, subject, due_at)
        SELECT :erasure, 'job', id::text, finished_at + make_interval(secs => :late_s) FROM gone
        WHERE claims > 0 AND finished_at > cogmill_now() - make_interval(secs => :late_s)
        ON CONFLICT DO NOTHING
    )
    SELECT (SELECT count(*) FROM gone) AS jobs, (SELECT count(*) FROM ended) AS attempts,
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

_LEFT = text("""
    SELECT (SELECT count(*) FROM jobs
            WHERE tenant = :tenant AND coalesce(finished_at, 'infinity') = 'infinity') AS running,
           (SELECT min(due_at) FROM erasure_rest WHERE erasure = :erasure) AS due_at
""")
_REST = text("""
    UPDATE erasures SET due_at = cogmill_now() + make_interval(secs => :for_s), waits_for = :waits_for
    WHERE id = :erasure AND finished_at IS NULL
""").bindparams(bindparam("waits_for", type_=Text))
_COUNT = text("""
    UPDATE erasures SET erased = erased || coalesce((
        SELECT jsonb_object_agg(key, coalesce((erased ->> key)::bigint, 0) + value::bigint)
        FROM jsonb_each_text(:counts) WHERE value::bigint > 0), '{}')
    WHERE id = :erasure
""").bindparams(bindparam("counts", type_=JSONB))

_KEEP_USAGE = text("""
    UPDATE usage SET tenant = :nobody, campaign = NULL, job_id = '00000000-0000-0000-0000-000000000000'
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM usage WHERE tenant = :tenant LIMIT :n))
    RETURNING 1
""")


def _drop(table: str, which: str) -> TextClause:
    chosen = f"{which} AND {ONCE_EMPTY.get(table, 'true')}"
    rows = f"ARRAY(SELECT ctid FROM {table} WHERE {chosen} LIMIT :n)"
    return text(f"DELETE FROM {table} WHERE ctid = ANY ({rows}) RETURNING 1")


_DROPS = {table: _drop(table, which) for table, which in (OF_TENANT | LAST).items()}
_ANY_LEFT = text(
    "SELECT "
    + " OR ".join(f"EXISTS (SELECT FROM {table} WHERE {which})" for table, which in (OF_TENANT | OF_JOBS).items())
)


class AgainKind(StrEnum):
    """What an erasure comes back to."""

    JOB = "job"
    PICTURE = "picture"


class Erasures(Part):
    async def request_erasure(self, tenant: str, *, by: str, keep_usage: bool) -> Erasure | None:
        asked = {"id": f"erasure_{uuid7().hex}", "tenant": tenant, "keep_usage": keep_usage, "by": by}

        async def request(connection: AsyncConnection) -> Erasure | None:
            if not await connection.scalar(_KNOWN, {"tenant": tenant}):
                return None
            if await connection.scalar(_BEGIN, asked) is not None:
                for statement in _CLOSE:
                    await connection.execute(statement, {"tenant": tenant})
            going = select(erasures).where(erasures.c.tenant == tenant, erasures.c.finished_at.is_(None))
            return _erasure((await connection.execute(going)).one())

        return await self._database.transact(request)

    async def get_erasure(self, erasure_id: str) -> Erasure | None:
        found = await self._database.fetch(select(erasures).where(erasures.c.id == erasure_id))
        return _erasure(found[0]) if found else None

    async def list_erasures(self, *, limit: int, after: str | None = None) -> Sequence[Erasure]:
        query = select(erasures).order_by(erasures.c.id.desc()).limit(limit)
        if after is not None:
            query = query.where(erasures.c.id < after)
        return [_erasure(row) for row in await self._database.fetch(query)]

    async def next_erasure(self, *, hold_s: float) -> Round | None:
        found = await self._database.fetch(_NEXT, {"hold_s": hold_s})
        return Round(erasure=_erasure(found[0]), tenant=found[0].tenant, began_at=found[0].began_at) if found else None

    async def stop_work(self, round_: Round) -> int:
        stopped = len(await self._database.fetch(_STOP, {"tenant": round_.tenant, "n": _CHUNK}))
        if stopped:
            self._notifier.announce()
        return stopped

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
            await _count(connection, round_, jobs=gone.jobs, attempts=gone.attempts, objects=objects, bytes=size)
            return int(gone.jobs)

        return await self._database.transact(forget)

    async def late_jobs(self, round_: Round, *, limit: int) -> list[UUID]:
        found = await self._database.fetch(_LATE, {"erasure": round_.erasure.id, "n": limit})
        return [UUID(row.subject) for row in found]

    async def late_jobs_swept(self, round_: Round, ids: Sequence[UUID], *, objects: int, size: int) -> None:
        async def drop(connection: AsyncConnection) -> None:
            await _not_again(connection, round_, AgainKind.JOB, [str(job_id) for job_id in ids])
            await _count(connection, round_, objects=objects, bytes=size)

        await self._database.transact(drop)

    async def pictures_due(self, round_: Round, *, grace_s: float, limit: int) -> list[str]:
        of = {"erasure": round_.erasure.id}

        async def settle(connection: AsyncConnection) -> list[str]:
            settled = (await connection.execute(_SETTLED, {**of, "tenant": round_.tenant})).one()
            await _count(connection, round_, pictures=settled.gone, pictures_of_others_too=settled.shared)
            if freed := await connection.scalar(_FREED, of):
                await connection.execute(_GIVE_UP, {**of, "contents": freed, "grace_s": grace_s})
            return list(await connection.scalars(_DYING, {**of, "n": limit}))

        return await self._database.transact(settle)

    async def pictures_swept(self, round_: Round, keys: Sequence[str], *, objects: int, size: int) -> None:
        async def drop(connection: AsyncConnection) -> None:
            await connection.execute(_PICTURES_GONE, {"subjects": list(keys)})
            await _not_again(connection, round_, AgainKind.PICTURE, keys)
            await _count(connection, round_, pictures=len(keys), objects=objects, bytes=size)

        await self._database.transact(drop)

    async def objects_erased(self, round_: Round, *, objects: int, size: int) -> None:
        async def note(connection: AsyncConnection) -> None:
            await _count(connection, round_, objects=objects, bytes=size)

        await self._database.transact(note)

    async def erase_rows(self, round_: Round, *, limit: int) -> int:
        async def erase(connection: AsyncConnection) -> int:
            counts: dict[str, int] = {}
            left = limit
            for table in OF_TENANT:
                kept = table == "usage" and round_.erasure.keep_usage
                done = await _erase(connection, table, round_, left)
                counts["usage_unnamed" if kept else table] = done
                left -= done
                if not left:
                    break
            await _count(connection, round_, **counts)
            return limit - left

        return await self._database.transact(erase)

    async def left(self, round_: Round) -> Left:
        (row,) = await self._database.fetch(_LEFT, {"tenant": round_.tenant, "erasure": round_.erasure.id})
        return Left(running=row.running, due_at=row.due_at)

    async def rest(self, round_: Round, *, for_s: float, waits_for: str | None) -> None:
        await self._database.fetch(_REST, {"erasure": round_.erasure.id, "for_s": for_s, "waits_for": waits_for})

    async def close_tenant(self, round_: Round) -> Erasure | None:
        async def close(connection: AsyncConnection) -> Erasure | None:
            if await connection.scalar(_ANY_LEFT, {"tenant": round_.tenant}):
                return None
            counts = {table: await _erase(connection, table, round_, _CHUNK) for table in LAST}
            await _count(connection, round_, **counts)
            if _CHUNK in counts.values():  # there may be more: another round goes on
                return None
            found = await connection.execute(select(erasures).where(erasures.c.id == round_.erasure.id))
            return _erasure(found.one())

        return await self._database.transact(close)

    async def finish_erasure(self, erasure_id: str, *, finished_at: datetime, receipt: str) -> None:
        done = update(erasures).where(erasures.c.id == erasure_id, erasures.c.finished_at.is_(None))
        values = {"finished_at": finished_at, "receipt": receipt, "tenant": None, "waits_for": None}
        await self._database.fetch(done.values(values))


async def _count(connection: AsyncConnection, round_: Round, **counts: int) -> None:
    """Note what is gone, in the transaction that drops it."""
    if any(counts.values()):
        await connection.execute(_COUNT, {"erasure": round_.erasure.id, "counts": counts})


async def _not_again(connection: AsyncConnection, round_: Round, kind: AgainKind, subjects: Sequence[str]) -> None:
    which = {"erasure": round_.erasure.id, "kind": kind, "subjects": list(subjects)}
    await connection.execute(_DROP, which)


async def _erase(connection: AsyncConnection, table: str, round_: Round, limit: int) -> int:
    of: dict[str, Any] = {"tenant": round_.tenant, "n": limit}
    if table == "usage" and round_.erasure.keep_usage:
        nobody = f"{_NOBODY}{round_.erasure.id}"
        return len((await connection.execute(_KEEP_USAGE, {**of, "nobody": nobody})).all())
    return len((await connection.execute(_DROPS[table], of)).all())


def _erasure(row: Row[Any]) -> Erasure:
    return Erasure(
        id=row.id,
        tenant=row.tenant,
        keep_usage=row.keep_usage,
        requested_by=row.requested_by,
        requested_at=row.requested_at,
        erased=row.erased,
        waits_for=row.waits_for,
        finished_at=row.finished_at,
        receipt=row.receipt,
    )
