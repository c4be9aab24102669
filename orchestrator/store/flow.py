"""Samples of the queue and of GPUs: taken once a minute by whoever comes first, thinned as they age, and read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import DateTime, Interval, Row, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.policy.sampling import KEEP, LAG_S, MOST_TENANTS, THINNINGS
from orchestrator.ports.overview import Ends, FlowPoint, FlowSubject, Quiet
from orchestrator.store.part import Part

_MOMENT = DateTime(timezone=True)

_BEGIN = text("""
    INSERT INTO flow_clock (until) VALUES (cogmill_now() - make_interval(secs => :lag_s))
    ON CONFLICT DO NOTHING RETURNING until, readings, until AS now
""")
# Nobody waits for whoever samples: they would have nothing left to do.
_TURN = text("""
    SELECT until, readings, cogmill_now() - make_interval(secs => :lag_s) AS now
    FROM flow_clock
    WHERE date_trunc('minute', cogmill_now() - make_interval(secs => :lag_s)) > date_trunc('minute', until)
    FOR UPDATE SKIP LOCKED
""")
_MOVE = text("UPDATE flow_clock SET until = :until, readings = :readings").bindparams(
    bindparam("until", type_=_MOMENT), bindparam("readings", type_=JSONB)
)

# Every job is in one place of one snapshot: it waits, runs, has ended before `until`, or since (`ending`). So what was
# accepted is what there is more of now, and what has ended. Waiting jobs are counted by indexes alone; what runs is as
# much as there are workers, what has ended as much as ended in a minute.
# A subject that has nothing any more gets one row that says so.
_SAMPLE = text("""
    WITH ended AS MATERIALIZED (
        SELECT pool, priority, tenant, finished_at >= :until AS late, state, count(*) AS n FROM jobs
        WHERE finished_at IS NOT NULL AND finished_at >= :since GROUP BY 1, 2, 3, 4, 5
    ), running AS MATERIALIZED (
        SELECT pool, priority, count(*) AS n FROM jobs WHERE state = 'running' GROUP BY pool, priority
    ), ready AS MATERIALIZED (
        SELECT pool, priority, count(*) AS n FROM jobs WHERE ready GROUP BY pool, priority
    ), parts AS (
        SELECT 'pool' AS subject, pool AS name, n AS waiting, 0 AS running, 0 AS late, 0 AS ok, 0 AS bad, 0 AS off
        FROM ready
        UNION ALL SELECT 'pool', pool, count(*), 0, 0, 0, 0, 0 FROM jobs
        WHERE state IN ('held', 'queued') AND NOT ready GROUP BY pool
        UNION ALL SELECT 'pool', pool, 0, n, 0, 0, 0, 0 FROM running
        UNION ALL SELECT 'priority', priority::text, n, 0, 0, 0, 0, 0 FROM ready
        UNION ALL SELECT 'priority', priority::text, 0, n, 0, 0, 0, 0 FROM running
        UNION ALL SELECT 'tenant', tenant, count(*) FILTER (WHERE state <> 'running'),
                         count(*) FILTER (WHERE state = 'running'), 0, 0, 0, 0
        FROM jobs WHERE coalesce(finished_at, 'infinity') = 'infinity' GROUP BY tenant
        UNION ALL SELECT of.subject, of.name, 0, 0, CASE WHEN late THEN n ELSE 0 END,
                         CASE WHEN NOT late AND state = 'succeeded' THEN n ELSE 0 END,
                         CASE WHEN NOT late AND state = 'failed' THEN n ELSE 0 END,
                         CASE WHEN NOT late AND state = 'cancelled' THEN n ELSE 0 END
        FROM ended CROSS JOIN LATERAL (
            VALUES ('pool', pool), ('priority', priority::text), ('tenant', tenant)) AS of(subject, name)
        UNION ALL SELECT subject, name, 0, 0, 0, 0, 0, 0 FROM flow_samples
        WHERE at = date_trunc('minute', CAST(:since AS timestamptz)) AND waiting + running + ending > 0
    ), summed AS (
        SELECT subject, name, sum(waiting)::int AS waiting, sum(running)::int AS running, sum(late)::int AS ending,
               sum(ok)::int AS succeeded, sum(bad)::int AS failed, sum(off)::int AS cancelled,
               row_number() OVER (
                   PARTITION BY subject ORDER BY sum(waiting + running + late + ok + bad + off) DESC, name) AS place
        FROM parts GROUP BY subject, name
    )
    INSERT INTO flow_samples (
        subject, name, at, accepted, waiting, running, ending, succeeded, failed, cancelled)
    SELECT s.subject, s.name, date_trunc('minute', CAST(:until AS timestamptz)),
           CASE WHEN :first THEN 0 ELSE greatest(0, s.waiting + s.running + s.ending + s.succeeded + s.failed
                + s.cancelled - coalesce(b.waiting + b.running + b.ending, 0)) END,
           s.waiting, s.running, s.ending, s.succeeded, s.failed, s.cancelled
    FROM summed AS s LEFT JOIN LATERAL (
        SELECT waiting, running, ending FROM flow_samples AS f WHERE f.subject = s.subject AND f.name = s.name
        ORDER BY at DESC LIMIT 1) AS b ON true
    WHERE s.subject <> 'tenant' OR s.place <= :most
    ON CONFLICT DO NOTHING
