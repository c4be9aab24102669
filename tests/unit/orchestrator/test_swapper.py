"""Workers that pools share get another model: drained, ended, started anew; adopted as they are; and it is told."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from orchestrator.capacity.fleets import Fleets
from orchestrator.capacity.plans import plans
from orchestrator.domain.job import WorkerRef
from orchestrator.domain.loading import WorkerLoad
from orchestrator.domain.protocol import Stage, WorkerState
from orchestrator.policy.affinity import LOAD_S
from orchestrator.ports.fleet import KindState, QueueLine, ScaleDecision
from orchestrator.telemetry import metrics
from tests.support.builders import a_claim, a_render
from tests.support.swapping import Site, shared_settings

MUCH = QueueLine(waiting={10: 1e5}, oldest_s=10.0)
LITTLE = QueueLine(waiting={10: 1.0}, oldest_s=10.0)


async def ready(site: Site, *names: str) -> Site:
    await site.turn()
    site.answers(*(names or site.wanted))
    return site


async def test_workers_begin_with_all_models_in_turn_and_stay_while_nothing_waits() -> None:
    site = await ready(Site(shared_settings(workers=3)))
    assert [(plan.name, plan.pool, plan.model) for plan in site.started] == [
        ("main-0", "five", "big"), ("main-1", "two", "small"), ("main-2", "five", "big"),
    ]  # fmt: skip
    assert await site.turn() == []
    assert (site.known("five").ready, site.known("two").ready) == (2, 1)
    assert site.known("five").why == "no worker has changed its model yet"


async def test_an_idle_worker_is_drained_ended_and_started_with_the_other_model() -> None:
    site = await ready(Site(shared_settings(workers=3)))
    site.waiting = {"two": MUCH}
    before = metrics.swaps.labels("main", "two", "spare")._value.get()
    (swap,) = await site.turn()
    assert (swap.worker, swap.left, swap.to) == ("main-0", "five", "two")
    assert metrics.swaps.labels("main", "two", "spare")._value.get() == before + 1
    assert [(each.pool, each.kind, each.change) for each in site.decisions] == [
        ("five", "main", -1),
        ("two", "main", 1),
    ]
    assert site.known("two").why == site.known("five").why == swap.why
    old = site.fleet.workers["main-0"]
    await site.scale()
    assert (site.drained, site.there) == (["main-0"], ["main-1", "main-2"])
    await site.scale()
    new = site.fleet.workers["main-0"]
    assert new is not old
    assert new.pool == "two"
    assert (site.started[-1].name, site.started[-1].pool, site.started[-1].model) == ("main-0", "two", "small")
    site.answers("main-0", life="second", state=WorkerState.LOADING)
    assert await site.turn() == []  # one at a time
    assert (site.known("two").wanted, site.known("two").starting, site.known("two").ready) == (2, 1, 1)


async def test_what_a_worker_renders_goes_on_to_its_end_first() -> None:
    site = await ready(Site(shared_settings(workers=3)))
    ref = WorkerRef(name="main-0", incarnation="first")
    claim = a_claim(pool="five", worker=ref, priority=20, cost=60.0)
    site.holds(claim)
    site.answers("main-0", renders=[a_render(claim, stage=Stage.DENOISING)])
    site.answers("main-2", state=WorkerState.LOADING)
    site.waiting = {"two": MUCH}
    (swap,) = await site.turn()
    assert swap.worker == "main-0"
    for _ in range(3):
        await site.scale()
        assert "main-0" in site.there
        assert "main-0" not in [status.worker.name for status in site.fleet.takers("five")]
    site.claims.drop(claim.token)
    site.answers("main-0", pool="five", state=WorkerState.DRAINING)
    await site.scale()
    assert "main-0" not in site.there


async def test_the_wait_of_a_cold_model_is_told_and_ends_at_its_bound() -> None:
    site = await ready(Site(shared_settings(workers=1, cold_wait_s=300, hold_s=60)))
    site.waiting = {"five": LITTLE, "two": LITTLE}
    assert await site.turn() == []
    cold = site.known("two")
    assert (cold.wanted, cold.rests_s) == (0, 290.0)
    assert cold.why == "no worker holds its model; one is taken for it within 290 s"
    site.waiting["two"] = replace(LITTLE, oldest_s=310.0)
    assert await site.turn(290 - LOAD_S - 10) == []
    (swap,) = await site.turn(10.0)
    assert swap.to == "two"
    assert site.known("two").rests_s == 0.0
    # Of the one that has none now: so long waits a job that comes.
    assert (site.known("five").wanted, site.waiting.pop("five")) == (0, LITTLE)
    await site.turn()
    assert site.known("five").rests_s == 300.0


async def test_a_new_dispatcher_keeps_what_workers_hold_whatever_it_would_begin_with() -> None:
    site = Site(there=["main-0", "main-1"])
    await site.turn()
    assert site.swapper.unjudged == {"main-0", "main-1"}
    site.answers("main-0", pool="two")  # before anybody has looked
    await site.scaler.run_once()
    assert site.drained == []
    site.answers("main-0", pool="two", plan=site.plan_of("main-0", "two"))
    site.answers("main-1", pool="two", plan=site.plan_of("main-1", "two"))
    await site.turn()
    assert site.pools_wanted() == {"main-0": "two", "main-1": "two"}
    assert site.swapper.unjudged == set()
    await site.turn()
    assert site.drained == []
    assert site.known("two").ready == 2


def after_a_restart() -> Site:
    """The workers hold each other's first models, and one has said so. What waits for the other's has waited long."""
    site = Site(shared_settings(cold_wait_s=60, hold_s=1), there=["main-0", "main-1"])
    site.waiting = {"two": QueueLine(waiting={10: 1.0}, oldest_s=1000.0)}
    site.answers("main-1", pool="five", plan=site.plan_of("main-1", "five"))
    return site


async def test_nothing_is_decided_for_a_set_until_its_workers_have_told_what_they_hold() -> None:
    site = after_a_restart()
    for _ in range(5):
        assert await site.turn() == []
    site.answers("main-0", pool="two", plan=site.plan_of("main-0", "two"))
    assert await site.turn() == []
    assert site.pools_wanted() == {"main-0": "two", "main-1": "five"}
    assert site.known("two").ready == 1


async def test_one_that_never_tells_what_it_holds_holds_up_the_others_for_a_minute() -> None:
    site = after_a_restart()
    assert await site.turn() == []
    assert [swap.worker for swap in await site.turn(60.0)] == ["main-1"]


async def test_one_that_vanished_before_it_told_what_it_held_is_started_as_another() -> None:
    site = Site(there=["main-0"])
    await site.turn()
    site.there.remove("main-0")
    await site.turn()
    assert site.swapper.unjudged == set()
    assert sorted(plan.name for plan in site.started) == ["main-0", "main-1"]


async def test_one_that_holds_the_model_of_a_pool_that_left_the_set_is_replaced() -> None:
    site = Site(there=["main-0"])
    await site.turn()
    site.answers("main-0", pool="gone")
    await site.scale()
    await site.scale()
    assert site.drained == ["main-0"]
    assert site.started[-1].pool == "five"


async def test_a_paused_pool_gets_no_worker() -> None:
    site = await ready(Site(shared_settings(workers=3)))
    site.waiting = {"two": MUCH}
    site.paused = [SimpleNamespace(pool="two", stands=True)]  # type: ignore[list-item]
    assert await site.turn() == []


async def test_loading_is_measured_and_counts_in_the_next_decision() -> None:
    site = await ready(Site(shared_settings(workers=3)), "main-0", "main-2")
    site.answers("main-1", state=WorkerState.LOADING)
    await site.scale()
    site.now += 7.0
    site.answers("main-1")
    await site.scale()
    site.waiting = {"two": QueueLine(waiting={10: 7.0 * 10}, oldest_s=0.0)}  # far less than the usual load costs
    (swap,) = await site.turn()
    assert "loading takes 7 s" in swap.why


async def test_costs_are_a_workers_seconds_however_many_gpus_it_has() -> None:
    homes = {"five": {"model": "big", "gpus_per_worker": 2}, "two": {"model": "small", "gpus_per_worker": 2}}
    site = await ready(Site(shared_settings(homes, workers=3, pays=10)))
    claim = a_claim(pool="five", worker=WorkerRef(name="main-0", incarnation="first"), priority=20, cost=60.0)
    site.holds(claim)
    site.answers("main-0", renders=[a_render(claim, stage=Stage.DENOISING, step=4, steps=8)])
    site.answers("main-2", state=WorkerState.LOADING)
    pays_s = 10 * LOAD_S + 30.0
    site.waiting = {"two": QueueLine(waiting={10: pays_s - 1}, oldest_s=0.0)}
    assert await site.turn() == []
    site.waiting = {"two": QueueLine(waiting={10: pays_s + 1}, oldest_s=0.0)}
    (swap,) = await site.turn()
    assert "main-0 is free in 30 s" in swap.why


async def test_two_pools_that_differ_in_nothing_a_worker_notices_swap_all_the_same() -> None:
    alike = {"five": {"model": "big", "profiles": ["exact"]}, "two": {"model": "big", "profiles": ["draft"]}}
    site = await ready(Site(shared_settings(alike | {"other": {"model": "small"}}, workers=3)))
    site.waiting = {"two": MUCH}
    (swap,) = await site.turn()
    assert site.wanted[swap.worker].fingerprint == site.wanted["main-2"].fingerprint
    site.answers("main-0", pool="five", plan=site.wanted["main-0"].fingerprint)
    await site.scale()
    assert site.drained == ["main-0"]


async def test_the_loading_of_a_swap_is_counted_from_the_start_of_its_process() -> None:
    site = await ready(Site(shared_settings(workers=3, hold_s=1)))
    site.waiting = {"two": MUCH}
    (swap,) = await site.turn()
    await site.scale()
    await site.scale()  # it is started here
    site.now += 10.0
    await site.scale()
    site.answers(swap.worker, life="second", state=WorkerState.LOADING)
    site.now += 10.0
    site.answers(swap.worker, life="second")
    (swap,) = await site.turn()
    assert "loading takes 20 s" in swap.why


# ------------------------------------------------------------ what is configured, and shown
def test_a_pool_that_shares_workers_has_of_its_own_only_those_that_it_says() -> None:
    settings = shared_settings({"five": {"model": "big", "workers": 1}, "two": {"model": "small"}})
    assert list(plans(settings)) == ["five-0", "main-0", "main-1"]
    assert [settings.most_workers(pool) for pool in ("five", "two")] == [3, 2]
    assert settings.gpus == (3, 3)
    assert settings.set_of("five") == "main"
    assert settings.kind_of("five", "main-0") == ""


@pytest.mark.parametrize(
    ("shared", "pools", "said"),
    [
        ({"pools": ["five", "ten"]}, {}, r"shared.main.pools has 'ten', which is none of pools"),
        ({"pools": ["five", "five"]}, {}, "has 'five' twice"),
        ({"pools": ["five"]}, {}, "at least 2"),
        ({"workers": 0}, {}, "greater than or equal to 1"),
        ({"hold_s": 900}, {}, "hold_s must be at most cold_wait_s"),
        ({"pays": 0.5}, {}, "greater than or equal to 1"),
        ({}, {"five": {"model": "big", "kinds": {"spot": {"max": 1}}}}, r"pools.five.kinds: a pool with kinds"),
        ({}, {"five": {"model": "big", "gpus_per_worker": 2}}, r"pools.two.gpus_per_worker is 1, and that of five 2"),
        ({}, {"main": {"model": "big"}}, r"pools.main: its workers would have the names of those of shared.main"),
    ],
)  # fmt: skip
def test_a_set_that_cannot_be_is_refused_with_the_key(shared: dict, pools: dict, said: str) -> None:  # type: ignore[type-arg]
    usual = {"five": {"model": "big"}, "two": {"model": "small"}}
    with pytest.raises(ValueError, match=said):
        shared_settings(usual | pools, **shared)


def test_a_pool_shares_with_one_set_only() -> None:
    from orchestrator.config import Settings

    told = shared_settings().model_dump(mode="python")
    told["shared"]["more"] = {"pools": ["two", "five"], "workers": 1}
    with pytest.raises(
        ValueError, match=r"shared.more.pools has 'two', which shares the workers of shared.main already"
    ):
        Settings.model_validate(
            {key: told[key] for key in ("database_url", "master_key", "default_model", "models", "pools", "shared")}
        )


async def test_the_fleet_shows_what_the_shared_workers_hold_beside_a_pools_own() -> None:
    settings = shared_settings({"five": {"model": "big", "workers": 1}, "two": {"model": "small"}})
    told = KindState(
        cluster="c", pool="two", kind="main", wanted=2, requested=0, starting=1, ready=1, draining=0, why="it paid",
    )  # fmt: skip

    class Store:
        async def fleet(self) -> list[KindState]:
            return [told, replace(told, pool="five", wanted=0, starting=0, ready=0)]

        async def scale_decisions(self, *, limit: int) -> list[ScaleDecision]:
            return []

        async def worker_loads(self) -> list[WorkerLoad]:
            return []

    shown = await Fleets(settings, Store()).show()
    assert [(it.pool, it.kind, it.least, it.most, it.state.wanted, it.state.ready) for it in shown.kinds] == [
        ("five", "main", 0, 2, 0, 0), ("five", "default", 1, 1, 1, 0), ("two", "main", 0, 2, 2, 1),
    ]  # fmt: skip
    assert shown.kinds[2].state.why == "it paid"
