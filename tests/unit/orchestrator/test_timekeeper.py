"""Every second of a worker is booked once: to renders, to waiting, to loading, or to nothing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.dispatch.fleet import Fleet
from orchestrator.dispatch.timekeeper import Timekeeper
from orchestrator.domain.errors import StoreUnavailable
from orchestrator.domain.job import WorkerRef
from orchestrator.domain.protocol import WorkerState
from orchestrator.domain.worker_time import Spell, Spent, add_up
from tests.support.builders import a_status


class House:
    """A cluster with one worker, and a ledger that may be away."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.now = 1000.0
        self.away = False
        self.written: list[Spent] = []
        fake: Any = SimpleNamespace(fleet=self.fleet, store=self, clock=self)
        self.keeper = Timekeeper(fake, lambda pool, worker: "spot" if worker == "p-0" else "")

    def monotonic(self) -> float:
        return self.now

    async def record_worker_time(self, sums: Sequence[Spent]) -> None:
        if self.away:
            raise StoreUnavailable("away")
        self.written += sums

    def hears(self, state: WorkerState, busy_s: float, life: str = "one") -> None:
        ref = WorkerRef(name="p-0", incarnation=life)
        status = a_status(worker=ref, pool="p", state=state, gpu_busy_s=busy_s)
        self.fleet.heard(self.fleet.worker("p-0", "p", self.now), status, self.now)

    @property
    def booked(self) -> dict[Spell, float]:
        return {spell: sum(each.seconds for each in self.written if each.spell is spell) for spell in Spell}


async def test_loading_waiting_and_rendering_are_told_apart_to_the_second() -> None:
    house = House()
    house.hears(WorkerState.LOADING, 0)
    await house.keeper.run_once()
    house.now += 30
    house.hears(WorkerState.READY, 0)  # ready after 30 s, looked at after 40
    house.now += 10
    await house.keeper.run_once()
    house.now += 20
    house.hears(WorkerState.READY, 15)
    await house.keeper.run_once()
    house.hears(WorkerState.BROKEN, 15)
    house.now += 5
    house.hears(WorkerState.BROKEN, 15)
    house.now += 60  # nobody knows of these yet
    await house.keeper.run_once()
    assert {(each.pool, each.kind) for each in house.written} == {("p", "spot")}
    assert house.booked == {Spell.LOADING: 30, Spell.IDLE: 10 + 5, Spell.BUSY: 15, Spell.BROKEN: 5}


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_is_answered_and_looked_at_when_nothing_is_lost_or_booked_twice(seed: int) -> None:
    house, chance = House(), random.Random(seed)
    house.hears(WorkerState.READY, 7.0)
    house.keeper.look()
    begun = heard = house.now
    busy = 7.0
    for _ in range(200):
        house.now += chance.random() * 10
        house.away = chance.random() < 0.3
        if chance.random() < 0.5:
            busy, heard = busy + chance.random() * (house.now - heard), house.now
            house.hears(WorkerState.READY, busy)
        try:
            await house.keeper.run_once()
        except StoreUnavailable:
            assert house.away
    house.away = False
    house.hears(WorkerState.READY, busy)
    await house.keeper.run_once()
    assert house.booked[Spell.BUSY] == pytest.approx(busy - 7.0)
    assert sum(house.booked.values()) == pytest.approx(house.now - begun)


async def test_a_new_life_begins_its_own_count_and_one_without_an_answer_has_none() -> None:
    house = House()
    house.hears(WorkerState.READY, 100, life="one")
    await house.keeper.run_once()
    house.now += 10
    house.hears(WorkerState.LOADING, 0, life="two")
    await house.keeper.run_once()
    assert sum(house.booked.values()) == 0  # nobody knows when the one ended and the other began
    house.fleet.workers["p-0"].status = None
    house.now += 60
    await house.keeper.run_once()
    house.hears(WorkerState.READY, 3, life="two")
    await house.keeper.run_once()
    assert sum(house.booked.values()) == 0


@pytest.mark.parametrize("comes_back", [False, True], ids=["let go", "started anew"])
async def test_the_last_seconds_of_a_life_are_booked_though_nobody_looked_before_its_end(comes_back: bool) -> None:
    house = House()
    house.hears(WorkerState.READY, 0)
    await house.keeper.run_once()
    house.now += 10
    house.hears(WorkerState.DRAINING, 8)
    if comes_back:
        house.hears(WorkerState.LOADING, 0, life="two")
    else:
        house.fleet.forget("p-0")
    for _ in range(2):
        await house.keeper.run_once()
    assert house.booked == {Spell.BUSY: 8, Spell.IDLE: 2, Spell.LOADING: 0, Spell.BROKEN: 0}


def test_what_is_not_busy_has_its_price_and_an_unknown_price_is_none() -> None:
    spent = [
        Spent(pool="a", spell=Spell.BUSY, seconds=3000.0),
        Spent(pool="a", spell=Spell.IDLE, seconds=600.0),
        Spent(pool="b", spell=Spell.LOADING, seconds=60.0),
    ]
    a, b = add_up(spent, ("pool",), {("a", ""): 2.0, ("b", ""): None})
    assert (a.money, a.unused_money, a.utilisation) == (2.0, pytest.approx(1 / 3), pytest.approx(5 / 6))
    assert (b.money, b.unused_money, b.utilisation) == (None, None, 0.0)
    (whole,) = add_up(spent, (), cast(Any, {("a", ""): 2.0}))
    assert (whole.money, whole.pool, sum(whole.seconds.values())) == (None, None, 3660.0)