""").bindparams(bindparam("since", type_=_MOMENT), bindparam("until", type_=_MOMENT))

# The ledger of workers' time, from the hour on that the last reading was in.
_WORKED = text("""
    SELECT hour, pool, sum(seconds) FILTER (WHERE spell = 'busy') AS busy_s, sum(seconds) AS worker_s FROM worker_time
    WHERE hour >= date_trunc('hour', CAST(:since AS timestamptz), 'UTC') GROUP BY hour, pool
""").bindparams(bindparam("since", type_=_MOMENT))
_GPUS = text("""
    INSERT INTO gpu_samples (pool, at, busy_s, worker_s)
    SELECT pool, date_trunc('minute', CAST(:until AS timestamptz)), least(busy_s, worker_s), worker_s
    FROM jsonb_to_recordset(:sums) AS s(pool text, busy_s float8, worker_s float8) ORDER BY pool
    ON CONFLICT DO NOTHING
""").bindparams(bindparam("sums", type_=JSONB), bindparam("until", type_=_MOMENT))

_SUMS = "accepted", "succeeded", "failed", "cancelled"
_LAST = "waiting", "running", "ending"
_THIN = text(f"""
    WITH gone AS (
        DELETE FROM flow_samples
        WHERE at < date_bin(:step, cogmill_now() - :after, 'epoch') AND at <> date_bin(:step, at, 'epoch')
        RETURNING subject, name, at, {", ".join((*_SUMS, *_LAST))}
    ), merged AS (
        INSERT INTO flow_samples AS f (subject, name, at, {", ".join((*_SUMS, *_LAST))})
        SELECT subject, name, date_bin(:step, at, 'epoch') AS step,
               {", ".join(f"sum({name})" for name in _SUMS)},
               {", ".join(f"(array_agg({name} ORDER BY at DESC))[1]" for name in _LAST)}
        FROM gone GROUP BY subject, name, step ORDER BY subject, name, step
        ON CONFLICT (subject, name, at) DO UPDATE
        SET {", ".join(f"{name} = f.{name} + excluded.{name}" for name in _SUMS)},
            {", ".join(f"{name} = excluded.{name}" for name in _LAST)}
    )
    SELECT 1 FROM gone
