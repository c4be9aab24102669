"""Batches: created, leased, moved on and ended; every write of who works on one is filtered on the lease."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, bindparam, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.batch import Batch, BatchStatus, LineError
from orchestrator.domain.errors import LeaseLost
from orchestrator.ports.batches import BatchEnd, BatchPage, Hold, NewBatch
from orchestrator.ports.files import NewFile
from orchestrator.store.files import inserted
from orchestrator.store.parked import ParkedKind
from orchestrator.store.part import Part
from orchestrator.store.tables import batches, files, outbox, parked
from orchestrator.telemetry import aside

_NOW = func.cogmill_now()

# First a batch of whoever is worked for least: one tenant's many slow batches must not be all that is worked on.
_LEASE = text(f"""
    WITH held AS MATERIALIZED (
        SELECT tenant, count(*) AS n FROM batches
        WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling')
          AND lease IS NOT NULL AND leased_until > cogmill_now()
        GROUP BY tenant
    ), due AS (
        SELECT id FROM batches AS b
        WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling')
          AND (leased_until IS NULL OR leased_until <= cogmill_now())
        ORDER BY coalesce((SELECT n FROM held WHERE held.tenant = b.tenant), 0), leased_until NULLS FIRST, created_at
        LIMIT 1 FOR UPDATE OF b SKIP LOCKED
    )
    UPDATE batches AS b SET lease = :token, leased_until = cogmill_now() + make_interval(secs => :lease_s)
    FROM due WHERE b.id = due.id
    RETURNING {", ".join(f"b.{column.name}" for column in batches.c)}, b.expires_at <= cogmill_now() AS overdue
""")

# Seen at once, unless somebody works on it: then by the next one who leases it.
_CANCEL = text(f"""
    UPDATE batches SET status = 'cancelling', cancelling_at = cogmill_now(),
                       leased_until = CASE WHEN lease IS NOT NULL THEN leased_until END
    WHERE id = :id AND tenant = :tenant AND status IN ('validating', 'in_progress')
    RETURNING {", ".join(column.name for column in batches.c)}
""")

# Until it expires, when it is ended; what breaks that, too, stays until somebody resumes it.
_PARK = text("""
    WITH rested AS (
        UPDATE batches SET lease = NULL,
               leased_until = CASE WHEN expires_at > cogmill_now() THEN expires_at ELSE 'infinity' END
        WHERE id = :id AND lease = :token
        RETURNING id, tenant, status
    )
    INSERT INTO parked (kind, subject, tenant, error, detail)
    SELECT 'batch', id, tenant, :error, jsonb_build_object('status', status) FROM rested
    ON CONFLICT (kind, subject) DO UPDATE SET error = excluded.error, detail = excluded.detail, at = excluded.at
""")

_WITH_ITEMS = text("""
    SELECT id, tenant FROM batches AS b
    WHERE ended_at <= cogmill_now() - make_interval(secs => :older_than_s)
      AND EXISTS (SELECT FROM batch_items AS i WHERE i.batch_id = b.id)
    ORDER BY ended_at LIMIT :n
""")

_PRUNE = text("""
    DELETE FROM batches AS b
    WHERE ended_at <= cogmill_now() - make_interval(secs => :keep_s)
      AND NOT EXISTS (SELECT FROM batch_items AS i WHERE i.batch_id = b.id)
    RETURNING 1
