"""What becomes of submitted jobs in one transaction: inserted, found to be repeated, or over their tenant's limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Double, Row, Text, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.errors import CogmillError, KeyReused
from orchestrator.domain.job import Job, NewJob
from orchestrator.domain.states import JobState
from orchestrator.policy.limits import Limits, Standing
from orchestrator.policy.limits import admit as fitting
from orchestrator.store import rows
from orchestrator.store.engine import Database

Fates = dict[UUID, Job | CogmillError]

# A lane is made by whoever needs it first. Sorted, so that two flights with the same new lanes cannot deadlock; the
# batch is sorted by its keys for the same reason. A job whose id or key is there already is left out.
_INSERT = """
    WITH batch AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(:batch) AS b(
            id uuid, tenant text, pool text, priority smallint, spec jsonb, cost float8, max_attempts int,
            request jsonb, deadline timestamptz, run_at timestamptz, held boolean, idempotency_key text,
            request_hash text, campaign text, quiet boolean, charge float8, made_by text,
            trace text)
        WHERE {chosen}
    ), lane AS (
        INSERT INTO lanes (pool, priority, tenant, weight)
        SELECT pool, priority, tenant, coalesce((SELECT weight FROM tenants WHERE name = tenant), 1)
        FROM (SELECT DISTINCT pool, priority, tenant FROM batch ORDER BY pool, priority, tenant) AS needed
        ON CONFLICT DO NOTHING
    )
    INSERT INTO jobs (id, tenant, pool, priority, spec, cost, max_attempts, request, deadline, run_at, state, ready,
                      idempotency_key, request_hash, input, campaign, quiet, charge, made_by, trace)
    SELECT id, tenant, pool, priority, spec, cost, max_attempts, request, coalesce(deadline, 'infinity'),
           coalesce(run_at, cogmill_now()),
           CASE WHEN held THEN 'held' ELSE 'queued' END, NOT held AND coalesce(run_at <= cogmill_now(), true),
           idempotency_key, request_hash, spec -> 'image' ->> 'sha256', campaign, quiet, charge, made_by,
           trace
    FROM batch
    ON CONFLICT DO NOTHING
    RETURNING id, created_at
"""
_BATCH = bindparam("batch", type_=JSONB)
_INSERT_ALL = text(_INSERT.format(chosen="true")).bindparams(_BATCH)
_INSERT_UNBOUNDED = text(
    _INSERT.format(
        chosen="""NOT EXISTS (
            SELECT FROM tenants AS t
            WHERE t.name = b.tenant AND (t.queued IS NOT NULL OR t.gpu_seconds_per_day IS NOT NULL))"""
    )
).bindparams(_BATCH)

# One admission per tenant at a time, whoever runs it: nobody else's job can come between the count and the insert.
# A statement of its own, so that the snapshot of the count comes after the commit of the admission before.
_LOCK = text("""
    SELECT pg_advisory_xact_lock(hashtextextended('cogmill:submit:' || tenant, 0))
    FROM (SELECT tenant FROM unnest(:tenants) AS t(tenant) ORDER BY tenant) AS sorted
""").bindparams(bindparam("tenants", type_=ARRAY(Text)))

_EARLIER_COLUMNS = ", ".join([*(column.name for column in rows.JOB_COLUMNS), "request_hash"])
# The jobs of this batch that are there: by their own id after an answer was lost, or the first ones of their keys.
_EARLIER = text(f"""
    SELECT {", ".join(f"j.{column.name}" for column in rows.JOB_COLUMNS)}, j.request_hash, b.id AS submitted
    FROM unnest(:ids, :tenants, :keys) AS b(id, tenant, key)
    CROSS JOIN LATERAL (
        SELECT {_EARLIER_COLUMNS} FROM jobs WHERE id = b.id
        UNION ALL
        SELECT {_EARLIER_COLUMNS} FROM jobs WHERE tenant = b.tenant AND idempotency_key = b.key AND deleted_at IS NULL
        LIMIT 1) AS j
""").bindparams(
    bindparam("ids", type_=ARRAY(Uuid)), bindparam("tenants", type_=ARRAY(Text)), bindparam("keys", type_=ARRAY(Text))
)

# What is not limited is not counted.
_STANDING = text("""
    SELECT n.name, t.queued, t.gpu_seconds_per_day,
           CASE WHEN t.queued IS NULL AND :queued IS NULL THEN 0
           ELSE (SELECT count(*) FROM jobs AS j
                 WHERE j.tenant = n.name AND j.state IN ('held', 'queued')
                 AND coalesce(j.finished_at, 'infinity') = 'infinity') END AS waiting,
           CASE WHEN t.gpu_seconds_per_day IS NULL AND :gpu_seconds IS NULL THEN 0
           ELSE (SELECT coalesce(sum(coalesce(charge, cost)), 0) FROM jobs AS j
                 WHERE j.tenant = n.name AND coalesce(j.finished_at, 'infinity') = 'infinity')
                + (SELECT coalesce(sum(gpu_seconds), 0) FROM usage AS u WHERE u.tenant = n.name AND u.at >= today)
                + (SELECT coalesce(sum(charge - gpu_seconds), 0) FROM usage AS u
                   WHERE u.tenant = n.name AND u.at >= today AND charge IS NOT NULL)
           END AS gpu_seconds,
           extract(epoch FROM today + interval '1 day' - cogmill_now())::float8 AS day_left_s
    FROM unnest(:tenants) AS n(name) LEFT JOIN tenants AS t USING (name),
         date_trunc('day', cogmill_now(), 'UTC') AS today
