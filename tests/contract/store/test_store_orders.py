"""Orders to workers as rows: what stands, for how long, for which life, and when it goes."""

from __future__ import annotations

import asyncpg

from orchestrator.domain.clusters import ClusterState
from orchestrator.domain.job import WorkerRef
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.domain.orders import OrderKind
from orchestrator.ports.orders import Ordered
from orchestrator.store import Store
from tests.support.jobs import CLUSTER, POOL, new_job, worker

W0 = worker()


async def ask(
    store: Store, kind: OrderKind = OrderKind.DRAIN, *, name: str = W0.name, within_s: float | None = None
) -> Ordered:
    return await store.order_worker(CLUSTER, name, kind, incarnation="first", within_s=within_s, by="a test")


async def test_one_order_stands_for_a_worker_and_the_last_one_counts(store: Store) -> None:
    first = await ask(store, within_s=60)
    assert first.before is None
    assert first.after is not None
    second = await ask(store, OrderKind.REPLACE)
    assert second.before is not None
    assert (second.before.kind, second.before.within_s) == (first.after.kind, 60) == ("drain", 60)
    (standing,) = await store.worker_orders(CLUSTER)
    assert (standing.kind, standing.within_s, standing.left_s, standing.overdue) == ("replace", None, None, False)
    assert await store.worker_orders("elsewhere") == []
    assert not await store.order_done(first.after)  # something else was asked since
    assert await store.order_done(standing)
    assert await store.worker_orders(CLUSTER) == []
    assert (await store.lift_order(CLUSTER, W0.name)) == Ordered(before=None, after=None)


async def test_the_time_of_an_order_runs_by_the_databases_clock(store: Store, database: asyncpg.Connection) -> None:
    await ask(store, within_s=60)
    for ago, overdue in (("30 seconds", False), ("61 seconds", True)):
        await database.execute(f"UPDATE worker_orders SET asked_at = cogmill_now() - interval '{ago}'")
        (standing,) = await store.worker_orders(CLUSTER)
        assert standing.overdue is overdue
        assert standing.left_s is not None
        assert 0 <= standing.left_s <= 30


async def test_workers_are_seen_while_they_live_rest_or_were_drained(store: Store) -> None:
    await store.beat(CLUSTER, {W0: POOL, WorkerRef(name="w1", incarnation="first"): POOL})
    await store.beat("another", {W0: "large"})
    load = WorkerLoad(worker="w2", pool=POOL, model="tiny", state=LoadState.BROKEN, failures=3, reason="no", detail="")
    await store.record_loads(CLUSTER, [load])
    await ask(store, name="w3")
    await store.submit(new_job())
    (claim,) = await store.claim(POOL, CLUSTER, [W0])
    page = await store.page_workers(limit=9)
    seen = {(each.cluster, each.name): each for each in page.workers}
    assert list(seen) == sorted([("another", W0.name), *((CLUSTER, name) for name in (W0.name, "w1", "w2", "w3"))])
    assert (seen[CLUSTER, W0.name].running, seen["another", W0.name].running) == (1, 0)
    assert (seen[CLUSTER, "w2"].incarnation, seen[CLUSTER, "w2"].load, seen[CLUSTER, "w2"].failures) == (
        None,
        "broken",
        3,
    )
    drained = seen[CLUSTER, "w3"]
    assert drained == await store.find_worker(CLUSTER, "w3")
    assert drained.order is not None
    assert drained.order.kind is OrderKind.DRAIN
    assert await store.find_worker(CLUSTER, "w9") is None
    walked: list[tuple[str, str]] = []
    more = True
    while more:
        some = await store.page_workers(limit=2, after=walked[-1] if walked else None)
        walked += [(each.cluster, each.name) for each in some.workers]
        more = some.has_more
    assert walked == list(seen)
    assert [each.name for each in (await store.page_workers(limit=9, pool="large")).workers] == [W0.name]
    assert len((await store.page_workers(limit=9, cluster=CLUSTER)).workers) == 4
    assert claim.worker == W0


async def test_orders_of_a_cluster_that_has_ended_go_and_no_others(store: Store, database: asyncpg.Connection) -> None:
    await ask(store)
    await database.execute("UPDATE worker_orders SET asked_at = cogmill_now() - interval '9 days'")
    assert await store.prune_history(keep_s=60) == 0  # nobody keeps rows of clusters
    await store.add_cluster("another", "release", ClusterState.SERVING, "a test")
    await store.beat(CLUSTER, {W0: POOL})
    assert await store.prune_history(keep_s=60) == 0  # it has a worker
    await store.declare_dead(CLUSTER, W0)
    assert await store.prune_history(keep_s=10 * 86400) == 0
    assert await store.prune_history(keep_s=86400) == 1
