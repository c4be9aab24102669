"""Workers that several pools share: every so often the product's own decision (`policy/affinity.py`), carried out.

A worker that is given another model ends what it holds, and loads for `load_s`. They do not vanish.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from orchestrator.policy import affinity
from orchestrator.policy.affinity import Holder, Line, Memory, Swap, Swapping
from orchestrator.simulator.campaigns import Campaign
from orchestrator.simulator.clock import Clock
from orchestrator.simulator.fleet import KindTable, SharedTable
from orchestrator.simulator.pool import Pool
from orchestrator.simulator.tally import Tally
from orchestrator.simulator.workers import State, Worker

Decide = Callable[[Sequence[Holder], Sequence[Line], Swapping, Memory, float], tuple[list[Swap], Memory]]


@dataclass(frozen=True, slots=True)
class Swapped:
    """One swap that was decided, and when."""

    at_s: float
    swap: Swap


@dataclass(slots=True)
class _Place:
    """One worker of the set, over all its lives. `since` is when it was given its pool."""

    worker: Worker
    since: float


class Shared:
    """One set. `pools` are its members, by name, and `campaigns` those of each."""

    def __init__(
        self, name: str, table: SharedTable, gpus: int, pools: Mapping[str, Pool],
        campaigns: Mapping[str, Sequence[Campaign]], clock: Clock, tally: Tally, decide: Decide = affinity.decide,
    ) -> None:  # fmt: skip
        self.swaps: list[Swapped] = []
        self._name, self._table, self._gpus = name, table, gpus
        self._kind = KindTable(workers=table.workers, price_per_gpu_hour=table.price_per_gpu_hour, speed=table.speed)
        self._pools, self._campaigns, self._clock, self._tally = pools, campaigns, clock, tally
        self._decide, self._memory, self._places = decide, Memory(), dict[str, _Place]()
        self._rules = Swapping(
            cold_wait_s=table.cold_wait_s, hold_s=table.hold_s, pays=table.pays, at_once=table.most_at_once
        )

    @property
    def starting(self) -> list[Worker]:
        """Those that load a model."""
        return [place.worker for place in self._places.values() if place.worker.state is State.STARTING]

    def open(self) -> None:
        """At the beginning they hold the models of all pools in turn, and have for long."""
        for index in range(self._table.workers):
            name, pool = f"{self._name}-{index}", self._table.pools[index % len(self._table.pools)]
            self._places[name] = _Place(self._new(name, pool), since=-float("inf"))
            self._pools[pool].join(self._places[name].worker)
        self._clock.at(0.0, self.run)

    def run(self) -> None:
        """Decide now, and again after every interval."""
        now = self._clock.now
        swaps, self._memory = self._decide(self._holders(), self._lines(), self._rules, self._memory, now)
        for swap in swaps:
            self.swaps.append(Swapped(now, swap))
            place = self._places[swap.worker]
            place.since = now
            self._pools[swap.left].release(place.worker, partial(self._load, swap.to))
        self._clock.at(now + self._table.every_s, self.run)

    def close(self) -> None:
        """The end of all: what is there is paid for up to now."""
        for place in self._places.values():
            worker = place.worker
            if worker.job is not None:
                self._tally.stretch(worker, worker.job, self._clock.now)
            self._tally.gone(worker, self._clock.now)

    def _load(self, pool: str, left: Worker) -> None:
        """It holds nothing any more: its next life begins, with another model."""
        place = self._places[left.name]
        place.worker = self._new(left.name, pool)
        self._clock.at(self._clock.now + self._table.load_s, self._pools[pool].join, place.worker)

    def _new(self, name: str, pool: str) -> Worker:
        return Worker(
            name=name, pool=pool, kind=self._name, table=self._kind, gpus=self._gpus, requested_at=self._clock.now
        )

    def _holders(self) -> list[Holder]:
        return [self._holder(name, place) for name, place in self._places.items()]

    def _holder(self, name: str, place: _Place) -> Holder:
        worker, now = place.worker, self._clock.now
        held = worker.held
        left_s = sum(job.cost / worker.gpus * worker.left_of(job, now) for job in held) / self._table.speed
        return Holder(
            name=name,
            pool=worker.pool,
            held_s=now - place.since,
            ready=worker.state is State.READY,
            left_s=left_s,
            priority=min((job.priority for job in held), default=None),
        )

    def _lines(self) -> list[Line]:
        return [self._line(name, pool) for name, pool in self._pools.items()]

    def _line(self, name: str, pool: Pool) -> Line:
        waiting = {priority: seconds for priority, seconds in pool.waiting_s.items() if pool.waiting[priority]}
        for each in self._campaigns[name]:
            # What is paused asks for nothing.
            left = each.left - each.open if each.running and not pool.closed else 0
            if left:
                waiting[each.table.priority] = waiting.get(each.table.priority, 0.0) + left * each.shape.seconds
        return Line(
            pool=name,
            waiting={priority: seconds / self._table.speed for priority, seconds in waiting.items()},
            oldest_s=self._clock.now - pool.oldest_at if waiting else 0.0,
            load_s=self._table.load_s,
        )
