"""Workers as administrators see them, and what stands for each: its dispatcher reads it and does it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import Action, Change
from orchestrator.domain.job import public_id
from orchestrator.domain.loading import LoadState
from orchestrator.domain.orders import Order, OrderKind
from orchestrator.ports.orders import Ordered, RenderSeen, WorkerPage, WorkerSeen
from orchestrator.store.audit import record
from orchestrator.store.loads import STALE
from orchestrator.store.part import Part
from orchestrator.store.tables import worker_orders

# Alive by its row, told of by its dispatcher, or spoken to by an administrator: one that was drained is only the last.
_SEEN = """
    WITH known AS (
        SELECT cluster, name FROM workers WHERE alive
        UNION SELECT cluster, worker FROM worker_loads WHERE told_at > cogmill_now() - CAST(:stale AS interval)
        UNION SELECT cluster, worker FROM worker_orders
    ), busy AS (
        SELECT cluster, worker, count(*)::int AS running, jsonb_agg(jsonb_build_object(
                   'id', id, 'tenant', tenant, 'campaign', campaign, 'priority', priority, 'stage', stage, 'step', step,
                   'steps', spec -> 'num_inference_steps', 'claimed_at', claimed_at) ORDER BY claimed_at, id) AS renders
        FROM jobs WHERE state = 'running' GROUP BY cluster, worker
    )
    SELECT k.cluster, k.name, coalesce(w.pool, l.pool, o.pool) AS pool, w.incarnation, w.beat_at,
           l.state AS load, l.model, coalesce(l.failures, 0) AS failures, coalesce(l.reason, '') AS reason,
           coalesce(l.detail, '') AS detail, coalesce(l.adapters, '{{}}') AS adapters,
           coalesce(b.running, 0) AS running, b.renders,
           o.kind, o.incarnation AS said_to, o.within_s, o.asked_by, o.asked_at, {left} AS left_s
    FROM known AS k
    LEFT JOIN LATERAL (
        SELECT w.pool, w.incarnation, w.beat_at FROM workers AS w
        WHERE w.cluster = k.cluster AND w.name = k.name AND w.alive ORDER BY w.beat_at DESC LIMIT 1) AS w ON true
    LEFT JOIN worker_loads AS l ON l.cluster = k.cluster AND l.worker = k.name
        AND l.told_at > cogmill_now() - CAST(:stale AS interval)
    LEFT JOIN worker_orders AS o ON o.cluster = k.cluster AND o.worker = k.name
    LEFT JOIN busy AS b ON b.cluster = k.cluster AND b.worker = k.name
    WHERE {chosen}
    ORDER BY k.cluster, k.name LIMIT :n
"""
# Null where there is no such time: `greatest` alone would make it 0.
_LEFT = """CASE WHEN o.within_s IS NOT NULL
        THEN greatest(0, o.within_s - extract(epoch FROM cogmill_now() - o.asked_at))::float8 END"""
_PAGE = text(
    _SEEN.format(
        left=_LEFT,
        chosen="""(k.cluster, k.name) > (:after_cluster, :after_name)
        AND (CAST(:pool AS text) IS NULL OR coalesce(w.pool, l.pool, o.pool) = :pool)
        AND (CAST(:cluster AS text) IS NULL OR k.cluster = :cluster)""",
    )
)
_ONE = text(_SEEN.format(left=_LEFT, chosen="k.cluster = :cluster AND k.name = :name"))
_STANDING = text(f"""
    SELECT o.cluster, o.worker, o.kind, o.incarnation, o.within_s, {_LEFT} AS left_s, o.asked_by, o.asked_at
    FROM worker_orders AS o
    WHERE o.cluster = :cluster AND (CAST(:worker AS text) IS NULL OR o.worker = :worker)
    ORDER BY o.worker
