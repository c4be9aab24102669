"""What stands for a worker in the database reaches it by the dispatcher's own loop: drained, called back, replaced."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from orchestrator.capacity.plans import plans
from orchestrator.dispatch.watcher import Watcher
from orchestrator.domain.orders import OrderKind
from orchestrator.domain.states import JobState
from orchestrator.processes.dispatching import dispatching
from tests.support.api import api_settings
from tests.support.site import Site

NAME = "small-0"


async def test_a_worker_is_drained_called_back_and_replaced_by_a_row(site: Site, database_url: str) -> None:
    settings = api_settings(database_url)
    await site.begins(plans(settings))
    cluster, unwatched = site.control.cluster, SimpleNamespace(follow=list)
    watchers: Any = unwatched
    table = dispatching(settings, cluster, site.control.dispatcher, watchers, site.store)
    (scale,) = [loop for loop in table if loop.name == "scale"]

    async def ask(kind: OrderKind) -> None:
        life = site.pool.workers[NAME].incarnation
        await site.store.order_worker(cluster.name, NAME, kind, incarnation=life, within_s=None, by="a test")

    async def look(times: int = 1) -> None:
        for _ in range(times):
            await scale.run_once()
            for worker in list(cluster.fleet.workers.values()):
                await Watcher(cluster, worker).run_once()

    job = await site.runs_a_job()
    first = site.pool.workers[NAME]
    await look()
    assert not first.draining
    await ask(OrderKind.DRAIN)
    await look(2)
    assert first.draining
    assert await site.state(job) is JobState.RUNNING, "it goes on to its end"
    while first.renders:
        site.pool.advance(NAME)
        await look()
    await look(2)
    assert await site.state(job) is JobState.SUCCEEDED
    assert site.pool.workers == {}, "it stays away"

    await site.store.lift_order(cluster.name, NAME)
    await look(2)
    second = site.pool.workers[NAME]
    assert second.incarnation != first.incarnation
    await ask(OrderKind.REPLACE)
    await look(4)
    assert site.pool.workers[NAME].incarnation not in (first.incarnation, second.incarnation)
    assert await site.store.worker_orders(cluster.name) == [], "it is carried out"
