"""Forecasts: what they are made from, kept by the one process that leads, and read by all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Double, Interval, bindparam, delete, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.campaign import Campaign
from orchestrator.domain.errors import LeaseLost
from orchestrator.domain.outlooks import BELIEVED, KeptOutlook, LaneOutlook, Subject
from orchestrator.ports.campaign_values import Budget
from orchestrator.ports.forecasts import BatchWork, LaneWork, LoadHour, Telling
from orchestrator.store.campaign_values import COLUMNS, LIVE, campaign
from orchestrator.store.changes import tell
from orchestrator.store.lane_costs import CHARGE, first_of_lane
from orchestrator.store.part import Part
from orchestrator.store.spending import BUDGETS, budget_of
from orchestrator.store.tables import forecasts, lane_forecasts
from orchestrator.telemetry import aside

_LEAD = text("""
    INSERT INTO leaders AS l (duty, lease, leased_until)
    VALUES (:duty, :token, cogmill_now() + make_interval(secs => :lease_s))
    ON CONFLICT (duty) DO UPDATE SET lease = excluded.lease, leased_until = excluded.leased_until
    WHERE l.lease = excluded.lease OR l.leased_until <= cogmill_now()
    RETURNING lease
""")
_LEADS = text("SELECT 1 FROM leaders WHERE duty = :duty AND lease = :token FOR UPDATE")

# What changes by itself, counts and times, is not in it: the minute is enough for that.
_MARK = text("""
    SELECT concat_ws(' ',
        (SELECT concat(count(*), '/', sum(version), '/', sum(number)) FROM campaigns
         WHERE ended_at IS NULL AND kind = 'campaign'),
        (SELECT string_agg(pool || '=' || n, ',' ORDER BY pool) FROM (
            SELECT pool, count(*) AS n FROM workers WHERE alive GROUP BY pool) AS w),
        (SELECT string_agg(pool || '=' || n, ',' ORDER BY pool) FROM (
            SELECT pool, count(*) AS n FROM worker_loads WHERE state = 'loaded' GROUP BY pool) AS l),
        (SELECT string_agg(pool, ',' ORDER BY pool) FROM pauses WHERE resumed_at IS NULL)) AS mark
""")

_GOING = text(f"""
    SELECT {COLUMNS}, live.* FROM campaigns AS c, {LIVE}
    WHERE c.ended_at IS NULL AND c.kind = 'campaign' AND c.rows > 0 AND c.deleted_at IS NULL
    ORDER BY c.number
""")

# Counted by the index alone; what one is charged, by the first of each lane: a backlog may be a million jobs.
_LANES = text(f"""
    SELECT l.pool, l.tenant, l.priority, l.jobs, coalesce(t.weight, 1) AS weight, coalesce(early.typical, 0) AS typical,
           nullif(least(coalesce(t.running, :most), s.running), 'infinity') AS most
    FROM (SELECT pool, priority, tenant, count(*) AS jobs FROM jobs WHERE ready GROUP BY pool, priority, tenant) AS l
    LEFT JOIN tenants AS t ON t.name = l.tenant
    LEFT JOIN shares AS s ON s.tenant = l.tenant AND s.pool = l.pool
    CROSS JOIN LATERAL {first_of_lane("avg(j.charge) AS typical")} AS early
    ORDER BY l.pool, l.tenant, l.priority
""").bindparams(bindparam("most", type_=Double))

# The rows that have jobs are lanes' already; the others are taken to be like them. A window is some hundred jobs.
_BATCHES = text(f"""
    SELECT c.id AS batch, c.tenant, c.priority, coalesce(t.weight, 1) AS weight, of.pool, of.typical,
           (c.rows - c.succeeded - c.failed - c.cancelled - c.dropped - c.waived - of.live) * of.part AS waiting
    FROM campaigns AS c
    LEFT JOIN tenants AS t ON t.name = c.tenant
    CROSS JOIN LATERAL (
        SELECT j.pool, avg({CHARGE}) AS typical, count(*) / sum(count(*)) OVER () AS part,
               (SELECT count(*) FROM campaign_jobs AS w WHERE w.campaign = c.number) AS live
        FROM campaign_jobs AS w JOIN jobs AS j ON j.id = w.job_id WHERE w.campaign = c.number GROUP BY j.pool) AS of
    WHERE c.kind = 'batch' AND c.state = 'running' AND c.ended_at IS NULL
      AND c.rows > c.succeeded + c.failed + c.cancelled + c.dropped + c.waived + of.live
    ORDER BY c.number, of.pool
""")

# Of campaigns and batches what is coming is known otherwise.
_BY_HOUR = text("""
    SELECT pool, hour, sum(charged) AS gpu_seconds, min(min(at)) OVER () AS since FROM (
        SELECT pool, coalesce(charge, gpu_seconds) AS charged, at,
               ((extract(isodow FROM at AT TIME ZONE 'UTC') - 1) * 24
                + extract(hour FROM at AT TIME ZONE 'UTC'))::int AS hour
        FROM usage WHERE at > cogmill_now() - make_interval(weeks => :weeks) AND campaign IS NULL) AS single
    GROUP BY pool, hour ORDER BY pool, hour
