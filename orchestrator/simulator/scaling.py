"""An autoscaled pool: every so often the product's own decision (`policy/autoscale.py`), carried out on the spot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.policy.autoscale import Scale, decide
from orchestrator.policy.demand import Demand, required_rate
from orchestrator.policy.kinds import Bounds, Kind, Standing
from orchestrator.policy.trust import Memory, ScalingRules
from orchestrator.simulator.campaigns import Campaign
from orchestrator.simulator.capacity import Capacity
from orchestrator.simulator.clock import Clock
from orchestrator.simulator.fleet import KindTable, ScalingTable


@dataclass(frozen=True, slots=True)
class Decision:
    """One that was taken, and when."""

    at_s: float
    pool: str
    scale: Scale


class Scaler:
    """Decides for one pool. `campaigns` are those whose rows it renders."""

    def __init__(
        self, name: str, capacity: Capacity, campaigns: Sequence[Campaign], table: ScalingTable, clock: Clock
    ) -> None:
        self.decisions: list[Decision] = []
        self._name, self._capacity, self._campaigns, self._table, self._clock = name, capacity, campaigns, table, clock
        self._rules = ScalingRules(clear_s=table.clear_s, urgent_within_s=table.urgent_within_s, idle_s=table.idle_s)
        self._memory = Memory()
        pool = capacity.table
        self._bounds = Bounds(
            gpus=math.inf if pool.max_gpus is None else pool.max_gpus,
            money_per_hour=math.inf if pool.max_money_per_hour is None else pool.max_money_per_hour,
        )
        self._kinds = [_kind(kind, table, pool.gpus_per_worker) for kind, table in pool.kinds.items()]

    def run(self) -> None:
        """Decide now, and again after every interval."""
        now = self._clock.now
        standings = [self._standing(kind) for kind in self._kinds]
        scales, self._memory = decide(standings, self.demand(), self._bounds, self._rules, self._memory, now)
        for scale in scales:
            self.decisions.append(Decision(now, self._name, scale))
            self._apply(scale)
        self._clock.at(now + self._table.every_s, self.run)

    def demand(self) -> Demand:
        """What the pool has to do now, as it is predicted."""
        pool, urgent = self._capacity.pool, self._table.urgent_priority
        backlog_s = urgent_s = 0.0
        jobs = len(pool.queue)
        for priority, seconds in pool.waiting_s.items():
            backlog_s += seconds
            urgent_s += seconds if priority <= urgent else 0.0
        for worker in pool.ready:
            for job in worker.held:
                jobs += 1
                left_s = job.cost / worker.gpus * worker.left_of(job, self._clock.now)
                backlog_s += left_s
                urgent_s += left_s if job.priority <= urgent else 0.0
        # What is paused asks for nothing.
        rows = [(each, each.left) for each in self._campaigns if each.running and not pool.closed]
        backlog_s += sum((left - each.open) * each.shape.seconds for each, left in rows)
        jobs += sum(left - each.open for each, left in rows)
        due = [
            (each.wanted_at - self._clock.now, left * each.shape.seconds)
            for each, left in rows
            if left and each.wanted_at < math.inf
        ]
        rate, due_in_s = required_rate(due)
        return Demand(
            backlog_s=backlog_s,
            due_s=min(sum(work_s for _, work_s in due), backlog_s),
            required_rate=rate,
            due_in_s=due_in_s,
            urgent_s=urgent_s,
            jobs=jobs,
        )

    def _standing(self, kind: Kind) -> Standing:
        asked = [worker for worker in self._capacity.starting if worker.kind == kind.name]
        ages = [self._clock.now - worker.requested_at for worker in asked]
        ready = sum(worker.kind == kind.name for worker in self._capacity.pool.ready)
        lost = self._capacity.vanished.pop(kind.name, 0) if kind.may_vanish else 0
        return Standing(kind=kind, requested=len(asked), ready=ready, ages=ages, lost=lost)

    def _apply(self, scale: Scale) -> None:
        for _ in range(scale.change):
            self._capacity.request(scale.kind)
        if scale.change < 0:
            asked = [worker for worker in self._capacity.starting if worker.kind == scale.kind]
            asked.sort(key=lambda worker: worker.requested_at)
            ready = [worker for worker in self._capacity.pool.ready if worker.kind == scale.kind]
            # Who holds nothing loses nothing, and who is nearly done moves least.
            ready.sort(key=lambda worker: (len(worker.held), worker.until if worker.job else 0.0))
            for worker in [*asked, *ready][: -scale.change]:
                (self._capacity.withdraw if worker in self._capacity.starting else self._capacity.drain)(worker)


def _kind(name: str, table: KindTable, gpus: int) -> Kind:
    fixed = table.workers
    return Kind(
        name=name,
        price_per_gpu_hour=table.price_per_gpu_hour,
        gpus=gpus,
        least=table.min if fixed is None else fixed,
        most=(table.max or 0) if fixed is None else fixed,
        speed=table.speed,
        start_s=table.start_s,
        may_vanish=table.may_vanish,
    )