""").bindparams(
    bindparam("tenants", type_=ARRAY(Text)), bindparam("queued", type_=Double), bindparam("gpu_seconds", type_=Double)
)


async def insert_unbounded(database: Database, batch: Sequence[NewJob]) -> Fates:
    """Insert the new jobs of tenants whose jobs need no counting. The rest has no fate yet."""
    return _inserted(batch, await database.fetch(_INSERT_UNBOUNDED, {"batch": _sorted(batch)}))


async def admit(batch: Sequence[NewJob], defaults: Limits, connection: AsyncConnection) -> Fates:
    """Insert what is new and fits, in order, inside the connection's transaction.

    Some have no fate yet, and are to be admitted again: those that repeat another one of the batch, and those whose key
    was taken at this moment by `insert_unbounded`.
    """
    tenants = sorted({job.tenant for job in batch})
    await connection.execute(_LOCK, {"tenants": tenants})
    fates = await _earlier(batch, connection)
    new = _new([job for job in batch if job.id not in fates])
    if not new:
        return fates
    limited = {"queued": defaults.queued, "gpu_seconds": defaults.gpu_seconds_per_day}
    standings = (await connection.execute(_STANDING, {"tenants": tenants, **limited})).all()
    refused = _refused(new, standings, defaults)
    chosen = [job for job in new if job.id not in refused]
    inserted = (await connection.execute(_INSERT_ALL, {"batch": _sorted(chosen)})).all()
    return fates | refused | _inserted(chosen, inserted)


def _refused(new: Iterable[NewJob], standings: Iterable[Row[Any]], defaults: Limits) -> Fates:
    """Those of the new jobs that are over their tenant's limits, and why."""
    refused: Fates = {}
    standing_of = {row.name: row for row in standings}
    for tenant, together in groupby(sorted(new, key=_tenant), key=_tenant):
        jobs, row = list(together), standing_of[tenant]
        limits = Limits(queued=row.queued, gpu_seconds_per_day=row.gpu_seconds_per_day).over(defaults)
        standing = Standing(queued=row.waiting, gpu_seconds=row.gpu_seconds, day_left_s=row.day_left_s)
        refusals = fitting(limits, standing, [job.charged for job in jobs])
        refused |= {job.id: refusal for job, refusal in zip(jobs, refusals, strict=True) if refusal is not None}
    return refused


async def _earlier(batch: Sequence[NewJob], connection: AsyncConnection) -> Fates:
    """The jobs that came before, each under the id that was submitted now."""
    wanted = {
        "ids": [job.id for job in batch],
        "tenants": [job.tenant for job in batch],
        "keys": [job.idempotency_key for job in batch],
    }
    found = {row.submitted: row for row in (await connection.execute(_EARLIER, wanted)).all()}
    return {job.id: _repetition(job, found[job.id]) for job in batch if job.id in found}


def _repetition(job: NewJob, earlier: Row[Any]) -> Job | CogmillError:
    if earlier.id != job.id and earlier.request_hash != job.request_hash:
        return KeyReused("this key came before, with another request", param="idempotency_key")
    return rows.job(earlier)


def _new(batch: Sequence[NewJob]) -> list[NewJob]:
    """The first job of each id and of each key: the others repeat it, and what becomes of them depends on it."""
    first: dict[object, NewJob] = {}
    for job in batch:
        first.setdefault(job.id if job.idempotency_key is None else (job.tenant, job.idempotency_key), job)
    return list(first.values())


def _inserted(batch: Sequence[NewJob], returned: Iterable[Row[Any]]) -> Fates:
    created = {row.id: row.created_at for row in returned}
    return {job.id: _fresh(job, created[job.id]) for job in batch if job.id in created}


def _sorted(batch: Sequence[NewJob]) -> list[NewJob]:
    return sorted(batch, key=lambda job: (job.tenant, job.idempotency_key or ""))


def _tenant(job: NewJob) -> str:
    return job.tenant


def _fresh(job: NewJob, created_at: datetime) -> Job:
    return Job(
        **{name: getattr(job, name) for name in ("id", "tenant", "pool", "priority", "cost", "charge", "max_attempts")},
        state=JobState.HELD if job.held else JobState.QUEUED,
        spec=job.spec,
        request=job.request,
        created_at=created_at,
        started_at=None,
        finished_at=None,
        claims=0,
        failures=0,
        evictions=0,
        cancel_requested=False,
        stage=None,
        step=0,
        failure=None,
        result=None,
        ready=not job.held and (job.run_at is None or job.run_at <= created_at),
    )
