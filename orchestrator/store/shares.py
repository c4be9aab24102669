"""What tenants have of single pools: guaranteed workers, caps, and who lacks what it is guaranteed."""

from __future__ import annotations

from sqlalchemy import Double, bindparam, delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import Action
from orchestrator.policy.guarantees import Standing
from orchestrator.ports import Share
from orchestrator.store.audit import record_difference
from orchestrator.store.part import Part
from orchestrator.store.tables import shares, tenants
from orchestrator.store.tenants import new_tenant

# Nearly always nobody lacks anything, and then nothing else is counted. What waits is counted up to what is lacking.
_STANDINGS = text("""
    WITH promised AS MATERIALIZED (
        SELECT tenant, guaranteed, cogmill_running(tenant, :pool) AS running
        FROM shares WHERE pool = :pool AND guaranteed > 0
    ), short AS MATERIALIZED (
        SELECT p.*, (
            SELECT count(*)::int FROM (
                SELECT FROM lanes AS l JOIN jobs AS j
                    ON j.ready AND j.pool = l.pool AND j.priority = l.priority AND j.tenant = l.tenant
                WHERE l.pool = :pool AND l.tenant = p.tenant LIMIT p.guaranteed) AS first) AS waiting,
            nullif(coalesce((SELECT t.running FROM tenants AS t WHERE t.name = p.tenant), :most), 'infinity')
                - cogmill_running(p.tenant, NULL) AS room
        FROM promised AS p WHERE running < guaranteed
    )
    SELECT tenant, guaranteed, running, waiting, room FROM short
    UNION ALL
    SELECT tenant, coalesce(guaranteed, 0), r.running, 0, NULL
    FROM (SELECT tenant, count(*)::int AS running FROM jobs WHERE state = 'running' AND pool = :pool
          GROUP BY tenant) AS r LEFT JOIN promised USING (tenant)
    WHERE EXISTS (SELECT FROM short WHERE waiting > 0) AND tenant NOT IN (SELECT tenant FROM short)
""").bindparams(bindparam("most", type_=Double))


class Shares(Part):
    async def set_share(self, share: Share) -> None:
        """Give a tenant this much of a pool; nothing of it, and it has none of its own."""
        given = {"guaranteed": share.guaranteed, "running": share.running}
        where = (shares.c.tenant == share.tenant, shares.c.pool == share.pool)

        async def change(connection: AsyncConnection) -> None:
            row = (await connection.execute(select(shares).where(*where).with_for_update())).one_or_none()
            before = {name: None if row is None else getattr(row, name) for name in given}
            if share.guaranteed == 0 and share.running is None:
                await connection.execute(delete(shares).where(*where))
            else:
                await connection.execute(insert(tenants).values(new_tenant(share.tenant)).on_conflict_do_nothing())
                one = insert(shares).values(tenant=share.tenant, pool=share.pool, **given)
                await connection.execute(one.on_conflict_do_update(index_elements=["tenant", "pool"], set_=given))
            before["guaranteed"] = before["guaranteed"] or 0
            of = f"tenant:{share.tenant} pool:{share.pool}"
            await record_difference(connection, Action.TENANT_SHARE, of, before, given, tenant=share.tenant)

        await self._database.transact(change)
        self._notifier.announce()  # jobs that were held back may have room now

    async def list_shares(self) -> list[Share]:
        found = await self._database.fetch(select(shares).order_by(shares.c.pool, shares.c.tenant))
        return [Share(**row._mapping) for row in found]

    async def standings(self, pool: str) -> list[Standing]:
        found = await self._database.fetch(_STANDINGS, {"pool": pool, "most": self._defaults.running})
        standings = [Standing(**row._mapping) for row in found]
        return standings if any(each.waiting for each in standings) else []
