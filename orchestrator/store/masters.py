"""What follows from each generation of the master key: found, and ended with it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import Action, Change
from orchestrator.domain.campaign import ManifestMark
from orchestrator.ports.masters import MasterUse, Retired, SignedManifest, SigningSecret
from orchestrator.store.audit import record_all
from orchestrator.store.part import Part
from orchestrator.store.tables import campaigns

# As `standing` in `domain/rights.py` has it.
_GOOD = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > cogmill_now())"

# Every secret that signs: the present ones, and those before them while they overlap. What was rotated before there
# were generations is the first's. A tenant's own that nobody has been shown is of none.
_SIGNING = """
    signing AS (
        SELECT tenant, id AS endpoint_id, url, name, master, NULL::timestamptz AS until FROM webhook_endpoints
        UNION ALL
        SELECT tenant, id, url, name, coalesce(previous_master, 1), previous_secret_until
        FROM webhook_endpoints WHERE previous_secret_until > cogmill_now()
        UNION ALL
        SELECT name, NULL, NULL, NULL, master, NULL FROM tenants WHERE master IS NOT NULL
        UNION ALL
        SELECT name, NULL, NULL, NULL, coalesce(previous_master, 1), previous_secret_until
        FROM tenants WHERE previous_secret_until > cogmill_now()
    )
"""

_IN_USE = text(f"""
    WITH {_SIGNING}, lives AS (
        SELECT master, count(*) AS keys, 0 AS secrets, max(last_used_at) AS used_at
        FROM keys WHERE {_GOOD} GROUP BY master
        UNION ALL
        SELECT master, 0, count(*), NULL FROM signing GROUP BY master
    )
    SELECT master AS generation, sum(keys)::bigint AS keys, sum(secrets)::bigint AS secrets, max(used_at) AS used_at
    FROM lives GROUP BY master ORDER BY master DESC
""")

# The newest delivery of each by walking an index of ids, which hold a UUIDv7.
_SECRETS = text(f"""
    WITH {_SIGNING}
    SELECT s.tenant, s.endpoint_id, s.url, s.name, s.until, d.created_at AS sent_at
    FROM signing AS s LEFT JOIN LATERAL (
        SELECT created_at FROM deliveries
        WHERE tenant = s.tenant AND endpoint_id IS NOT DISTINCT FROM s.endpoint_id ORDER BY id DESC LIMIT 1
    ) AS d ON true
    WHERE s.master = :generation
    ORDER BY s.tenant, s.endpoint_id NULLS FIRST, s.until NULLS FIRST
""")

# Locked in the order in which uses are written down.
_REVOKE = text("""
    WITH held AS (SELECT id FROM keys WHERE master = :generation AND revoked_at IS NULL ORDER BY id FOR NO KEY UPDATE)
    UPDATE keys SET revoked_at = cogmill_now() FROM held WHERE keys.id = held.id
    RETURNING keys.id, keys.tenant, keys.revoked_at
""")
_ROTATE = """
    UPDATE {table} SET secret_generation = secret_generation + 1, master = :successor, previous_master = NULL,
        previous_secret_until = NULL
    WHERE master = :generation
    RETURNING {name} AS id, {tenant} AS tenant, secret_generation
"""
_END_OVERLAP = """
    UPDATE {table} SET previous_secret_until = NULL, previous_master = NULL
    WHERE previous_secret_until IS NOT NULL AND coalesce(previous_master, 1) = :generation
"""
# Where secrets that sign are: what names each, whose it is, and what the audit log calls it.
_SECRETS_OF = {"webhook_endpoints": ("id", "tenant", "webhook"), "tenants": ("name", "name", "tenant")}

# The same manifest, which another key has signed.
_RESIGNED = text("""
    UPDATE campaigns SET manifest = jsonb_set(manifest, '{key_id}', to_jsonb(CAST(:key_id AS text)))
    WHERE id = :id AND manifest ->> 'key' = :key AND manifest ->> 'key_id' = :before
    RETURNING id
""")


class Masters(Part):
    async def masters_in_use(self) -> list[MasterUse]:
        return [MasterUse(**row._mapping) for row in await self._database.fetch(_IN_USE)]

    async def signing_secrets(self, generation: int) -> list[SigningSecret]:
        found = await self._database.fetch(_SECRETS, {"generation": generation})
        return [SigningSecret(**row._mapping) for row in found]

    async def retire_master(self, generation: int, *, successor: int) -> Retired:
        of = {"generation": generation}

        async def retire(connection: AsyncConnection) -> Retired:
            keys = (await connection.execute(_REVOKE, of)).all()
            changes = [_revoked(row) for row in keys]
            rotated, overlaps = dict[str, list[str]](), 0
            for table, (name, tenant, kind) in _SECRETS_OF.items():
                rotation = text(_ROTATE.format(table=table, name=name, tenant=tenant))
                rows = (await connection.execute(rotation, of | {"successor": successor})).all()
                rotated[table] = [row.id for row in rows]
                changes += [_rotated(kind, row) for row in rows]
                overlaps += (await connection.execute(text(_END_OVERLAP.format(table=table)), of)).rowcount
            if changes or overlaps:
                after = {"successor": successor, "keys": len(keys), "secrets": len(changes) - len(keys)}
                changes.append(Change(action=Action.MASTER_RETIRE, object=f"master:{generation}", after=after))
            await record_all(connection, changes)
            ids = [row.id for row in keys]
            return Retired(keys=ids, endpoints=rotated["webhook_endpoints"], tenants=rotated["tenants"])

        return await self._database.transact(retire)

    async def manifests_signed(self, key_id: str, *, limit: int, after: str = "") -> list[SignedManifest]:
        query = select(campaigns.c.id, campaigns.c.manifest).where(
            campaigns.c.manifest["key_id"].as_string() == key_id, campaigns.c.id > after
        )
        found = await self._database.fetch(query.order_by(campaigns.c.id).limit(limit))
        return [SignedManifest(campaign=row.id, mark=ManifestMark(**row.manifest)) for row in found]

    async def note_signature(self, signed: SignedManifest, key_id: str) -> bool:
        told = {"id": signed.campaign, "key": signed.mark.key, "before": signed.mark.key_id, "key_id": key_id}
        return bool(await self._database.fetch(_RESIGNED, told))


def _revoked(row: Row[Any]) -> Change:
    after = {"revoked_at": row.revoked_at}
    return Change(action=Action.KEY_REVOKE, object=f"key:{row.id}", tenant=row.tenant, after=after)


def _rotated(kind: str, row: Row[Any]) -> Change:
    after = {"generation": row.secret_generation, "overlap_s": 0}
    return Change(action=Action.WEBHOOK_ROTATE, object=f"{kind}:{row.id}", tenant=row.tenant, after=after)
