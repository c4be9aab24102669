"""The queue as it stands, by pool, priority and tenant; and the signs of trouble that the tables hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, Interval, Text, bindparam, text

from orchestrator.domain.outlooks import BELIEVED, LaneOutlook
from orchestrator.ports.overview import QueuedLane, Signs
from orchestrator.store.part import Part

# As `_DEPTH` of `jobs.py`: the index of ready jobs holds all that is asked of what may be a million.
_LANES = text("""
    SELECT pool, priority, tenant, sum(waiting)::int AS waiting, sum(running)::int AS running,
           greatest(0, extract(epoch FROM cogmill_now() - min(since)))::float8 AS oldest_wait_s
    FROM (
        SELECT pool, priority, tenant, count(*) AS waiting, 0 AS running, min(run_at) AS since FROM jobs
        WHERE ready GROUP BY pool, priority, tenant
        UNION ALL
        SELECT pool, priority, tenant, 0, count(*), NULL FROM jobs
        WHERE state = 'running' GROUP BY pool, priority, tenant
    ) AS live
    GROUP BY pool, priority, tenant ORDER BY pool, priority, tenant
""")
# Of one tenant: its lanes are known, and each is a range of that index.
_OWN_LANES = text("""
    SELECT pool, priority, tenant, sum(waiting)::int AS waiting, sum(running)::int AS running,
           greatest(0, extract(epoch FROM cogmill_now() - min(since)))::float8 AS oldest_wait_s
    FROM (
        SELECT l.pool, l.priority, l.tenant, w.waiting, 0 AS running, w.since
        FROM lanes AS l CROSS JOIN LATERAL (
            SELECT count(*) AS waiting, min(run_at) AS since FROM jobs AS j
            WHERE j.ready AND j.pool = l.pool AND j.priority = l.priority AND j.tenant = l.tenant) AS w
        WHERE l.tenant = :tenant
        UNION ALL
        SELECT pool, priority, tenant, 0, count(*), NULL FROM jobs
        WHERE coalesce(finished_at, 'infinity') = 'infinity' AND tenant = :tenant AND state = 'running'
        GROUP BY pool, priority, tenant
    ) AS live
    GROUP BY pool, priority, tenant HAVING sum(waiting + running) > 0 ORDER BY pool, priority
""")
_SCHEDULED = text("""
    SELECT pool, count(*)::int AS n FROM jobs WHERE state IN ('held', 'queued') AND NOT ready GROUP BY pool
""")
_OWN_LIVE = text("""
    SELECT count(*)::int AS n FROM jobs
    WHERE coalesce(finished_at, 'infinity') = 'infinity' AND tenant = :tenant AND state IN ('held', 'queued')
""")
_OUTLOOKS = text("""
    SELECT pool, tenant, priority, made_at, ahead_s, low_s, likely_s, high_s, stretch, reason FROM lane_forecasts
    WHERE (CAST(:tenant AS text) IS NULL OR tenant = :tenant)
      AND made_at > cogmill_now() - CAST(:believed AS interval)
    ORDER BY pool, priority, tenant
""").bindparams(bindparam("believed", type_=Interval))

_CLAIMED = text("""
    SELECT pool, greatest(0, extract(epoch FROM cogmill_now() - max(claimed_at)))::float8 AS claimed_s
    FROM jobs WHERE state = 'running' GROUP BY pool
""")
# Dead letters are looked for among the newest thousand failures, and counted no further.
_SIGNS = text("""
    SELECT (SELECT count(*) FROM deliveries
            WHERE ended_at > cogmill_now() - interval '1 hour' AND state = 'failed')::int AS given_up,
           (SELECT coalesce(max(extract(epoch FROM cogmill_now() - at)), 0)::float8
            FROM (SELECT at FROM outbox ORDER BY id LIMIT 1) AS first) AS outbox_s,
           (SELECT coalesce(max(extract(epoch FROM cogmill_now() - at)), 0)::float8
            FROM (SELECT at FROM audit WHERE seal IS NULL ORDER BY id LIMIT 1) AS first) AS unsealed_s,
           (SELECT count(*) FROM (
               SELECT id, failure FROM jobs WHERE state = 'failed' AND deleted_at IS NULL ORDER BY id DESC LIMIT 1000
            ) AS j WHERE NOT (failure ->> 'code' = ANY (:not_codes))
              AND NOT EXISTS (SELECT FROM dead_letters AS d WHERE d.job_id = j.id))::int AS dead_letters,
           (SELECT count(*) FROM parked)::int AS parked
""").bindparams(bindparam("not_codes", type_=ARRAY(Text)))
_OWN_SIGNS = text("""
    SELECT count(*)::int AS given_up FROM (
        SELECT ended_at FROM deliveries WHERE tenant = :tenant AND state = 'failed' ORDER BY id DESC LIMIT 1000
    ) AS last WHERE ended_at > cogmill_now() - interval '1 hour'
""")
_AT_RISK = text("""
    SELECT f.name, coalesce(f.advice, '') AS advice FROM forecasts AS f JOIN campaigns AS c ON c.id = f.name
    WHERE f.subject = 'campaign' AND f.at_risk AND (CAST(:tenant AS text) IS NULL OR c.tenant = :tenant)
    ORDER BY c.deadline NULLS LAST, f.name LIMIT 20
""")
_QUARANTINED = text("""
    SELECT pool, count(DISTINCT (cluster, worker, incarnation))::int AS n FROM quarantines
    WHERE at > cogmill_now() - interval '6 hours' GROUP BY pool
""")


class Overview(Part):
    async def queued_lanes(self, tenant: str | None) -> list[QueuedLane]:
        of_one = tenant is not None
        found = await self._database.fetch(_OWN_LANES if of_one else _LANES, {"tenant": tenant} if of_one else None)
        return [QueuedLane(**row._mapping) for row in found]

    async def not_due(self, tenant: str | None) -> Mapping[str, int]:
        if tenant is None:
            return {row.pool: row.n for row in await self._database.fetch(_SCHEDULED)}
        (row,) = await self._database.fetch(_OWN_LIVE, {"tenant": tenant})
        due = sum(lane.waiting for lane in await self.queued_lanes(tenant))
        return {"": max(0, row.n - due)}

    async def lane_outlooks(self, tenant: str | None) -> list[LaneOutlook]:
        found = await self._database.fetch(_OUTLOOKS, {"tenant": tenant, "believed": BELIEVED})
        return [LaneOutlook(**row._mapping) for row in found]

    async def signs(self, tenant: str | None, *, not_codes: Sequence[str]) -> Signs:
        at_risk = {each.name: each.advice for each in await self._database.fetch(_AT_RISK, {"tenant": tenant})}
        if tenant is not None:
            (own,) = await self._database.fetch(_OWN_SIGNS, {"tenant": tenant})
            return Signs(given_up=own.given_up, at_risk=at_risk)
        (row,) = await self._database.fetch(_SIGNS, {"not_codes": list(not_codes)})
        quarantined = {each.pool: each.n for each in await self._database.fetch(_QUARANTINED)}
        claimed = {each.pool: each.claimed_s for each in await self._database.fetch(_CLAIMED)}
        told: dict[str, Any] = dict(row._mapping)
        return Signs(**told, at_risk=at_risk, quarantined=quarantined, claimed_s=claimed)
