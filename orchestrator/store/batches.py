"""Batches' faces: what their dialects ask for and show. Their rows are those of a campaign of the same id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, Row, Text, bindparam, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.batch import Batch, BatchStatus, LineError
from orchestrator.domain.campaign import Ask, CampaignState, Input, Kind, TemplateVersion
from orchestrator.ports.batches import BatchEnd, BatchPage, NewBatch
from orchestrator.ports.campaign_values import Hold
from orchestrator.ports.files import NewFile
from orchestrator.ports.parked import ParkedKind
from orchestrator.store import quotas
from orchestrator.store.changes import held
from orchestrator.store.files import inserted
from orchestrator.store.part import Part
from orchestrator.store.tables import batches, campaigns, files, outbox, parked
from orchestrator.telemetry import aside

_NOW = func.cogmill_now()

# A batch that the engine of campaigns has: the maintainers of the release before take what nobody has leased.
_ENGINES = {"lease": "00000000-0000-0000-0000-000000000000", "leased_until": text("'infinity'")}

_CANCEL = text(f"""
    UPDATE batches SET status = 'cancelling', cancelling_at = cogmill_now()
    WHERE id = :id AND tenant = :tenant AND status IN ('validating', 'in_progress')
    RETURNING {", ".join(column.name for column in batches.c)}
""")
# Whoever holds it finds that it has changed; else somebody looks at once.
_CANCEL_ROWS = text("""
    UPDATE campaigns SET state = 'cancelled', version = version + 1,
                         leased_until = CASE WHEN lease IS NOT NULL THEN leased_until END
    WHERE id = :id AND tenant = :tenant AND kind = 'batch' AND state IN ('ingesting', 'running')
""")

# What the release before has begun, or an API of it has made since: its requests become rows, with the jobs that they
# have. One transaction each, of a batch that nobody works on.
_FIND_OLD = text("""
    SELECT id FROM batches AS b
    WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling')
      AND (leased_until IS NULL OR leased_until <= cogmill_now())
      AND NOT EXISTS (SELECT FROM campaigns AS c WHERE c.id = b.id) AND id <> ALL (:broken)
    LIMIT 1 FOR UPDATE SKIP LOCKED
""").bindparams(bindparam("broken", type_=ARRAY(Text)))
_ADOPT = text("""
    INSERT INTO campaigns (id, kind, tenant, state, drained, ask, templates, priority, input, rows, deadline,
                           created_at)
    SELECT id, 'batch', tenant, CASE status WHEN 'validating' THEN 'ingesting' WHEN 'in_progress' THEN 'running'
                                WHEN 'finalizing' THEN 'finishing' ELSE 'cancelled' END,
           status = 'finalizing', '{}', '[{"version": 1, "prompt": ""}]', :priority,
           jsonb_build_object('source', input_file, 'key', ''),
           CASE WHEN status = 'validating' THEN 0 ELSE total END, expires_at, created_at
    FROM batches WHERE id = :id
    RETURNING number
""")
_ADOPT_ROWS = text("""
    WITH taken AS MATERIALIZED (
        SELECT *, (row_number() OVER (ORDER BY line))::int - 1 AS place FROM batch_items WHERE batch_id = :id
    ), rows AS (
        INSERT INTO campaign_rows (campaign, place, line, custom_id, body, outcome, result, pass)
        SELECT :number, place, line, custom_id, body,
               CASE WHEN i.state = 'ended' THEN CASE WHEN j.state = 'succeeded' THEN 'succeeded' ELSE 'failed' END END,
               CASE WHEN i.state = 'ended' THEN
                   jsonb_strip_nulls(jsonb_build_object('job', replace(j.id::text, '-', ''), 'error', i.error)) END,
               CASE WHEN i.state = 'ended' THEN 1 ELSE 0 END
        FROM taken AS i LEFT JOIN jobs AS j ON j.id = i.job_id
        RETURNING outcome
    ), live AS (
        INSERT INTO campaign_jobs (campaign, place, pass, ordinal, version, job_id, reserved, day)
        SELECT :number, place, 1, place, 1, job_id, 0, cogmill_now()::date
        FROM taken AS i WHERE state <> 'ended' AND EXISTS (SELECT FROM jobs AS j WHERE j.id = i.job_id)
    ), passed AS (
        INSERT INTO campaign_passes (campaign, number, kind) SELECT :number, 1, 'main' WHERE EXISTS (SELECT FROM taken)
    )
    UPDATE campaigns SET succeeded = n.succeeded, failed = n.failed
    FROM (SELECT count(*) FILTER (WHERE outcome = 'succeeded') AS succeeded,
                 count(*) FILTER (WHERE outcome = 'failed') AS failed FROM rows) AS n
    WHERE number = :number
""")
_ADOPTED = text("""
    WITH gone AS (DELETE FROM batch_items WHERE batch_id = :id)
    UPDATE batches SET lease = '00000000-0000-0000-0000-000000000000', leased_until = 'infinity' WHERE id = :id