""")
_SINCE = text("""
    SELECT pool, sum(coalesce(charge, gpu_seconds)) AS gpu_seconds FROM usage
    WHERE at > cogmill_now() - make_interval(secs => :seconds) AND campaign IS NULL GROUP BY pool
""")
_BUDGETS = text(f"{BUDGETS} ORDER BY b.tenant, b.period, b.unit")
_WEIGHTS = text("SELECT name, weight FROM tenants WHERE weight <> 1")
_MOST_URGENT = text("SELECT name, most_urgent FROM tenants WHERE most_urgent IS NOT NULL")

# What is nearest to a job's lane: its own, then a newcomer's that is not more urgent.
_LANE = text("""
    SELECT pool, tenant, priority, made_at, ahead_s, low_s, likely_s, high_s, stretch, reason FROM lane_forecasts
    WHERE pool = :pool AND (tenant = :tenant AND priority = :priority OR tenant = '' AND priority >= :priority)
      AND made_at > cogmill_now() - CAST(:believed AS interval)
    ORDER BY tenant = '', priority LIMIT 1
""").bindparams(bindparam("believed", type_=Interval))

_COMPLETED = text("""
    SELECT id, coalesce(ended_at, cogmill_now()) AS at FROM campaigns
    WHERE id = ANY(:ids) AND state IN ('finishing', 'completed')
""")

_COLUMNS = [column.name for column in forecasts.c]
_ADD = insert(forecasts).values({name: bindparam(name) for name in _COLUMNS})
_LANE_COLUMNS = [column.name for column in lane_forecasts.c]
_ADD_LANE = insert(lane_forecasts).values({name: bindparam(name) for name in _LANE_COLUMNS})


class Forecasts(Part):
    async def lead(self, duty: str, token: UUID, lease_s: float) -> bool:
        return bool(await self._database.fetch(_LEAD, {"duty": duty, "token": token, "lease_s": lease_s}))

    async def forecast_mark(self) -> str:
        return str((await self._database.fetch(_MARK))[0].mark)

    async def campaigns_going(self) -> list[Campaign]:
        found = []
        for row in await self._database.fetch(_GOING):
            with aside.unless_it_breaks("forecasts", campaign=row.id):
                found.append(campaign(row))
        return found

    async def lanes_waiting(self) -> list[LaneWork]:
        found = await self._database.fetch(_LANES, {"most": self._defaults.running})
        return [LaneWork(**row._mapping) for row in found]

    async def batches_waiting(self) -> list[BatchWork]:
        return [BatchWork(**row._mapping) for row in await self._database.fetch(_BATCHES)]

    async def budgets(self) -> list[Budget]:
        return [budget_of(row) for row in await self._database.fetch(_BUDGETS)]

    async def load_by_hour(self, *, weeks: int) -> list[LoadHour]:
        return [LoadHour(**row._mapping) for row in await self._database.fetch(_BY_HOUR, {"weeks": weeks})]

    async def load_since(self, *, hours: float) -> Mapping[str, float]:
        found = await self._database.fetch(_SINCE, {"seconds": hours * 3600})
        return {row.pool: row.gpu_seconds for row in found}

    async def weights(self) -> Mapping[str, float]:
        return {row.name: row.weight for row in await self._database.fetch(_WEIGHTS)}

    async def most_urgent(self) -> Mapping[str, int]:
        return {row.name: row.most_urgent for row in await self._database.fetch(_MOST_URGENT)}

    async def keep_forecasts(
        self,
        duty: str,
        token: UUID,
        forecasts_: Sequence[KeptOutlook],
        tellings: Sequence[Telling],
        *,
        lanes: Sequence[LaneOutlook] = (),
    ) -> None:
        async def turn(connection: AsyncConnection) -> None:
            if (await connection.execute(_LEADS, {"duty": duty, "token": token})).one_or_none() is None:
                raise LeaseLost(f"somebody else leads in {duty}")
            await connection.execute(delete(forecasts))
            if forecasts_:
                rows = [{name: getattr(each, name) for name in _COLUMNS} for each in forecasts_]
                await connection.execute(_ADD, rows)
            await connection.execute(delete(lane_forecasts))
            if lanes:
                rows = [{name: getattr(each, name) for name in _LANE_COLUMNS} for each in lanes]
                await connection.execute(_ADD_LANE, rows)
            for campaign_, event, detail in tellings:
                await tell(connection, campaign_, [(event, detail)])

        await self._database.transact(turn)

    async def lane_outlook(self, pool: str, tenant: str, priority: int) -> LaneOutlook | None:
        where = {"pool": pool, "tenant": tenant, "priority": priority, "believed": BELIEVED}
        found = await self._database.fetch(_LANE, where)
        return LaneOutlook(**found[0]._mapping) if found else None

    async def forecasts(self) -> list[KeptOutlook]:
        found = await self._database.fetch(select(forecasts).order_by(forecasts.c.subject, forecasts.c.name))
        return [KeptOutlook(**{**row._mapping, "subject": Subject(row.subject)}) for row in found]

    async def completed(self, campaigns: Collection[str]) -> Mapping[str, datetime]:
        found = await self._database.fetch(_COMPLETED, {"ids": list(campaigns)})
        return {row.id: row.at for row in found}
