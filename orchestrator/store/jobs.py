"""Submitting, reading, cancelling and deleting jobs, as their owner may."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, ColumnElement, Row, Uuid, bindparam, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import Action
from orchestrator.domain.errors import NotFound
from orchestrator.domain.job import Failure, Job, NewJob, public_id
from orchestrator.domain.outcome import AttemptOutcome
from orchestrator.domain.states import JobState
from orchestrator.ports import EndedAttempt, Page, QueueDepth, Snapshot
from orchestrator.store import rows
from orchestrator.store.audit import record_difference
from orchestrator.store.part import Part
from orchestrator.store.tables import jobs

# One statement: whoever commits first, the claim or the cancel, the other one sees it when the row's lock is free.
_CANCEL = text(f"""
    WITH changed AS (
        UPDATE jobs
        SET cancel_requested_at = coalesce(cancel_requested_at, cogmill_now()),
            deleted_at = CASE WHEN :tombstone THEN cogmill_now() END,
            ready = false,
            state = CASE WHEN state = 'running' THEN state ELSE 'cancelled' END,
            finished_at = CASE WHEN state <> 'running' THEN cogmill_now() END
        WHERE id = :id AND tenant = :tenant AND deleted_at IS NULL AND state IN ('held', 'queued', 'running')
        RETURNING {", ".join(column.name for column in rows.JOB_COLUMNS)}, trace
    ), told AS (
        INSERT INTO outbox (job_id, tenant, event, webhook_url, trace)
        SELECT id, tenant, 'job.cancelled', request ->> 'webhook_url', trace FROM changed WHERE state = 'cancelled'
    )
    SELECT {", ".join(column.name for column in rows.JOB_COLUMNS)} FROM changed
""").bindparams(bindparam("id", type_=Uuid), bindparam("tombstone", type_=Boolean))

_SNAPSHOTS = text(f"""
    SELECT {", ".join(column.name for column in rows.JOB_COLUMNS)}, (
        SELECT jsonb_agg(jsonb_build_object('number', number, 'outcome', outcome, 'failure', failure) ORDER BY number)
        FROM attempts WHERE job_id = jobs.id) AS ended
    FROM jobs WHERE id = ANY (:ids) AND deleted_at IS NULL
""").bindparams(bindparam("ids", type_=ARRAY(Uuid)))

_DEPTH = text("""
    SELECT pool, state, count(*) AS depth, greatest(0, extract(epoch FROM cogmill_now() - min(since)))::float8 AS age_s
    FROM (
        SELECT pool, 'queued' AS state, run_at AS since FROM jobs WHERE ready
        UNION ALL
        SELECT pool, state, run_at FROM jobs WHERE state IN ('held', 'queued') AND NOT ready
        UNION ALL
        SELECT pool, state, claimed_at FROM jobs WHERE state = 'running'
    ) AS live
    GROUP BY pool, state ORDER BY pool, state
""")


class Jobs(Part):
    async def submit(self, job: NewJob) -> Job:
        return await self._submissions.submit(job)

    async def get(self, job_id: UUID, tenant: str) -> Job | None:
        found = await self._database.fetch(select(*rows.JOB_COLUMNS).where(*_owned(job_id, tenant)))
        return rows.job(found[0]) if found else None

    async def snapshots(self, ids: Collection[UUID]) -> Mapping[UUID, Snapshot]:
        found = await self._database.fetch(_SNAPSHOTS, {"ids": list(ids)})
        return {
            row.id: Snapshot(job=rows.job(row), ended=[_ended(attempt) for attempt in row.ended or ()]) for row in found
        }

    async def find_submitted(self, tenant: str, idempotency_key: str) -> tuple[Job, str | None] | None:
        query = select(*rows.JOB_COLUMNS, jobs.c.request_hash).where(
            jobs.c.tenant == tenant, jobs.c.idempotency_key == idempotency_key, jobs.c.deleted_at.is_(None)
        )
        found = await self._database.fetch(query)
        return (rows.job(found[0]), found[0].request_hash) if found else None

    async def list_jobs(
        self, tenant: str, *, limit: int, after: UUID | None = None, order: Literal["asc", "desc"] = "desc"
    ) -> Page:
        query = select(*rows.JOB_COLUMNS).where(jobs.c.tenant == tenant, jobs.c.deleted_at.is_(None))
        if after is not None:
            await self._require(after, tenant)
            query = query.where(jobs.c.id > after if order == "asc" else jobs.c.id < after)
        # Ids are UUIDv7: their order is the order of creation.
        query = query.order_by(jobs.c.id.asc() if order == "asc" else jobs.c.id.desc()).limit(limit + 1)
        found = await self._database.fetch(query)
        return Page(jobs=[rows.job(row) for row in found[:limit]], has_more=len(found) > limit)

    async def request_cancel(self, job_id: UUID, tenant: str, *, recorded: bool = False) -> Job | None:
        which = {"id": job_id, "tenant": tenant, "tombstone": False}

        async def cancel(connection: AsyncConnection) -> Sequence[Row[Any]]:
            before = await _cancelled(connection, job_id, tenant)
            done = (await connection.execute(_CANCEL, which)).all()
            after = await _cancelled(connection, job_id, tenant)
            of = f"job:{public_id(job_id)}"
            await record_difference(connection, Action.JOB_CANCEL, of, before, after, tenant=tenant)
            return done

        changed = await (self._database.transact(cancel) if recorded else self._database.fetch(_CANCEL, which))
        return rows.job(changed[0]) if changed else await self.get(job_id, tenant)

    async def delete(self, job_id: UUID, tenant: str) -> bool:
        if await self._database.fetch(_CANCEL, {"id": job_id, "tenant": tenant, "tombstone": True}):
            return True
        # Zero rows: it has ended (perhaps while we waited for its lock), or there is none.
        bury = update(jobs).where(*_owned(job_id, tenant)).values(deleted_at=func.cogmill_now()).returning(jobs.c.id)
        return bool(await self._database.fetch(bury))

    async def queue_depth(self) -> list[QueueDepth]:
        return [
            QueueDepth(pool=row.pool, state=JobState(row.state), count=row.depth, oldest_age_s=row.age_s)
            for row in await self._database.fetch(_DEPTH)
        ]

    async def _require(self, job_id: UUID, tenant: str) -> None:
        """A deleted job still marks a place in the listing, so that its owner can go on paging."""
        if not await self._database.fetch(select(jobs.c.id).where(jobs.c.id == job_id, jobs.c.tenant == tenant)):
            raise NotFound(f"no such job: {job_id}", param="after")


async def _cancelled(connection: AsyncConnection, job_id: UUID, tenant: str) -> Mapping[str, Any]:
    """What a cancel changes, which stays as it is until the transaction ends; nothing where there is no such job."""
    query = select(jobs.c.state, jobs.c.cancel_requested_at).where(*_owned(job_id, tenant)).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    return {} if row is None else dict(row._mapping)


def _ended(attempt: Mapping[str, Any]) -> EndedAttempt:
    failure = attempt["failure"]
    return EndedAttempt(
        number=attempt["number"],
        outcome=AttemptOutcome(attempt["outcome"]),
        failure=None if failure is None else Failure(**failure),
    )


def _owned(job_id: UUID, tenant: str) -> tuple[ColumnElement[bool], ...]:
    return jobs.c.id == job_id, jobs.c.tenant == tenant, jobs.c.deleted_at.is_(None)