""")
_POOL = text("SELECT pool FROM workers WHERE cluster = :cluster AND name = :worker AND incarnation = :incarnation")

_ASKED = {OrderKind.DRAIN: Action.WORKER_DRAIN, OrderKind.REPLACE: Action.WORKER_REPLACE}


class WorkerOrders(Part):
    async def page_workers(
        self, *, limit: int, after: tuple[str, str] | None = None, pool: str | None = None, cluster: str | None = None
    ) -> WorkerPage:
        behind = {"after_cluster": after[0] if after else "", "after_name": after[1] if after else ""}
        given = {"stale": STALE, "n": limit + 1, "pool": pool, "cluster": cluster}
        found = await self._database.fetch(_PAGE, given | behind)
        return WorkerPage(workers=[_seen(row) for row in found[:limit]], has_more=len(found) > limit)

    async def find_worker(self, cluster: str, name: str) -> WorkerSeen | None:
        found = await self._database.fetch(_ONE, {"stale": STALE, "n": 1, "cluster": cluster, "name": name})
        return _seen(found[0]) if found else None

    async def order_worker(
        self, cluster: str, name: str, kind: OrderKind, *, incarnation: str, within_s: float | None, by: str
    ) -> Ordered:
        where = {"cluster": cluster, "worker": name}

        async def ask(connection: AsyncConnection) -> Ordered:
            before = await _standing(connection, cluster, name)
            pool = await connection.scalar(_POOL, where | {"incarnation": incarnation})
            values = {
                "pool": pool or "", "kind": kind.value, "incarnation": incarnation, "within_s": within_s,
                "asked_by": by, "asked_at": func.cogmill_now(),
            }  # fmt: skip
            add = insert(worker_orders).values(**where, **values)
            await connection.execute(add.on_conflict_do_update(index_elements=list(where), set_=values))
            after = await _standing(connection, cluster, name)
            await record(connection, _change(_ASKED[kind], cluster, name, before, after))
            return Ordered(before=before, after=after)

        return await self._database.transact(ask)

    async def lift_order(self, cluster: str, name: str) -> Ordered:
        async def lift(connection: AsyncConnection) -> Ordered:
            before = await _standing(connection, cluster, name)
            of = worker_orders.c
            await connection.execute(delete(worker_orders).where(of.cluster == cluster, of.worker == name))
            if before is not None:
                await record(connection, _change(Action.WORKER_RESUME, cluster, name, before, None))
            return Ordered(before=before, after=None)

        return await self._database.transact(lift)

    async def worker_orders(self, cluster: str) -> list[Order]:
        found = await self._database.fetch(_STANDING, {"cluster": cluster, "worker": None})
        return [_order(row) for row in found]

    async def order_done(self, order: Order) -> bool:
        of = worker_orders.c
        same = (of.cluster == order.cluster, of.worker == order.worker, of.asked_at == order.asked_at)
        return bool(await self._database.fetch(delete(worker_orders).where(*same).returning(of.worker)))


async def _standing(connection: AsyncConnection, cluster: str, name: str) -> Order | None:
    """What stands for a worker, which stays so until the transaction ends."""
    of = worker_orders.c
    await connection.execute(select(of.worker).where(of.cluster == cluster, of.worker == name).with_for_update())
    row = (await connection.execute(_STANDING, {"cluster": cluster, "worker": name})).one_or_none()
    return None if row is None else _order(row)


def _change(action: Action, cluster: str, name: str, before: Order | None, after: Order | None) -> Change:
    return Change(action=action, object=f"worker:{cluster}:{name}", before=_told(before), after=_told(after))


def _told(order: Order | None) -> dict[str, Any] | None:
    if order is None:
        return None
    return {"order": order.kind, "incarnation": order.incarnation, "within_s": order.within_s, "by": order.asked_by}


def _order(row: Row[Any]) -> Order:
    return Order(**{**row._mapping, "kind": OrderKind(row.kind)})


def _seen(row: Row[Any]) -> WorkerSeen:
    order = None
    if row.kind is not None:
        order = Order(
            cluster=row.cluster,
            worker=row.name,
            kind=OrderKind(row.kind),
            incarnation=row.said_to,
            within_s=row.within_s,
            left_s=row.left_s,
            asked_by=row.asked_by,
            asked_at=row.asked_at,
        )
    return WorkerSeen(
        cluster=row.cluster,
        name=row.name,
        pool=row.pool or "",
        incarnation=row.incarnation,
        beat_at=row.beat_at,
        load=None if row.load is None else LoadState(row.load),
        model=row.model,
        failures=row.failures,
        reason=row.reason,
        detail=row.detail,
        adapters=list(row.adapters),
        running=row.running,
        renders=[_render(each) for each in row.renders or ()],
        order=order,
    )


def _render(told: Mapping[str, Any]) -> RenderSeen:
    return RenderSeen(
        job_id=public_id(UUID(told["id"])),
        tenant=told["tenant"],
        campaign=told["campaign"],
        priority=told["priority"],
        stage=told["stage"],
        step=told["step"],
        steps=told["steps"] or 0,
        claimed_at=datetime.fromisoformat(told["claimed_at"]),
    )
