"""Erasures of tenants: asked for, taken round by round, finished. Each step is one transaction that may be repeated.

A step counts what it drops in the transaction that drops it, so a process that is killed loses no count of rows.
`belongings.py` says which rows are a tenant's; jobs and pictures go with their objects, by `erased_objects.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Row, Text, TextClause, bindparam, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from orchestrator.domain.audit import Action, Change
from orchestrator.ports.erasures import Erasure, Left, Round
from orchestrator.store.audit import record
from orchestrator.store.audit_sealing import blank
from orchestrator.store.belongings import LAST, OF_TENANT, ONCE_EMPTY
from orchestrator.store.erased_objects import count
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

_NEXT = text(f"""
    UPDATE erasures SET due_at = cogmill_now() + make_interval(secs => :hold_s)
    WHERE id = (SELECT id FROM erasures WHERE finished_at IS NULL AND due_at <= cogmill_now()
                ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING {", ".join(column.name for column in erasures.columns)}, cogmill_now() AS began_at
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

# Examples of what an administrator's bulk action over every tenant could not do: whose each is, only its job would say.
_UNTELL = text("UPDATE bulk_actions SET examples = '[]' WHERE tenant IS NULL AND examples <> '[]'")

_LEFT = text("""
    SELECT (SELECT count(*) FROM jobs
            WHERE tenant = :tenant AND coalesce(finished_at, 'infinity') = 'infinity') AS running,
           (SELECT min(due_at) FROM erasure_rest WHERE erasure = :erasure) AS due_at
""")
_REST = text("""
    UPDATE erasures SET due_at = cogmill_now() + make_interval(secs => :for_s), waits_for = :waits_for
    WHERE id = :erasure AND finished_at IS NULL
""").bindparams(bindparam("waits_for", type_=Text))
# Who has the name next must not sign with what its last owner knows (`cogmill_new_secret`, of the migration 0026).
_REMEMBER = text("""
    UPDATE erasures SET secret_generation = greatest(
        secret_generation, coalesce((SELECT secret_generation FROM tenants WHERE name = :tenant), 1))
    WHERE id = :id
""")
_KEEP_USAGE = text("""
    UPDATE usage SET tenant = :nobody, campaign = NULL, job_id = '00000000-0000-0000-0000-000000000000'
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM usage WHERE tenant = :tenant LIMIT :n))
    RETURNING 1
""")


def _drop(table: str, which: str) -> TextClause:
    chosen = f"{which} AND {ONCE_EMPTY.get(table, 'true')}"
    # A row's place is for who may read all of it, which the maintainer's role may not of keys.
    row = "id" if table == "keys" else "ctid"
    rows = f"ARRAY(SELECT {row} FROM {table} WHERE {chosen} LIMIT :n)"
    return text(f"DELETE FROM {table} WHERE {row} = ANY ({rows}) RETURNING 1")


_DROPS = {table: _drop(table, which) for table, which in (OF_TENANT | LAST).items()}
# As with `ended_jobs`, each arm has its index; attempts go with their jobs.
_ANY_LEFT = text(
    "SELECT "
    + " OR ".join(f"EXISTS (SELECT FROM {table} WHERE {which})" for table, which in OF_TENANT.items())
    + """
       OR EXISTS (SELECT FROM jobs WHERE tenant = :tenant AND deleted_at IS NULL)
       OR EXISTS (SELECT FROM jobs WHERE tenant = :tenant AND deleted_at IS NOT NULL AND finished_at IS NOT NULL)
       OR EXISTS (SELECT FROM jobs WHERE tenant = :tenant AND coalesce(finished_at, 'infinity') = 'infinity')
    """
)


class Erasures(Part):
    async def request_erasure(self, tenant: str, *, by: str, keep_usage: bool) -> Erasure | None:
        asked = {"id": f"erasure_{uuid7().hex}", "tenant": tenant, "keep_usage": keep_usage, "by": by}

        async def request(connection: AsyncConnection) -> Erasure | None:
            if not await connection.scalar(_KNOWN, {"tenant": tenant}):
                return None
            if await connection.scalar(_BEGIN, asked) is not None:
                for statement in _CLOSE:
                    await connection.execute(statement, {"tenant": tenant})
                told = {"erasure": asked["id"], "keep_usage": keep_usage}
                of = f"tenant:{tenant}"
                await record(connection, Change(action=Action.TENANT_ERASE, object=of, tenant=tenant, after=told))
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
            await count(connection, round_, **counts)
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
            await connection.execute(_REMEMBER, {"id": round_.erasure.id, "tenant": round_.tenant})
            counts = {table: await _erase(connection, table, round_, _CHUNK) for table in LAST}
            await count(connection, round_, **counts)
            if _CHUNK in counts.values():  # there may be more: another round goes on
                return None
            await connection.execute(_UNTELL)
            # Behind the tenant's row: whoever was changing it has recorded that by now.
            await count(connection, round_, audit_blanked=await blank(connection, round_.tenant, round_.erasure.id))
            found = await connection.execute(select(erasures).where(erasures.c.id == round_.erasure.id))
            return _erasure(found.one())

        return await self._database.transact(close)

    async def finish_erasure(self, erasure_id: str, *, finished_at: datetime, receipt: str) -> None:
        done = update(erasures).where(erasures.c.id == erasure_id, erasures.c.finished_at.is_(None))
        values = {"finished_at": finished_at, "receipt": receipt, "tenant": None, "waits_for": None}
        await self._database.fetch(done.values(values))


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
