"""What follows from each generation of the master key: found, and ended with it."""

from __future__ import annotations

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.campaign import ManifestMark
from orchestrator.ports.masters import MasterUse, Retired, SignedManifest, SigningSecret
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
    UPDATE keys SET revoked_at = cogmill_now() FROM held WHERE keys.id = held.id RETURNING keys.id
""")
_ROTATE = """
    UPDATE {table} SET secret_generation = secret_generation + 1, master = :successor, previous_master = NULL,
        previous_secret_until = NULL
    WHERE master = :generation
    RETURNING {name}
"""
_END_OVERLAP = """
    UPDATE {table} SET previous_secret_until = NULL, previous_master = NULL
    WHERE previous_secret_until IS NOT NULL AND coalesce(previous_master, 1) = :generation
"""
# Where secrets that sign are, and what names each.
_SECRETS_OF = {"webhook_endpoints": "id", "tenants": "name"}

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
            revoked = (await connection.scalars(_REVOKE, of)).all()
            rotated = {}
            for table, name in _SECRETS_OF.items():
                rotation = text(_ROTATE.format(table=table, name=name))
                rotated[table] = (await connection.scalars(rotation, of | {"successor": successor})).all()
                await connection.execute(text(_END_OVERLAP.format(table=table)), of)
            return Retired(keys=revoked, endpoints=rotated["webhook_endpoints"], tenants=rotated["tenants"])

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
