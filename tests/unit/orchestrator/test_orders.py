"""A dispatcher whose workers are asked to leave by administrators: who goes, how, who comes back, and what is done."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.capacity.orders import Orders
from orchestrator.capacity.scaler import Scaler
from orchestrator.dispatch.claims import Claims
from orchestrator.dispatch.fleet import Fleet
from orchestrator.domain.errors import InvalidField, StoreUnavailable
from orchestrator.domain.job import WorkerRef
from orchestrator.domain.orders import MAX_GRACE_S, Order, OrderKind, check_grace
from orchestrator.domain.protocol import Caller
from orchestrator.ports import WorkerPlan
from tests.support.builders import a_render, a_status
from tests.support.control import a_plan, hears
from tests.support.simulated_workers import SimulatedWorkers, VirtualClock

DRAIN = Order(
    cluster="c", worker="small-0", kind=OrderKind.DRAIN, incarnation="", within_s=None, left_s=None, asked_by="a test",
    asked_at=datetime(2030, 1, 1, tzinfo=UTC),
)  # fmt: skip
REPLACE = replace(DRAIN, kind=OrderKind.REPLACE)


@dataclass
class Scene:
    """Two workers, and what the database says of them."""

    kind: str | None = None
    asked: dict[str, Order] = field(default_factory=dict)
    away: bool = False

    def __post_init__(self) -> None:
        self.workers = SimulatedWorkers(VirtualClock(), publish=lambda assignment: pytest.fail("nothing renders"))
        self.fleet, self.claims = Fleet(), Claims()
        self.cluster: Any = SimpleNamespace(
            name="c", fleet=self.fleet, claims=self.claims, workers=self.workers, clock=self.workers.clock,
            caller=Caller(epoch=1), recovery=SimpleNamespace(add=list),
            store=SimpleNamespace(declare_dead=self._declare_dead),
        )  # fmt: skip
        self.again()

    def again(self) -> None:
        """As after the start of a dispatcher."""
        self.wanted: dict[str, WorkerPlan] = {
            name: replace(a_plan(name), kind=self.kind) for name in ("small-0", "small-1")
        }
        store: Any = SimpleNamespace(worker_orders=self._asked, order_done=self._done)
        self.orders = Orders(self.cluster, store, self.wanted)
        self.scaler = Scaler(self.cluster, self.wanted, orders=self.orders.standing)

    async def turn(self, *renders: Any) -> None:
        """One look, with what each worker says of itself before it."""
        for name, worker in self.workers.workers.items():
            said = a_status(
                *(renders if name == "small-0" else ()),
                worker=WorkerRef(name=name, incarnation=worker.incarnation), pool="small", state=self._state(name),
                plan=a_plan(name).fingerprint,
            )  # fmt: skip
            hears(self.fleet, said)
        await self.orders.run_once()
        await self.scaler.run_once()

    def ask(self, order: Order) -> None:
        self.asked[order.worker] = replace(order, incarnation=self.life(order.worker))

    def life(self, name: str) -> str:
        return self.workers.workers[name].incarnation

    def _state(self, name: str) -> Any:
        return a_status().state.DRAINING if self.workers.workers[name].draining else a_status().state.READY

    async def _asked(self, cluster: str) -> list[Order]:
        if self.away:
            raise StoreUnavailable("it is away")
        return list(self.asked.values())

    async def _done(self, order: Order) -> bool:
        return self.asked.pop(order.worker, None) is not None

    async def _declare_dead(self, cluster: str, worker: WorkerRef) -> bool:
        return True


async def started(kind: str | None = None) -> Scene:
    scene = Scene(kind)
    await scene.turn()
    await scene.turn()
    assert sorted(scene.workers.workers) == ["small-0", "small-1"]
    return scene


async def test_while_nothing_is_asked_nobody_leaves() -> None:
    scene = await started()
    await scene.turn()
    assert not any(worker.draining for worker in scene.workers.workers.values())


async def test_one_that_is_drained_ends_what_it_renders_stays_away_and_comes_back_when_it_is_called() -> None:
    scene = await started()
    scene.ask(DRAIN)
    await scene.turn(a_render())
    worker = scene.workers.workers["small-0"]
    assert (worker.draining, worker.evict_at) == (True, math.inf)
    assert not scene.workers.workers["small-1"].draining
    for _ in range(3):
        await scene.turn()
    assert sorted(scene.workers.workers) == ["small-1"]
    assert scene.asked  # it stands until it is lifted
    scene.again()  # and outlives its dispatcher
    for _ in range(2):
        await scene.turn()
    assert sorted(scene.workers.workers) == ["small-1"]
    scene.asked.clear()
    await scene.turn()
    assert sorted(scene.workers.workers) == ["small-0", "small-1"]


async def test_what_it_still_renders_when_its_time_is_over_leaves_with_its_checkpoint() -> None:
    scene = await started()
    scene.ask(replace(DRAIN, within_s=60.0, left_s=20.0))
    await scene.turn(a_render())
    assert scene.workers.workers["small-0"].evict_at == math.inf
    scene.ask(replace(DRAIN, within_s=60.0, left_s=0.0))
    await scene.turn(a_render())
    assert scene.workers.workers["small-0"].evict_at == scene.workers.clock.monotonic()


async def test_one_that_is_replaced_lives_anew_and_then_that_is_done() -> None:
    scene = await started()
    scene.ask(REPLACE)
    before, beside = scene.life("small-0"), scene.life("small-1")
    await scene.turn(a_render())
    assert (scene.life("small-0"), scene.workers.workers["small-0"].draining) == (before, True)
    for _ in range(4):
        await scene.turn()
    assert scene.life("small-0") != before
    assert scene.life("small-1") == beside
    assert not scene.asked
    assert not scene.workers.workers["small-0"].draining


@pytest.mark.parametrize("order", [DRAIN, REPLACE])
async def test_one_of_a_kind_just_leaves_and_whoever_gets_its_name_next_is_not_meant(order: Order) -> None:
    scene = await started("spot")
    scene.ask(order)
    for _ in range(3):
        await scene.turn()
    assert (sorted(scene.workers.workers), sorted(scene.wanted)) == (["small-1"], ["small-1"])
    assert not scene.asked
    scene.wanted["small-0"] = replace(a_plan("small-0"), kind="spot")  # the autoscaler's
    for _ in range(3):
        await scene.turn()
    assert not scene.workers.workers["small-0"].draining


async def test_one_of_a_kind_that_is_wanted_again_before_that_is_noticed_is_not_drained() -> None:
    scene = await started("spot")
    scene.ask(DRAIN)
    await scene.turn()
    await scene.workers.kill("small-0", restart=False)
    scene.fleet.forget("small-0")
    scene.wanted["small-0"] = replace(a_plan("small-0"), kind="spot")
    for _ in range(3):
        await scene.turn()
    assert not scene.asked
    assert not scene.workers.workers["small-0"].draining


async def test_without_a_database_what_stood_stands() -> None:
    scene = await started()
    scene.ask(DRAIN)
    await scene.turn()
    scene.away = True
    for _ in range(3):
        await scene.turn()
    assert sorted(scene.workers.workers) == ["small-1"]


def test_the_time_for_what_it_renders_has_bounds() -> None:
    assert [check_grace(given) for given in (None, 0.0, MAX_GRACE_S)] == [None, 0.0, MAX_GRACE_S]
    for given in (-1.0, MAX_GRACE_S + 1, math.nan):
        with pytest.raises(InvalidField) as refused:
            check_grace(given)
        assert refused.value.param == "within_s"