""")


class Batches(Part):
    async def add_batch(self, batch: NewBatch, *, priority: int) -> Batch:
        async def add(connection: AsyncConnection) -> Batch:
            more = {"open_batches": 1, "waiting_rows": 1, "files": 1, "stored_bytes": 1}
            await quotas.check(connection, batch.tenant, self._defaults, **more)
            row = (await connection.execute(_face(batch).returning(*batches.c))).one()
            await connection.execute(_rows_of(batch, row.expires_at, priority))
            return batch_of(row)

        return await self._database.transact(add)

    async def get_batch(self, batch_id: str, tenant: str) -> Batch | None:
        query = select(batches).where(batches.c.id == batch_id, batches.c.tenant == tenant)
        found = await self._database.fetch(query)
        return batch_of(found[0]) if found else None

    async def list_batches(self, tenant: str, *, limit: int, after: str | None = None) -> BatchPage:
        query = select(batches).where(batches.c.tenant == tenant)
        if after is not None:
            query = query.where(batches.c.id < after)
        found = await self._database.fetch(query.order_by(batches.c.id.desc()).limit(limit + 1))
        return BatchPage(batches=[batch_of(row) for row in found[:limit]], has_more=len(found) > limit)

    async def cancel_batch(self, batch_id: str, tenant: str) -> Batch | None:
        async def cancel(connection: AsyncConnection) -> Batch | None:
            # Its rows first, as whoever works on it locks them.
            await connection.execute(_CANCEL_ROWS, {"id": batch_id, "tenant": tenant})
            row = (await connection.execute(_CANCEL, {"id": batch_id, "tenant": tenant})).one_or_none()
            return None if row is None else batch_of(row)

        return await self._database.transact(cancel) or await self.get_batch(batch_id, tenant)

    async def end_batch(self, hold: Hold, end: BatchEnd) -> None:
        batch = hold.batch
        assert batch is not None, "only a batch ends so"

        async def write(connection: AsyncConnection) -> None:
            await held(connection, hold)
            for file in filter(None, (end.output, end.error_output)):
                await connection.execute(inserted(file))
            await connection.execute(update(batches).where(batches.c.id == batch.id).values(**_last(end)))
            over = {"state": _STATES[end.status], "drained": True, "ended_at": _NOW}
            over |= {"lease": None, "leased_until": None}
            await connection.execute(update(campaigns).where(campaigns.c.id == batch.id).values(**over))
            if batch.delete_input:
                there = files.c.id == batch.input_file, files.c.tenant == batch.tenant, files.c.deleted_at.is_(None)
                await connection.execute(update(files).where(*there).values(deleted_at=_NOW))
            await connection.execute(
                delete(parked).where(parked.c.kind == ParkedKind.BATCH, parked.c.subject == batch.id)
            )
            event = f"batch.{end.status}"
            told = {"batch_id": batch.id, "tenant": batch.tenant, "event": event, "trace": hold.campaign.trace}
            await connection.execute(insert(outbox), [told])

        await self._database.transact(write)

    async def adopt_batches(self, *, priority: int) -> int:
        """Take over what the release before has begun; how many. Goes with the next release."""

        broken: list[str] = []

        async def adopt(connection: AsyncConnection) -> bool:
            row = (await connection.execute(_FIND_OLD, {"broken": broken})).one_or_none()
            if row is None:
                return False
            broken.append(row.id)
            number = await connection.scalar(_ADOPT, {"id": row.id, "priority": priority})
            await connection.execute(_ADOPT_ROWS, {"id": row.id, "number": number})
            await connection.execute(_ADOPTED, {"id": row.id})
            return True

        done, more = 0, True
        while more:
            with aside.unless_it_breaks("adopt_batches"):
                more = await self._database.transact(adopt)
                done += more
        return done


_STATES = {
    BatchStatus.FAILED: CampaignState.FAILED,
    BatchStatus.COMPLETED: CampaignState.COMPLETED,
    BatchStatus.EXPIRED: CampaignState.COMPLETED,
    BatchStatus.CANCELLED: CampaignState.CANCELLED,
}


def _face(batch: NewBatch) -> Any:
    return insert(batches).values(
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
        **_ENGINES,
    )


def _rows_of(batch: NewBatch, expires_at: Any, priority: int) -> Any:
    plain = {"ask": Ask(), "templates": [TemplateVersion(version=1, prompt="")]}
    plain |= {"input": Input(source=batch.input_file, key="")}
    return insert(campaigns).values(
        id=batch.id,
        kind=Kind.BATCH,
        tenant=batch.tenant,
        state=CampaignState.INGESTING,
        made_by=batch.made_by,
        trace=batch.trace,
        priority=priority,
        deadline=expires_at,
        **{name: bindparam(f"new_{name}", value, type_=JSONB) for name, value in plain.items()},
    )


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


def batch_of(row: Row[Any]) -> Batch:
    """A batch from its row."""
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
