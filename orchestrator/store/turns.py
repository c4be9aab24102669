"""Where a waiting job stands in its pool's queue, in numbers: read for its owner, by nobody who decides."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Double, Integer, TextClause, Uuid, bindparam, text

from orchestrator.domain.waiting import MOST_AHEAD, Turn
from orchestrator.policy.fair_share import URGENT
from orchestrator.store.lane_costs import CHARGE
from orchestrator.store.part import Part

# What the claim reads, of one lane: it is as quick with a million jobs behind it. A lane without a job is not active,
# and which lanes are is as old as the last claim.
# Whom a guarantee puts first is what `_TIER` of `claim.py` says.
_TURN = """
    SELECT extract(epoch FROM j.run_at - cogmill_now())::float8 AS due_in_s,
           coalesce(t.running, :running) AS most, cogmill_running(j.tenant, NULL) AS running,
           s.running AS most_here, cogmill_running(j.tenant, j.pool) AS running_here,
           ahead.n AS ahead, ahead.charge AS ahead_s, others.more_urgent, others.had_less,
           others.lacking
    FROM jobs AS j
    LEFT JOIN tenants AS t ON t.name = j.tenant
    LEFT JOIN shares AS s ON s.tenant = j.tenant AND s.pool = j.pool
    LEFT JOIN lanes AS own ON own.pool = j.pool AND own.priority = j.priority AND own.tenant = j.tenant
    CROSS JOIN LATERAL (
        SELECT count(*)::int AS n, coalesce(sum(charge), 0)::float8 AS charge FROM (
            SELECT {charge} AS charge FROM jobs AS a
            WHERE a.ready AND a.pool = j.pool AND a.priority = j.priority AND a.tenant = j.tenant
              AND (a.deadline, a.id) < (j.deadline, j.id)
            ORDER BY a.deadline, a.id LIMIT :most_ahead) AS first) AS ahead
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE l.priority < j.priority)::int AS more_urgent,
               count(*) FILTER (WHERE l.priority = j.priority AND l.vtime < own.vtime)::int AS had_less,
               CASE WHEN j.priority < {urgent} OR coalesce(s.guaranteed, 0) > cogmill_running(j.tenant, j.pool) THEN 0
               ELSE count(DISTINCT l.tenant) FILTER (WHERE l.priority >= {urgent} AND (
                   SELECT o.guaranteed > cogmill_running(l.tenant, j.pool) FROM shares AS o
                   WHERE o.tenant = l.tenant AND o.pool = j.pool AND o.guaranteed > 0))::int END AS lacking
        FROM lanes AS l WHERE l.pool = j.pool AND l.active AND l.tenant <> j.tenant) AS others
    WHERE j.id = {which} AND j.state = 'queued'
"""
_BIND = bindparam("running", type_=Double), bindparam("most_ahead", type_=Integer)
_OF_JOB = text(_TURN.format(urgent=URGENT, charge=CHARGE, which=":id")).bindparams(bindparam("id", type_=Uuid), *_BIND)
# Of a campaign's jobs the one that is claimed first.
_FIRST = """(
        SELECT q.id FROM campaign_jobs AS w JOIN jobs AS q ON q.id = w.job_id
        WHERE w.campaign = :number AND q.state = 'queued' ORDER BY NOT q.ready, q.deadline, q.id LIMIT 1)"""
_OF_CAMPAIGN = text(_TURN.format(urgent=URGENT, charge=CHARGE, which=_FIRST)).bindparams(*_BIND)


class Turns(Part):
    async def turn(self, job_id: UUID) -> Turn | None:
        return await self._turn(_OF_JOB, id=job_id)

    async def campaign_turn(self, number: int) -> Turn | None:
        return await self._turn(_OF_CAMPAIGN, number=number)

    async def _turn(self, statement: TextClause, **which: Any) -> Turn | None:
        given = {**which, "running": self._defaults.running, "most_ahead": MOST_AHEAD}
        found = await self._database.fetch(statement, given)
        return Turn(**found[0]._mapping) if found else None