""")


class Batches(Part):
    async def add_batch(self, batch: NewBatch) -> Batch:
        add = insert(batches).values(
            id=batch.id,
            tenant=batch.tenant,
            dialect=batch.dialect,
            endpoint=batch.endpoint,
            completion_window=batch.completion_window,
            expires_at=_NOW + func.make_interval(0, 0, 0, 0, 0, 0, batch.window_s),
            input_file=batch.input_file,
            delete_input=batch.delete_input,
            output_expires_s=batch.output_lifetime_s,
            metadata=bindparam("kept", batch.metadata, type_=JSONB(none_as_null=True)),
            status=BatchStatus.VALIDATING,
        )
        return _batch((await self._database.fetch(add.returning(*batches.c)))[0])

    async def get_batch(self, batch_id: str, tenant: str) -> Batch | None:
        query = select(batches).where(batches.c.id == batch_id, batches.c.tenant == tenant)
        found = await self._database.fetch(query)
        return _batch(found[0]) if found else None

    async def list_batches(self, tenant: str, *, limit: int, after: str | None = None) -> BatchPage:
        query = select(batches).where(batches.c.tenant == tenant)
        if after is not None:
            query = query.where(batches.c.id < after)
        found = await self._database.fetch(query.order_by(batches.c.id.desc()).limit(limit + 1))
        return BatchPage(batches=[_batch(row) for row in found[:limit]], has_more=len(found) > limit)

    async def cancel_batch(self, batch_id: str, tenant: str) -> Batch | None:
        changed = await self._database.fetch(_CANCEL, {"id": batch_id, "tenant": tenant})
        return _batch(changed[0]) if changed else await self.get_batch(batch_id, tenant)

    async def lease_batch(self, lease_s: float) -> Hold | None:
        while True:
            token = uuid4()
            leased = await self._database.fetch(_LEASE, {"token": token, "lease_s": lease_s})
            if not leased:
                return None
            try:
                return Hold(batch=_batch(leased[0]), token=token, overdue=leased[0].overdue)
            except Exception as error:  # a row that cannot be read is parked, and the next one is looked at
                await self._park(leased[0].id, token, aside.put("batches", error, batch=leased[0].id))

    async def park_batch(self, hold: Hold, error: str) -> None:
        await self._park(hold.batch.id, hold.token, error)

    async def _park(self, batch_id: str, token: UUID, error: str) -> None:
        await self._database.fetch(_PARK, {"id": batch_id, "token": token, "error": error})

    async def renew_batch(self, hold: Hold, lease_s: float) -> None:
        until = _NOW + func.make_interval(0, 0, 0, 0, 0, 0, lease_s)
        renew = update(batches).where(batches.c.id == hold.batch.id, batches.c.lease == hold.token)
        if not await self._database.fetch(renew.values(leased_until=until).returning(batches.c.id)):
            raise LeaseLost(f"{hold.batch.id} is held by another")

    async def release_batch(self, hold: Hold, *, pause_s: float) -> None:
        until = _NOW + func.make_interval(0, 0, 0, 0, 0, 0, pause_s)
        release = update(batches).where(batches.c.id == hold.batch.id, batches.c.lease == hold.token)
        await self._database.fetch(release.values(lease=None, leased_until=until))

    async def begin_batch(self, hold: Hold, *, total: int) -> None:
        await self._move(hold, status=BatchStatus.IN_PROGRESS, in_progress_at=_NOW, total=total)

    async def finalize_batch(self, hold: Hold) -> None:
        await self._move(hold, status=BatchStatus.FINALIZING, finalizing_at=_NOW)

    async def end_batch(self, hold: Hold, end: BatchEnd) -> None:
        batch = hold.batch

        async def write(connection: AsyncConnection) -> None:
            await require(connection, hold)
            for file in filter(None, (end.output, end.error_output)):
                await connection.execute(inserted(file))
            await connection.execute(update(batches).where(batches.c.id == batch.id).values(**_last(end)))
            if batch.delete_input:
                there = files.c.id == batch.input_file, files.c.tenant == batch.tenant, files.c.deleted_at.is_(None)
                await connection.execute(update(files).where(*there).values(deleted_at=_NOW))
            await connection.execute(
                delete(parked).where(parked.c.kind == ParkedKind.BATCH, parked.c.subject == batch.id)
            )
            told = {"batch_id": batch.id, "tenant": batch.tenant, "event": f"batch.{end.status}"}
            await connection.execute(insert(outbox).values(told))

        await self._database.transact(write)

    async def ended_batches(self, *, older_than_s: float, limit: int) -> dict[str, str]:
        found = await self._database.fetch(_WITH_ITEMS, {"older_than_s": older_than_s, "n": limit})
        return {row.id: row.tenant for row in found}

    async def prune_batches(self, *, keep_s: float) -> int:
        return len(await self._database.fetch(_PRUNE, {"keep_s": keep_s}))

    async def _move(self, hold: Hold, **values: Any) -> None:
        async def write(connection: AsyncConnection) -> None:
            await require(connection, hold)
            await connection.execute(update(batches).where(batches.c.id == hold.batch.id).values(**values))

        await self._database.transact(write)


async def require(connection: AsyncConnection, hold: Hold) -> None:
    """Lock the batch's row until the transaction ends. Raises `LeaseLost` unless it is still what `hold` says."""
    held = select(batches.c.status).where(batches.c.id == hold.batch.id, batches.c.lease == hold.token)
    if (await connection.scalar(held.with_for_update())) != hold.batch.status:
        raise LeaseLost(f"{hold.batch.id} is held by another, or no longer {hold.batch.status}")


def _last(end: BatchEnd) -> dict[str, Any]:
    """The columns of a batch that has ended."""
    return {
        "status": end.status,
        f"{end.status}_at": _NOW,
        "ended_at": _NOW,
        "errors": bindparam("problems", end.errors, type_=JSONB(none_as_null=True)),
        "completed": end.completed,
        "failed": end.failed,
        "output_file": _id(end.output),
        "error_file": _id(end.error_output),
        "lease": None,
        "leased_until": None,
    }


def _id(file: NewFile | None) -> str | None:
    return None if file is None else file.id


def _batch(row: Row[Any]) -> Batch:
    errors: Sequence[dict[str, Any]] | None = row.errors
    times = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
    return Batch(
        id=row.id,
        tenant=row.tenant,
        dialect=row.dialect,
        endpoint=row.endpoint,
        completion_window=row.completion_window,
        input_file=row.input_file,
        output_file=row.output_file,
        error_file=row.error_file,
        delete_input=row.delete_input,
        output_lifetime_s=row.output_expires_s,
        status=BatchStatus(row.status),
        errors=None if errors is None else tuple(LineError(**error) for error in errors),
        metadata=row.metadata,
        total=row.total,
        completed=row.completed,
        failed=row.failed,
        created_at=row.created_at,
        expires_at=row.expires_at,
        **{f"{name}_at": getattr(row, f"{name}_at") for name in times},
    )
