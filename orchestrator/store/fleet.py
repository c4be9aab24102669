"""Fleets: what they have to do, how many workers of each kind there are, and what was decided about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, func, select, text
from sqlalchemy.dialects.postgresql import JSONB

from orchestrator.policy.demand import Demand, required_rate
from orchestrator.ports.fleet import Basis, KindState, QueueLine, ScaleDecision
from orchestrator.store.lane_costs import CHARGE, first_of_lane
from orchestrator.store.part import Part
from orchestrator.store.tables import fleet_kinds, scale_decisions

# What a dispatcher has not said again for so long is not known any more.
_STALE = timedelta(minutes=10)
# Of each cluster.
_KEPT = 1000

_FIRST = first_of_lane("avg(j.charge) AS charge, min(greatest(j.created_at, j.run_at)) AS due_at")
# Of those among them that no campaign with a deadline has.
_FIRST_OTHERS = first_of_lane("""
            coalesce(avg(j.charge) FILTER (WHERE NOT EXISTS (
                SELECT FROM campaigns AS c WHERE c.id = j.campaign AND c.deadline IS NOT NULL
            )), avg(j.charge)) AS charge""")

# What waits and runs, by pool and, where a campaign or the job itself has a deadline, by the five minutes that it falls
# into. A backlog may be a million jobs: they are counted by the index alone, and take what the first of their lane are
# charged: for so long a worker is busy, if only with finishing.
# Jobs of campaigns with a deadline are at most a window of each; the index does not know them. Of what runs, the steps
# that are done are done.
_JOBS = text(f"""
    WITH lanes AS MATERIALIZED (
        SELECT pool, priority, tenant, date_bin('5 minutes', nullif(deadline, 'infinity'), 'epoch') AS due,
               count(*) AS jobs
        FROM jobs WHERE ready AND pool = ANY(:pools) GROUP BY pool, priority, tenant, due
    ), typical AS MATERIALIZED (
        SELECT pool, priority, tenant, charge
        FROM (SELECT DISTINCT pool, priority, tenant FROM lanes) AS l
        CROSS JOIN LATERAL {_FIRST_OTHERS} AS early
    ), wanted AS MATERIALIZED (
        SELECT j.pool, j.priority, j.tenant, date_bin('5 minutes', c.deadline, 'epoch') AS due, count(*) AS jobs,
               sum({CHARGE}) AS left_s
        FROM campaigns AS c JOIN campaign_jobs AS w ON w.campaign = c.number JOIN jobs AS j ON j.id = w.job_id
        WHERE c.ended_at IS NULL AND c.deadline IS NOT NULL
          AND j.ready AND j.deadline = 'infinity' AND j.pool = ANY(:pools)
        GROUP BY j.pool, j.priority, j.tenant, due
    )
    SELECT pool, sum(jobs)::int AS jobs, sum(left_s)::float8 AS left_s,
           coalesce(sum(left_s) FILTER (WHERE priority <= :urgent_priority), 0)::float8 AS urgent_s,
           extract(epoch FROM due - cogmill_now())::float8 AS due_in_s
    FROM (
        SELECT pool, priority, due, jobs, jobs * charge AS left_s
        FROM (
            SELECT pool, priority, tenant, due, jobs FROM lanes
            UNION ALL
            SELECT pool, priority, tenant, NULL, -jobs FROM wanted
        ) AS waiting JOIN typical USING (pool, priority, tenant)
        UNION ALL
        SELECT pool, priority, due, jobs, left_s FROM wanted
        UNION ALL
        SELECT j.pool, j.priority, date_bin('5 minutes', coalesce(c.deadline, nullif(j.deadline, 'infinity')), 'epoch'),
               1, {CHARGE} * (1 - least(1.0, j.step::float8 / greatest(1,
                   coalesce((j.spec ->> 'num_inference_steps')::int, 1))))
        FROM jobs AS j LEFT JOIN campaigns AS c ON c.id = j.campaign
        WHERE j.state = 'running' AND j.pool = ANY(:pools)
    ) AS live
    GROUP BY pool, due
""")

# What waits in each pool's queue by priority, as it is charged, and since when the oldest of it might have begun; both
# by the first jobs of each tenant's.
_WAITING = text(f"""
    SELECT l.pool, l.priority, sum(l.jobs * early.charge)::float8 AS seconds,
           extract(epoch FROM cogmill_now() - min(early.due_at))::float8 AS oldest_s
    FROM (SELECT pool, priority, tenant, count(*) AS jobs FROM jobs
          WHERE ready AND pool = ANY(:pools) GROUP BY pool, priority, tenant) AS l
    CROSS JOIN LATERAL {_FIRST} AS early
    GROUP BY l.pool, l.priority
""")

# Of campaigns that render, the rows that have neither job nor end, at what the estimate says of one.
_ROWS = text("""
    SELECT of.pool, priority, (of.rows * share)::int AS jobs, of.gpu_seconds * share AS left_s,
           extract(epoch FROM deadline - cogmill_now())::float8 AS due_in_s
    FROM (
        SELECT c.estimate, c.deadline, c.priority,
               greatest(0, c.rows - c.succeeded - c.failed - c.cancelled - c.dropped - c.waived - w.n)::float8
               / greatest(1, c.rows) AS share
        FROM campaigns AS c
        CROSS JOIN LATERAL (SELECT count(*) AS n FROM campaign_jobs AS w WHERE w.campaign = c.number) AS w
        WHERE c.ended_at IS NULL AND c.state = 'running' AND (c.run_at IS NULL OR c.run_at <= cogmill_now())
    ) AS left_of
    CROSS JOIN LATERAL jsonb_to_recordset(estimate) AS of(pool text, rows float8, gpu_seconds float8)
    WHERE share > 0 AND of.pool = ANY(:pools)
