"""Whom a campaign shares its tenant's workers with: other campaigns, and single videos."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ARRAY, Text, bindparam, text

from orchestrator.domain.campaign import Campaign
from orchestrator.ports.campaign_values import Beside
from orchestrator.store.campaign_values import COLUMNS, LIVE, campaign
from orchestrator.store.part import Part
from orchestrator.telemetry import aside

_RIVALS = text(f"""
    SELECT {COLUMNS}, live.* FROM campaigns AS c, {LIVE}
    WHERE c.tenant = :tenant AND c.priority = :priority AND c.kind = 'campaign' AND c.ended_at IS NULL
      AND c.state IN ('sampling', 'running')
    ORDER BY c.created_at, c.id
""")

# Of a live job's states only `running` sorts behind `queued`, as in `cogmill_running`. What waits is counted as a claim
# reads it, and no further than to `most`.
_BESIDE = text("""
    SELECT (SELECT count(*) FROM jobs AS b WHERE b.state = 'running' AND b.pool = :pool) AS busy,
           count(*) AS running, count(*) FILTER (WHERE single) AS singles_running, (
               SELECT count(*) FROM (
                   SELECT FROM jobs AS j
                   WHERE j.ready AND j.pool = :pool AND j.priority = :priority AND j.tenant = :tenant
                     AND NOT coalesce(j.campaign = ANY (:ids), false)
                   ORDER BY j.deadline, j.id LIMIT :most) AS first) AS singles_ready
    FROM (SELECT NOT coalesce(r.campaign = ANY (:ids), false) AS single FROM jobs AS r
          WHERE r.tenant = :tenant AND coalesce(r.finished_at, 'infinity') = 'infinity' AND r.state > 'queued'
            AND r.pool = :pool AND r.priority = :priority) AS held
""").bindparams(bindparam("ids", type_=ARRAY(Text)))


class Rivals(Part):
    async def rivals(self, tenant: str, priority: int) -> list[Campaign]:
        found = []
        for row in await self._database.fetch(_RIVALS, {"tenant": tenant, "priority": priority}):
            with aside.unless_it_breaks("campaigns", campaign=row.id):
                found.append(campaign(row))
        return found

    async def beside(self, tenant: str, pool: str, priority: int, campaigns: Collection[str], *, most: int) -> Beside:
        where = {"tenant": tenant, "pool": pool, "priority": priority, "ids": sorted(campaigns), "most": most}
        (row,) = await self._database.fetch(_BESIDE, where)
        return Beside(**row._mapping)
