"""A dispatcher whose cluster gives up hosts: who leaves, who is wanted again, and what it tells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.capacity.scaler import Scaler
from orchestrator.capacity.yielding import Yielding
from orchestrator.dispatch.claims import Claims
from orchestrator.dispatch.fleet import Fleet
from orchestrator.domain.clusters import Wish
from orchestrator.domain.errors import StoreUnavailable
from orchestrator.domain.job import WorkerRef
from orchestrator.domain.protocol import Caller
from orchestrator.ports import WorkerPlan
from tests.support.builders import a_claim, a_render, a_status
from tests.support.control import a_plan, hears
from tests.support.scaling import NIGHT, Site
from tests.support.simulated_workers import SimulatedWorkers, VirtualClock

SERVES = Wish(retires=False, left_s=0.0, version=1)
YIELDS = replace(SERVES, yields=True)


@dataclass
class Scene:
    """Three workers on hosts of their own, and what the database says of their cluster."""

    wish: Wish = YIELDS
    away: bool = False
    told: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.workers = SimulatedWorkers(VirtualClock(), publish=lambda assignment: pytest.fail("nothing renders"))
        self.wanted: dict[str, WorkerPlan] = {f"small-{i}": a_plan(f"small-{i}") for i in range(3)}
        self.workers.on_node = {name: f"pod-{name}" for name in self.wanted}
        self.fleet, self.claims = Fleet(), Claims()
        self.cluster: Any = SimpleNamespace(
            name="c", fleet=self.fleet, claims=self.claims, workers=self.workers, clock=self.workers.clock,
            caller=Caller(epoch=1), recovery=SimpleNamespace(add=list),
        )  # fmt: skip
        store: Any = SimpleNamespace(cluster_wish=self._wish, tell_hosts=self._tell)
        self.yielding = Yielding(self.cluster, store, self.wanted)

    async def start(self) -> None:
        for plan in self.wanted.values():
            await self.workers.start(plan)

    async def _wish(self, name: str) -> Wish:
        if self.away:
            raise StoreUnavailable("it is away")
        return self.wish

    async def _tell(self, name: str, hosts: Mapping[str, Mapping[str, int]]) -> bool:
        self.told = hosts
        return True


@pytest.fixture
async def scene() -> Scene:
    scene = Scene()
    await scene.start()
    return scene


async def test_while_nobody_asks_nothing_happens(scene: Scene) -> None:
    scene.wish = SERVES
    assert not await scene.yielding.run_once()
    assert len(scene.wanted) == 3
    assert scene.told == {}


async def test_workers_of_hosts_that_are_given_up_leave_and_each_host_is_told_of(scene: Scene) -> None:
    scene.wish = replace(YIELDS, gives=frozenset({"pod-small-1"}))
    scene.workers.vacant = {"pod-empty"}
    assert await scene.yielding.run_once()
    assert sorted(scene.wanted) == ["small-0", "small-2"]
    assert scene.yielding.leaving == {"small-1"}
    await scene.workers.kill("small-1", restart=False)
    await scene.yielding.run_once()
    assert scene.told == {
        "pod-empty": {}, "pod-small-0": {"small": 1}, "pod-small-1": {}, "pod-small-2": {"small": 1},
    }  # fmt: skip


@pytest.mark.parametrize(("leaves", "within_s"), [(True, 0.0), (False, math.inf)])
async def test_the_last_worker_of_a_pool_leaves_at_once_where_its_gpu_is_wanted(leaves: bool, within_s: float) -> None:
    """Otherwise what it renders goes on to its end, as no other worker of the pool could take it."""
    scene = Scene()
    await scene.workers.start(a_plan("small-0"))
    worker = scene.workers.workers["small-0"]
    plan = scene.wanted["small-0"].fingerprint
    ref = WorkerRef(name="small-0", incarnation=worker.incarnation)
    hears(scene.fleet, a_status(a_render(), worker=ref, pool="small", plan=plan))
    await Scaler(scene.cluster, {}, leaving={"small-0"} if leaves else set()).run_once()
    assert worker.draining
    assert worker.evict_at == scene.cluster.clock.monotonic() + within_s


async def test_workers_that_have_no_host_would_take_the_gpus_that_are_given_up(scene: Scene) -> None:
    del scene.workers.on_node["small-2"]
    await scene.yielding.run_once()
    assert sorted(scene.wanted) == ["small-0", "small-1"]
    assert sorted(scene.workers.workers) == ["small-0", "small-1"]


async def test_one_that_has_lost_its_process_keeps_its_place_as_long_as_its_host_lives(scene: Scene) -> None:
    await scene.yielding.run_once()
    host = scene.workers.on_node.pop("small-2")
    scene.workers.vacant = {host}
    await scene.yielding.run_once()
    assert scene.told[host] == {"small": 1}
    assert len(scene.wanted) == 3
    scene.workers.vacant = set()
    await scene.yielding.run_once()
    assert host not in scene.told
    assert sorted(scene.wanted) == ["small-0", "small-1"]


async def test_one_without_a_host_that_answers_or_holds_a_render_is_its_watchers_to_judge(scene: Scene) -> None:
    for name in ("small-1", "small-2"):
        del scene.workers.on_node[name]
    hears(scene.fleet, replace(a_status(), worker=replace(a_status().worker, name="small-1"), pool="small"))
    claim = a_claim()
    scene.claims.hold([replace(claim, worker=replace(claim.worker, name="small-2"))], 0.0)
    await scene.yielding.run_once()
    assert len(scene.wanted) == len(scene.workers.workers) == 3


async def test_a_cluster_that_need_not_make_way_wants_its_workers_again_but_not_those_of_kinds(scene: Scene) -> None:
    scene.wanted["small-1"] = replace(scene.wanted["small-1"], kind="spot")
    scene.wish = replace(YIELDS, gives=frozenset({"pod-small-0", "pod-small-1"}))
    await scene.yielding.run_once()
    scene.wish = SERVES
    assert not await scene.yielding.run_once()
    assert sorted(scene.wanted) == ["small-0", "small-2"]
    assert scene.yielding.leaving == set()


async def test_one_that_retires_wants_none_of_them_again(scene: Scene) -> None:
    scene.wish = replace(YIELDS, gives=frozenset({"pod-small-0"}))
    await scene.yielding.run_once()
    scene.wish = replace(SERVES, retires=True)
    assert await scene.yielding.run_once()
    assert sorted(scene.wanted) == ["small-1", "small-2"]


async def test_without_a_database_it_goes_on_as_it_did(scene: Scene) -> None:
    await scene.yielding.run_once()
    scene.away = True
    assert await scene.yielding.run_once()


async def test_a_fleet_that_yields_asks_for_no_more_workers() -> None:
    site = Site(NIGHT)
    await site.autoscaler.run_once(grows=False)
    assert site.wanted == {}
    await site.autoscaler.run_once()
    before = len(site.wanted)
    assert before > 0
    await site.autoscaler.run_once(grows=False)
    assert len(site.wanted) == before