""")

_RECORD = text("""
    WITH told AS MATERIALIZED (
        SELECT * FROM jsonb_to_recordset(:kinds) AS t(
            pool text, kind text, wanted int, requested int, starting int, ready int, draining int, why text,
            failures int, rests_s float8)
    ), gone AS (
        DELETE FROM fleet_kinds WHERE cluster = :cluster AND (pool, kind) NOT IN (SELECT pool, kind FROM told)
            AND (pool IN (SELECT pool FROM told) OR told_at <= cogmill_now() - CAST(:stale AS interval))
    ), decided AS (
        INSERT INTO scale_decisions (cluster, pool, kind, change, why, basis)
        SELECT :cluster, pool, kind, change, why, basis
        FROM jsonb_to_recordset(:decisions) AS d(pool text, kind text, change int, why text, basis jsonb)
    ), old AS (
        DELETE FROM scale_decisions WHERE cluster = :cluster AND number <= (
            SELECT number FROM scale_decisions WHERE cluster = :cluster ORDER BY number DESC OFFSET :kept LIMIT 1)
    )
    INSERT INTO fleet_kinds (cluster, pool, kind, wanted, requested, starting, ready, draining, why, failures, rests_s)
    SELECT :cluster, pool, kind, wanted, requested, starting, ready, draining, why, failures, rests_s
    FROM told ORDER BY pool, kind
    ON CONFLICT (cluster, pool, kind) DO UPDATE
    SET wanted = excluded.wanted, requested = excluded.requested, starting = excluded.starting, ready = excluded.ready,
        draining = excluded.draining, why = excluded.why, failures = excluded.failures, rests_s = excluded.rests_s,
        told_at = cogmill_now()
""").bindparams(bindparam("kinds", type_=JSONB), bindparam("decisions", type_=JSONB))


class Fleets(Part):
    async def demand(self, ratios: Mapping[str, float], *, urgent_priority: int) -> Mapping[str, Demand]:
        given = {"pools": list(ratios)}
        jobs = await self._database.fetch(_JOBS, given | {"urgent_priority": urgent_priority})
        rows = await self._database.fetch(_ROWS, given)
        # What has no job yet is in the catalogue's seconds; jobs cost what renders have taught.
        work = [(row, row.left_s) for row in jobs] + [(row, row.left_s * ratios[row.pool]) for row in rows]
        dues: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for row, left_s in work:
            if row.due_in_s is not None:
                dues[row.pool].append((row.due_in_s, left_s))
        found = {}
        for pool in ratios:
            rate, due_in_s = required_rate(dues[pool])
            found[pool] = Demand(
                backlog_s=sum(left_s for row, left_s in work if row.pool == pool),
                due_s=sum(seconds for _, seconds in dues[pool]),
                required_rate=rate,
                due_in_s=due_in_s,
                urgent_s=sum(row.urgent_s for row in jobs if row.pool == pool),
                jobs=sum(row.jobs for row, _ in work if row.pool == pool),
            )
        return found

    async def lines(self, ratios: Mapping[str, float]) -> Mapping[str, QueueLine]:
        jobs = await self._database.fetch(_WAITING, {"pools": list(ratios)})
        rows = await self._database.fetch(_ROWS, {"pools": list(ratios)})
        found = {}
        for pool in ratios:
            waiting: defaultdict[int, float] = defaultdict(float)
            for row in jobs:
                waiting[row.priority] += row.seconds if row.pool == pool else 0.0
            for row in rows:
                waiting[row.priority] += row.left_s * ratios[pool] if row.pool == pool else 0.0
            found[pool] = QueueLine(
                waiting={priority: seconds for priority, seconds in sorted(waiting.items()) if seconds > 0},
                oldest_s=max((row.oldest_s for row in jobs if row.pool == pool), default=0.0),
            )
        return found

    async def record_fleet(self, cluster: str, kinds: Sequence[KindState], decisions: Sequence[ScaleDecision]) -> None:
        told = [asdict(replace(decision, at=None)) for decision in decisions]
        given = {"cluster": cluster, "kinds": list(kinds), "decisions": told, "kept": _KEPT, "stale": _STALE}
        await self._database.fetch(_RECORD, given)

    async def fleet(self) -> list[KindState]:
        table = fleet_kinds.c
        asked = select(
            table.cluster, table.pool, table.kind, table.wanted, table.requested, table.starting, table.ready,
            table.draining, table.why, table.failures, table.rests_s,
        )  # fmt: skip
        fresh = asked.where(table.told_at > func.cogmill_now() - _STALE)
        found = await self._database.fetch(fresh.order_by(table.cluster, table.pool, table.kind))
        return [KindState(**row._mapping) for row in found]

    async def scale_decisions(self, *, limit: int) -> list[ScaleDecision]:
        table = scale_decisions.c
        asked = select(table.pool, table.kind, table.change, table.why, table.basis, table.at)
        found = await self._database.fetch(asked.order_by(table.number.desc()).limit(limit))
        return [ScaleDecision(**{**row._mapping, "basis": _basis(row.basis)}) for row in found]


def _basis(told: Mapping[str, Any] | None) -> Basis | None:
    return None if told is None else Basis(**{**told, "demand": Demand(**told["demand"])})
