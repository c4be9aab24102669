"""The requests of batches: taken in, submitted, ended. Nothing here knows what a batch is beyond who holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Integer, Row, Text, Uuid, bindparam, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.batch import BROKEN, Item, ItemError, ItemState, NewItem, Tally
from orchestrator.domain.job import Job
from orchestrator.ports.batches import Hold
from orchestrator.store import rows
from orchestrator.store.batches import require
from orchestrator.store.part import Part
from orchestrator.store.tables import batch_items, jobs
from orchestrator.telemetry import aside

_ADD = text("""
    INSERT INTO batch_items (batch_id, line, custom_id, body, job_id)
    SELECT :batch_id, * FROM unnest(:lines, :custom_ids, :bodies, :job_ids)
    ON CONFLICT (batch_id, line) DO NOTHING
""").bindparams(
    bindparam("lines", type_=ARRAY(Integer)),
    bindparam("custom_ids", type_=ARRAY(Text)),
    bindparam("bodies", type_=ARRAY(Text)),
    bindparam("job_ids", type_=ARRAY(Uuid)),
)

# A job that is gone was deleted by its owner and swept: submitted requests had one.
_SETTLE = text("""
    WITH over AS MATERIALIZED (
        SELECT i.line, j.state FROM batch_items AS i LEFT JOIN jobs AS j ON j.id = i.job_id
        WHERE i.batch_id = :batch_id AND i.state = 'submitted' AND (j.id IS NULL OR j.finished_at IS NOT NULL)
    ), ended AS (
        UPDATE batch_items AS i SET state = 'ended' FROM over WHERE i.batch_id = :batch_id AND i.line = over.line
        RETURNING over.state IS NOT DISTINCT FROM 'succeeded' AS won
    )
    UPDATE batches SET completed = completed + (SELECT count(*) FROM ended WHERE won),
                       failed = failed + (SELECT count(*) FROM ended WHERE NOT won)
    WHERE id = :batch_id
    RETURNING total, completed, failed, (SELECT count(*) FROM batch_items WHERE batch_id = :batch_id
                                         AND state = 'submitted') - (SELECT count(*) FROM ended) AS live
""")

_SUBMITTED = text("""
    UPDATE batch_items SET state = 'submitted'
    WHERE batch_id = :batch_id AND line = ANY (:lines) AND state = 'waiting'
""").bindparams(bindparam("lines", type_=ARRAY(Integer)))

_REFUSED = text("""
    WITH ended AS (
        UPDATE batch_items AS i SET state = 'ended', error = r.error FROM unnest(:lines, :errors) AS r(line, error)
        WHERE i.batch_id = :batch_id AND i.line = r.line AND i.state = 'waiting'
        RETURNING 1
    )
    UPDATE batches SET failed = failed + (SELECT count(*) FROM ended) WHERE id = :batch_id
""").bindparams(bindparam("lines", type_=ARRAY(Integer)), bindparam("errors", type_=ARRAY(JSONB)))

# A waiting request whose job is there was submitted by somebody who could not note it: that job must end too.
_DROP = text("""
    WITH dropped AS (
        UPDATE batch_items AS i
        SET error = :error,
            state = CASE WHEN i.state = 'submitted' OR EXISTS (SELECT FROM jobs AS j WHERE j.id = i.job_id)
                         THEN 'submitted' ELSE 'ended' END
        WHERE batch_id = :batch_id AND (state = 'waiting' OR state = 'submitted' AND error IS NULL)
        RETURNING i.state
    )
    UPDATE batches SET failed = failed + (SELECT count(*) FROM dropped WHERE state = 'ended') WHERE id = :batch_id
""").bindparams(bindparam("error", type_=JSONB))

_TO_CANCEL = text("""
    SELECT j.id FROM batch_items AS i JOIN jobs AS j ON j.id = i.job_id
    WHERE i.batch_id = :batch_id AND i.state = 'submitted'
      AND j.finished_at IS NULL AND j.cancel_requested_at IS NULL
""")

_LIVE = text("""
    SELECT j.id FROM batch_items AS i JOIN jobs AS j ON j.id = i.job_id
    WHERE i.batch_id = :batch_id AND j.finished_at IS NULL
