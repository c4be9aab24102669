"""Where a waiting job stands in its pool's queue, in numbers: read for its owner, by nobody who decides."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Double, Integer, Uuid, bindparam, text

from orchestrator.domain.waiting import MOST_AHEAD, Turn
from orchestrator.store.part import Part

# What the claim reads, of one lane: it is as quick with a million jobs behind it. A lane without a job is not active,
# and which lanes are is as old as the last claim.
_TURN = text("""
    SELECT extract(epoch FROM j.run_at - cogmill_now())::float8 AS due_in_s,
           coalesce(t.running, :running) AS most, cogmill_running(j.tenant, NULL) AS running,
           s.running AS most_here, cogmill_running(j.tenant, j.pool) AS running_here,
           ahead.n AS ahead, ahead.cost AS ahead_s, others.more_urgent, others.had_less
    FROM jobs AS j
    LEFT JOIN tenants AS t ON t.name = j.tenant
    LEFT JOIN shares AS s ON s.tenant = j.tenant AND s.pool = j.pool
    LEFT JOIN lanes AS own ON own.pool = j.pool AND own.priority = j.priority AND own.tenant = j.tenant
    CROSS JOIN LATERAL (
        SELECT count(*)::int AS n, coalesce(sum(cost), 0)::float8 AS cost FROM (
            SELECT cost FROM jobs AS a
            WHERE a.ready AND a.pool = j.pool AND a.priority = j.priority AND a.tenant = j.tenant
              AND (a.deadline, a.id) < (j.deadline, j.id)
            ORDER BY a.deadline, a.id LIMIT :most_ahead) AS first) AS ahead
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE l.priority < j.priority)::int AS more_urgent,
               count(*) FILTER (WHERE l.priority = j.priority AND l.vtime < own.vtime)::int AS had_less
        FROM lanes AS l WHERE l.pool = j.pool AND l.active AND l.tenant <> j.tenant) AS others
    WHERE j.id = :id AND j.state = 'queued'
""").bindparams(bindparam("id", type_=Uuid), bindparam("running", type_=Double), bindparam("most_ahead", type_=Integer))


class Turns(Part):
    async def turn(self, job_id: UUID) -> Turn | None:
        given: dict[str, Any] = {"id": job_id, "running": self._defaults.running, "most_ahead": MOST_AHEAD}
        found = await self._database.fetch(_TURN, given)
        return Turn(**found[0]._mapping) if found else None
