"""What tenants have of what stays: counted where more of it is added, added up, and freed once it has ended.

Whoever adds takes its tenant's lock for that quota first, and counts in a statement after it: so no two of them come
between a count and what it allows. Submitting a video takes none of these locks.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, NamedTuple

from sqlalchemy import Text, TextClause, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.campaign import CampaignState, Kind
from orchestrator.policy.limits import Limits
from orchestrator.policy.quotas import COUNTED, Holding, check_room
from orchestrator.ports.campaign_values import ToFree
from orchestrator.store.part import Part

_CHUNK = 5_000

_LIMITS = tuple(field.name for field in fields(Limits))
_OWN = ", ".join(f"t.{name} AS limit_{name}" for name in _LIMITS)

# Of one that has ended counts what is not freed yet.
_HOLDING = text(f"""
    SELECT {_OWN}, held.open_batches, held.open_campaigns, held.waiting_rows, said.row_bytes, stored.files,
           stored.bytes + said.put_bytes AS stored_bytes,
           (SELECT count(*) FROM webhook_endpoints AS e WHERE e.tenant = asked.tenant) AS webhook_endpoints
    FROM (SELECT CAST(:tenant AS text) AS tenant) AS asked LEFT JOIN tenants AS t ON t.name = asked.tenant
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE kind = 'batch' AND ended_at IS NULL) AS open_batches,
               count(*) FILTER (WHERE kind = 'campaign' AND ended_at IS NULL) AS open_campaigns,
               coalesce(sum(rows - succeeded - failed - cancelled - dropped - waived), 0) AS waiting_rows
        FROM campaigns WHERE tenant = asked.tenant AND (ended_at IS NULL OR holds)) AS held
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(bytes), 0) AS row_bytes,
               coalesce(sum((input ->> 'size')::bigint) FILTER (WHERE input ->> 'source' = :put), 0) AS put_bytes
        FROM campaigns WHERE tenant = asked.tenant AND kind = 'campaign') AS said
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(files), 0) AS files, coalesce(sum(bytes), 0) AS bytes FROM (
            SELECT files, bytes FROM stored WHERE tenant = asked.tenant
            UNION ALL SELECT files, bytes FROM stored_changes WHERE tenant = asked.tenant) AS each) AS stored
""").bindparams(bindparam("put", "upload", type_=Text))
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('cogmill:quota:' || :quota || ':' || :tenant, 0))")

# Two that add up at once take different rows, and tenants in one order.
_ADD_UP = text("""
    WITH taken AS MATERIALIZED (
        DELETE FROM stored_changes WHERE id IN (
            SELECT id FROM stored_changes ORDER BY id LIMIT :n FOR UPDATE SKIP LOCKED)
        RETURNING tenant, files, bytes
    ), added AS (
        INSERT INTO stored AS s (tenant, files, bytes)
        SELECT tenant, sum(files), sum(bytes) FROM taken GROUP BY tenant ORDER BY tenant
        ON CONFLICT (tenant) DO UPDATE SET files = s.files + excluded.files, bytes = s.bytes + excluded.bytes
    )
    SELECT count(*) AS n FROM taken
""")

# Campaigns that were carried out keep their rows for whoever orders some of them again.
_NOTHING_TO_FREE = text("""
    UPDATE campaigns SET holds = false
    WHERE ended_at IS NOT NULL AND holds AND kind = 'campaign' AND state NOT IN ('cancelled', 'failed')
""")
_TO_FREE = text("""
    SELECT id, number, kind, state FROM campaigns WHERE ended_at IS NOT NULL AND holds ORDER BY ended_at LIMIT :n
""")
_NEVER_BEGAN = """
    SELECT r.place FROM campaign_rows AS r
    WHERE r.campaign = :number AND r.place >= :first AND r.outcome IS NULL AND {which}
      AND NOT EXISTS (SELECT FROM campaign_jobs AS w WHERE w.campaign = r.campaign AND w.place = r.place)
    ORDER BY r.place LIMIT :n"""
_DELETE = text(f"""
    WITH gone AS (
        DELETE FROM campaign_rows WHERE campaign = :number AND place IN ({_NEVER_BEGAN.format(which="true")})
        RETURNING place, octet_length(body) AS bytes
    )
    SELECT count(*) AS n, max(place) AS last, coalesce(sum(bytes), 0) AS bytes FROM gone
