"""The Ray clusters of releases: how each stands, what it holds, and what is asked of its dispatcher."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import Action, Change
from orchestrator.domain.clusters import ClusterState, Wish
from orchestrator.policy.rolling import FENCE_S
from orchestrator.ports.clusters import ClusterRow
from orchestrator.store.audit import record
from orchestrator.store.part import Part

# Dispatchers tell of their workers once a minute, or when something changes: what is older says nothing of now.
_TOLD = timedelta(seconds=90)

_CLUSTERS = text("""
    SELECT c.name, c.state, c.successor, c.why, c.version, c.obeyed, c.since,
           extract(epoch FROM cogmill_now() - c.since)::float8 AS age_s,
           (SELECT count(*) FROM jobs AS j WHERE j.state = 'running' AND j.cluster = c.name)::int AS running,
           coalesce(l.ready, '{}') AS ready, coalesce(l.told, '{}') AS told, c.hosts, c.gives,
           -- A fleet of kinds is told of also while it has no workers.
           l.told IS NOT NULL OR EXISTS (
               SELECT FROM fleet_kinds AS k WHERE k.cluster = c.name AND k.told_at >= c.made_at
                 AND k.told_at > cogmill_now() - CAST(:told AS interval)) AS heard
    FROM ray_clusters AS c
    LEFT JOIN LATERAL (
        SELECT jsonb_object_agg(pool, ready) AS ready, jsonb_object_agg(pool, told) AS told
        FROM (SELECT w.pool, count(*) FILTER (WHERE w.state = 'loaded') AS ready, count(*) AS told
              FROM worker_loads AS w
              -- What an earlier cluster of this name has told is not about this one.
              WHERE w.cluster = c.name AND w.told_at >= c.made_at
                AND w.told_at > cogmill_now() - CAST(:told AS interval)
              GROUP BY w.pool) AS of_pool
    ) AS l ON true
    WHERE CAST(:release AS text) IS NULL OR c.release = :release
    ORDER BY c.name
""")

_ADD = text("""
    INSERT INTO ray_clusters (name, release, state, why) VALUES (:name, :release, :state, :why)
    ON CONFLICT (name) DO NOTHING RETURNING name
""")

_MOVE = text("""
    UPDATE ray_clusters AS c
    SET state = :to, why = :why, successor = :successor, grace_s = :grace_s, version = c.version + 1, obeyed = false,
        hosts = '{}', gives = '{}', since = cogmill_now()
    WHERE c.name = :name AND c.version = :version AND c.state <> 'ending'
    RETURNING c.name
""")

_GIVE_UP = text("""
    UPDATE ray_clusters AS c SET gives = c.gives || :hosts, version = c.version + 1
    WHERE c.name = :name AND c.version = :version AND c.state = 'yielding'
    RETURNING c.name
""").bindparams(bindparam("hosts", type_=JSONB))

_TELL_HOSTS = text("""
    UPDATE ray_clusters AS c SET hosts = :hosts WHERE c.name = :name AND c.state = 'yielding' RETURNING c.name
""").bindparams(bindparam("hosts", type_=JSONB))

# No claim is made of a cluster that retires (`store/claim.py`). One that looked before may commit later than this
# looks: not once the dispatcher has said that none is under way, nor after the time that a statement has.
_END = text("""
    UPDATE ray_clusters AS c
    SET state = 'ending', why = :why, successor = :successor, version = c.version + 1, since = cogmill_now()
    WHERE c.name = :name AND c.version = :version AND c.state <> 'ending'
      AND (:gone OR (c.state = 'retiring' AND (c.obeyed OR c.since < cogmill_now() - CAST(:fence AS interval))))
      AND NOT EXISTS (SELECT FROM jobs AS j WHERE j.state = 'running' AND j.cluster = c.name)
    RETURNING c.name
""")

_FORGET = text("""
    DELETE FROM ray_clusters AS c WHERE c.name = :name AND c.version = :version AND c.state = 'ending' RETURNING c.name
""")

_RETRY = text("""
    UPDATE ray_clusters AS c
    SET state = 'serving', why = 'an operator asked to try again', successor = NULL, version = c.version + 1,
        since = cogmill_now()
    WHERE c.state = 'kept' AND (CAST(:release AS text) IS NULL OR c.release = :release)
    RETURNING c.name
""")

_WISH = text("""
    -- Not the state itself: a cluster's dispatcher may be of an earlier release than who changes it.
    SELECT c.state IN ('retiring', 'ending') AS retires, c.state = 'yielding' AS yields, c.version,
           ARRAY(SELECT jsonb_object_keys(c.gives)) AS gives,
           (c.grace_s - extract(epoch FROM cogmill_now() - c.since))::float8 AS left_s
    FROM ray_clusters AS c WHERE c.name = :name
""")

_OBEYS = text("""
    UPDATE ray_clusters AS c SET obeyed = true
    WHERE c.name = :name AND c.version = :version AND c.state = 'retiring' RETURNING c.name
""")


class Clusters(Part):
    async def clusters(self, release: str | None = None) -> list[ClusterRow]:
        found = await self._database.fetch(_CLUSTERS, {"release": release, "told": _TOLD})
        return [ClusterRow(**{**row._mapping, "state": ClusterState(row.state)}) for row in found]

    async def add_cluster(self, name: str, release: str, state: ClusterState, why: str) -> bool:
        return bool(
            await self._database.fetch(_ADD, {"name": name, "release": release, "state": state.value, "why": why})
        )

    async def move_cluster(
        self,
        name: str,
        version: int,
        to: ClusterState,
        *,
        why: str,
        successor: str | None = None,
        grace_s: float = 0.0,
        gone: bool = False,
    ) -> bool:
        given = {"name": name, "version": version, "why": why, "successor": successor}
        if to is ClusterState.ENDING:
            return bool(await self._database.fetch(_END, given | {"gone": gone, "fence": timedelta(seconds=FENCE_S)}))
        return bool(await self._database.fetch(_MOVE, given | {"to": to.value, "grace_s": grace_s}))

    async def give_up(self, name: str, version: int, hosts: Mapping[str, Mapping[str, int]]) -> bool:
        return bool(await self._database.fetch(_GIVE_UP, {"name": name, "version": version, "hosts": dict(hosts)}))

    async def tell_hosts(self, name: str, hosts: Mapping[str, Mapping[str, int]]) -> bool:
        return bool(await self._database.fetch(_TELL_HOSTS, {"name": name, "hosts": dict(hosts)}))

    async def forget_cluster(self, name: str, version: int) -> bool:
        return bool(await self._database.fetch(_FORGET, {"name": name, "version": version}))

    async def retry_roll(self, release: str | None = None) -> list[str]:
        async def retry(connection: AsyncConnection) -> list[str]:
            names = [row.name for row in await connection.execute(_RETRY, {"release": release})]
            for name in names:
                await record(connection, Change(action=Action.ROLL_RETRY, object=f"cluster:{name}"))
            return names

        return await self._database.transact(retry)

    async def cluster_wish(self, name: str) -> Wish:
        found = await self._database.fetch(_WISH, {"name": name})
        if not found:
            return Wish(retires=False, left_s=0.0, version=0)
        row = found[0]
        return Wish(
            retires=row.retires,
            left_s=max(0.0, row.left_s),
            version=row.version,
            yields=row.yields,
            gives=frozenset(row.gives),
        )

    async def cluster_obeys(self, name: str, version: int) -> bool:
        return bool(await self._database.fetch(_OBEYS, {"name": name, "version": version}))