""").bindparams(bindparam("step", type_=Interval), bindparam("after", type_=Interval))
_THIN_GPUS = text("""
    WITH gone AS (
        DELETE FROM gpu_samples
        WHERE at < date_bin(:step, cogmill_now() - :after, 'epoch') AND at <> date_bin(:step, at, 'epoch')
        RETURNING pool, at, busy_s, worker_s
    ), merged AS (
        INSERT INTO gpu_samples AS g (pool, at, busy_s, worker_s)
        SELECT pool, date_bin(:step, at, 'epoch') AS step, sum(busy_s), sum(worker_s)
        FROM gone GROUP BY pool, step ORDER BY pool, step
        ON CONFLICT (pool, at) DO UPDATE
        SET busy_s = g.busy_s + excluded.busy_s, worker_s = g.worker_s + excluded.worker_s
    )
    SELECT 1 FROM gone
""").bindparams(bindparam("step", type_=Interval), bindparam("after", type_=Interval))
_FORGET = tuple(
    text(f"DELETE FROM {table} WHERE at < cogmill_now() - :keep RETURNING 1").bindparams(
        bindparam("keep", type_=Interval)
    )
    for table in ("flow_samples", "gpu_samples")
)

# Within a step the last sample says what waits, whichever minute that is; over the names these are added up.
_FLOW = text("""
    SELECT at, sum(accepted)::int AS accepted, sum(waiting)::int AS waiting, sum(running)::int AS running,
           sum(succeeded)::int AS succeeded, sum(failed)::int AS failed, sum(cancelled)::int AS cancelled
    FROM (
        SELECT name, date_bin(make_interval(secs => :step_s), at, 'epoch') AS at, sum(accepted) AS accepted,
               sum(succeeded) AS succeeded, sum(failed) AS failed, sum(cancelled) AS cancelled,
               (array_agg(waiting ORDER BY f.at DESC))[1] AS waiting,
               (array_agg(running ORDER BY f.at DESC))[1] AS running
        FROM flow_samples AS f
        WHERE subject = :subject AND (CAST(:name AS text) IS NULL OR name = :name) AND at >= :since AND at < :until
        GROUP BY 1, 2) AS each
    GROUP BY at ORDER BY at
""").bindparams(bindparam("since", type_=_MOMENT), bindparam("until", type_=_MOMENT))
_BUSY = text("""
    SELECT date_bin(make_interval(secs => :step_s), at, 'epoch') AS at, sum(busy_s) AS busy_s, sum(worker_s) AS worker_s
    FROM gpu_samples
    WHERE (CAST(:name AS text) IS NULL OR pool = :name) AND at >= :since AND at < :until GROUP BY 1
""").bindparams(bindparam("since", type_=_MOMENT), bindparam("until", type_=_MOMENT))

_ENDS = text("""
    SELECT name, sum(succeeded)::int AS succeeded, sum(failed)::int AS failed, sum(cancelled)::int AS cancelled
    FROM flow_samples
    WHERE subject = :subject AND (CAST(:name AS text) IS NULL OR name = :name)
      AND at >= cogmill_now() - make_interval(secs => :seconds)
    GROUP BY name HAVING sum(succeeded + failed + cancelled) > 0
    ORDER BY sum(succeeded + failed + cancelled) DESC, name LIMIT :most
""")
_QUIET = text("""
    SELECT f.pool, f.least_waiting, coalesce(g.busy_s, 0) AS busy_s, coalesce(g.worker_s, 0) AS worker_s
    FROM (SELECT name AS pool, min(waiting) AS least_waiting FROM flow_samples
          WHERE subject = 'pool' AND at >= cogmill_now() - make_interval(mins => :minutes)
          GROUP BY name HAVING count(*) >= :minutes - 2) AS f
    LEFT JOIN (SELECT pool, sum(busy_s) AS busy_s, sum(worker_s) AS worker_s FROM gpu_samples
               WHERE at >= cogmill_now() - make_interval(mins => :minutes) GROUP BY pool) AS g ON g.pool = f.pool