""")
# Its owner still sees by name what was cancelled.
_SAYS_NOTHING = '{"vars":{},"params":{}}'
_EMPTY = text(f"""
    WITH chosen AS MATERIALIZED (
        SELECT place, octet_length(body) AS bytes FROM campaign_rows
        WHERE campaign = :number AND place IN ({_NEVER_BEGAN.format(which="r.body <> :nothing")})
    ), emptied AS (
        UPDATE campaign_rows SET body = :nothing
        WHERE campaign = :number AND place = ANY (ARRAY(SELECT place FROM chosen))
    )
    SELECT count(*) AS n, max(place) AS last,
           coalesce(sum(bytes), 0) - octet_length(:nothing) * count(*) AS bytes FROM chosen
""").bindparams(bindparam("nothing", _SAYS_NOTHING, type_=Text))
_LIGHTER = text("UPDATE campaigns SET bytes = greatest(0, bytes - :bytes) WHERE number = :number")
_PASSES = text("DELETE FROM campaign_passes WHERE campaign = :number")
_FREED = text("UPDATE campaigns SET holds = false WHERE number = :number")


class Known(NamedTuple):
    """What holds for a tenant, and what it has."""

    limits: Limits
    holding: Holding


async def known(connection: AsyncConnection, tenant: str, defaults: Limits) -> Known:
    """What a tenant has now."""
    row = (await connection.execute(_HOLDING, {"tenant": tenant})).one()._mapping
    limits = Limits(**{name: row[f"limit_{name}"] for name in _LIMITS}).over(defaults)
    return Known(limits, Holding(**{name: int(row[name]) for name in COUNTED}))


async def check(connection: AsyncConnection, tenant: str, defaults: Limits, **more: int) -> None:
    """Raise `LimitExceeded` where so much more does not fit.

    Until the transaction ends, nobody else who asks for the same quota first has an answer.
    """
    await connection.execute(_LOCK, {"tenant": tenant, "quota": next(iter(more))})
    found = await known(connection, tenant, defaults)
    check_room(found.limits, found.holding, **more)


class Quotas(Part):
    async def holding_of(self, tenant: str) -> tuple[Limits, Holding]:
        async def read(connection: AsyncConnection) -> Known:
            return await known(connection, tenant, self._defaults)

        return await self._database.transact(read)

    async def add_up_stored(self) -> int:
        (row,) = await self._database.fetch(_ADD_UP, {"n": _CHUNK})
        return int(row.n)

    async def to_free(self, *, limit: int) -> list[ToFree]:
        await self._database.fetch(_NOTHING_TO_FREE)
        return [
            # Nobody looks any more at what a batch was asked for, and at what was never accepted.
            ToFree(id=row.id, number=row.number, whole=row.kind == Kind.BATCH or row.state == CampaignState.FAILED)
            for row in await self._database.fetch(_TO_FREE, {"n": limit})
        ]

    async def free_rows(self, ended: ToFree) -> int:
        statement, first, freed = _DELETE if ended.whole else _EMPTY, 0, 0
        while True:
            stretch = await self._stretch(statement, ended.number, first)
            freed += int(stretch.n)
            if stretch.n < _CHUNK:
                break
            first = stretch.last + 1
        if ended.whole:
            await self._database.fetch(_PASSES, {"number": ended.number})
        await self._database.fetch(_FREED, {"number": ended.number})
        return freed

    async def _stretch(self, statement: TextClause, number: int, first: int) -> Any:
        async def free(connection: AsyncConnection) -> Any:
            gone = (await connection.execute(statement, {"number": number, "first": first, "n": _CHUNK})).one()
            if gone.bytes:  # less than nothing where rows said still less
                await connection.execute(_LIGHTER, {"number": number, "bytes": gone.bytes})
            return gone

        return await self._database.transact(free)
