"""Lent workers come back: who lacks what it is guaranteed gets it within a step and a hand-over, and keeps it."""

from __future__ import annotations

from collections import Counter

from orchestrator.domain.states import JobState
from orchestrator.ports import Share
from tests.support.builders import a_job, a_spec
from tests.support.control import a_plan
from tests.support.site import Site

LONG = a_spec(num_inference_steps=20)
FLEET = {f"small-{i}": a_plan(f"small-{i}") for i in range(3)}


async def running(site: Site) -> Counter[str]:
    rows = await site.database.fetch("SELECT tenant FROM jobs WHERE state = 'running'")
    return Counter(row["tenant"] for row in rows)


async def lent(site: Site) -> None:
    """Three workers render for `bulk`, of which `gold` is guaranteed two; more of `bulk`'s waits."""
    await site.store.set_share(Share(tenant="gold", pool="small", guaranteed=2))
    await site.begins(FLEET)
    for _ in range(6):
        await site.store.submit(a_job(tenant="bulk", priority=20, spec=LONG))
    await site.control.round()
    assert await running(site) == {"bulk": 3}
    await step(site)


async def step(site: Site) -> None:
    """One step of every render, of which the dispatcher hears."""
    for name in FLEET:
        site.pool.advance(name)
        await site.control.watchers[name].run_once()


async def test_a_tenant_gets_its_guaranteed_workers_back_and_whoever_left_does_not_come_first(site: Site) -> None:
    await lent(site)
    for _ in range(3):
        await site.store.submit(a_job(tenant="gold", priority=20, spec=LONG))
    for _ in range(4):
        await step(site)
        await site.control.round()
    assert await running(site) == {"bulk": 1, "gold": 2}
    rows = await site.database.fetch("SELECT outcome, failure FROM attempts")
    assert [(row["outcome"], row["failure"]) for row in rows] == [("evicted", None)] * 2, "and nothing goes to and fro"
    assert await site.database.fetchval("SELECT sum(failures) FROM jobs") == 0


async def test_nothing_leaves_for_a_guarantee_that_is_not_wanted_or_while_the_pool_is_paused(site: Site) -> None:
    await lent(site)
    assert await site.control.dispatcher.give_back() == 0
    await site.store.submit(a_job(tenant="gold", priority=20, spec=LONG))
    await site.store.pause("small", reason="for the test", by="ada")
    assert await site.control.dispatcher.give_back() == 0
    await site.store.resume("small", by="ada")
    assert await site.control.dispatcher.give_back() == 1
    assert await site.control.dispatcher.give_back() == 0, "one is on its way out"


async def test_a_render_that_left_goes_on_from_its_checkpoint_once_there_is_room(site: Site) -> None:
    await lent(site)
    job = a_job(tenant="gold", priority=20, spec=LONG)
    await site.store.submit(job)
    await site.control.round()
    for _ in range(120):
        await step(site)
        await site.control.round()
    rows = await site.database.fetch("SELECT state FROM jobs")
    assert {row["state"] for row in rows} == {JobState.SUCCEEDED}