""")

_PRUNE = text("""
    DELETE FROM batch_items
    WHERE batch_id = :batch_id AND line IN (
        SELECT line FROM batch_items WHERE batch_id = :batch_id ORDER BY line LIMIT :n)
    RETURNING 1
""")


class Items(Part):
    async def add_items(self, hold: Hold, items: Sequence[NewItem]) -> None:
        parameters = {
            "lines": [item.line for item in items],
            "custom_ids": [item.custom_id for item in items],
            "bodies": [item.body for item in items],
            "job_ids": [item.job_id for item in items],
        }

        async def write(connection: AsyncConnection) -> None:
            await require(connection, hold)
            await connection.execute(_ADD, {"batch_id": hold.batch.id, **parameters})

        await self._database.transact(write)

    async def settle_items(self, hold: Hold) -> Tally:
        async def write(connection: AsyncConnection) -> Tally:
            await require(connection, hold)
            row = (await connection.execute(_SETTLE, {"batch_id": hold.batch.id})).one()
            return Tally(total=row.total, completed=row.completed, failed=row.failed, live=row.live)

        return await self._database.transact(write)

    async def waiting_items(self, hold: Hold, *, limit: int) -> list[NewItem]:
        columns = batch_items.c
        query = select(columns.line, columns.custom_id, columns.body, columns.job_id)
        query = query.where(columns.batch_id == hold.batch.id, columns.state == ItemState.WAITING)
        found = await self._database.fetch(query.order_by(columns.line).limit(limit))
        return [NewItem(line=r.line, custom_id=r.custom_id, body=r.body, job_id=r.job_id) for r in found]

    async def record_items(self, hold: Hold, submitted: Sequence[int], refused: Mapping[int, ItemError]) -> None:
        async def write(connection: AsyncConnection) -> None:
            await require(connection, hold)
            await connection.execute(_SUBMITTED, {"batch_id": hold.batch.id, "lines": submitted})
            lines, errors = list(refused), list(refused.values())
            await connection.execute(_REFUSED, {"batch_id": hold.batch.id, "lines": lines, "errors": errors})

        await self._database.transact(write)

    async def drop_items(self, hold: Hold, error: ItemError) -> list[UUID]:
        async def write(connection: AsyncConnection) -> list[UUID]:
            await require(connection, hold)
            await connection.execute(_DROP, {"batch_id": hold.batch.id, "error": error})
            return [row.id for row in await connection.execute(_TO_CANCEL, {"batch_id": hold.batch.id})]

        return await self._database.transact(write)

    async def ended_items(self, hold: Hold, *, after: int, limit: int) -> list[tuple[Item, Job | None]]:
        columns = batch_items.c
        query = (
            select(
                columns.line, columns.custom_id, columns.job_id, columns.error.label("item_error"), *rows.JOB_COLUMNS
            )
            .outerjoin_from(batch_items, jobs, (jobs.c.id == columns.job_id) & jobs.c.deleted_at.is_(None))
            .where(columns.batch_id == hold.batch.id, columns.line > after)
            .order_by(columns.line)
            .limit(limit)
        )
        return [_ended(row) for row in await self._database.fetch(query)]

    async def live_jobs(self, batch_id: str) -> list[UUID]:
        return [row.id for row in await self._database.fetch(_LIVE, {"batch_id": batch_id})]

    async def prune_items(self, batch_id: str, *, limit: int) -> int:
        return len(await self._database.fetch(_PRUNE, {"batch_id": batch_id, "n": limit}))


def _ended(row: Row[Any]) -> tuple[Item, Job | None]:
    """A line and its job; what cannot be read of them ends this line alone."""
    try:
        return _item(row), rows.job(row) if row.id else None
    except Exception as error:
        aside.put("batch_lines", error, job=row.job_id.hex)
        return Item(line=row.line, custom_id=row.custom_id, job_id=row.job_id, error=BROKEN), None


def _item(row: Row[Any]) -> Item:
    error = None if row.item_error is None else ItemError(**row.item_error)
    return Item(line=row.line, custom_id=row.custom_id, job_id=row.job_id, error=error)