""")


class Flow(Part):
    async def sample_flow(self) -> bool:
        return await self._database.transact(_sampled)

    async def thin_samples(self) -> int:
        gone = 0
        for thinning in reversed(THINNINGS):
            given: dict[str, Any] = {"step": timedelta(seconds=thinning.step_s), "after": thinning.after}
            for statement in (_THIN, _THIN_GPUS):
                gone += len(await self._database.fetch(statement, given))
        for statement in _FORGET:
            gone += len(await self._database.fetch(statement, {"keep": KEEP}))
        return gone

    async def flow(
        self, subject: FlowSubject, name: str | None, *, since: datetime, until: datetime, step_s: int
    ) -> list[FlowPoint]:
        given = {"subject": subject.value, "name": name, "since": since, "until": until, "step_s": step_s}
        found = await self._database.fetch(_FLOW, given)
        busy: dict[datetime, Row[Any]] = {}
        if subject is FlowSubject.POOL:
            given.pop("subject")
            busy = {row.at: row for row in await self._database.fetch(_BUSY, given)}
        return [_point(row, busy.get(row.at)) for row in found]

    async def ends_since(
        self, subject: FlowSubject, name: str | None, *, hours: float, most: int
    ) -> Mapping[str, Ends]:
        given = {"subject": subject.value, "name": name, "seconds": hours * 3600, "most": most}
        return {row.name: _ends(row) for row in await self._database.fetch(_ENDS, given)}

    async def quiet(self, *, minutes: int) -> Mapping[str, Quiet]:
        found = await self._database.fetch(_QUIET, {"minutes": minutes})
        return {
            row.pool: Quiet(least_waiting=row.least_waiting, busy_s=row.busy_s, worker_s=row.worker_s) for row in found
        }


async def _sampled(connection: AsyncConnection) -> bool:
    lag = {"lag_s": LAG_S}
    turn = (await connection.execute(_TURN, lag)).one_or_none()
    first = turn is None
    turn = turn or (await connection.execute(_BEGIN, lag)).one_or_none()
    if turn is None:
        return False  # this minute is sampled, or somebody is about to
    given = {"since": turn.until, "until": turn.now, "first": first, "most": MOST_TENANTS}
    await connection.execute(_SAMPLE, given)
    worked = (await connection.execute(_WORKED, {"since": turn.until})).all()
    if not first:
        await connection.execute(_GPUS, {"until": turn.now, "sums": spent_since(turn.readings, worked)})
    await connection.execute(_MOVE, {"until": turn.now, "readings": readings_of(worked)})
    return True


def readings_of(worked: Sequence[Row[Any]]) -> dict[str, list[float]]:
    """What each hour's ledger of each pool has come to, to be taken off next time."""
    return {f"{row.hour.isoformat()} {row.pool}": [row.busy_s or 0.0, row.worker_s] for row in worked}


def spent_since(readings: Mapping[str, Sequence[float]], worked: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    """Seconds of each pool that its ledger has more than at the last reading."""
    sums: dict[str, list[float]] = {}
    for row in worked:
        busy_s, worker_s = readings.get(f"{row.hour.isoformat()} {row.pool}", (0.0, 0.0))
        of = sums.setdefault(row.pool, [0.0, 0.0])
        of[0] += max(0.0, (row.busy_s or 0.0) - busy_s)
        of[1] += max(0.0, row.worker_s - worker_s)
    return [{"pool": pool, "busy_s": busy, "worker_s": all_} for pool, (busy, all_) in sums.items() if all_ > 0]


def _point(row: Row[Any], busy: Row[Any] | None) -> FlowPoint:
    return FlowPoint(
        at=row.at,
        accepted=row.accepted,
        waiting=row.waiting,
        running=row.running,
        ended=_ends(row),
        busy_s=None if busy is None else busy.busy_s,
        worker_s=None if busy is None else busy.worker_s,
    )


def _ends(row: Row[Any]) -> Ends:
    return Ends(succeeded=row.succeeded, failed=row.failed, cancelled=row.cancelled)
