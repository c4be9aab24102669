"""What pools with kinds have to do -> how many workers of each kind are wanted, which the scaler brings about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace

from orchestrator.capacity.plans import index_of, kinds_of, plan_of, prefix_of, scaled
from orchestrator.capacity.standing import Roll
from orchestrator.config import Settings
from orchestrator.dispatch.cluster import Cluster
from orchestrator.domain.pausing import pause_over
from orchestrator.policy.autoscale import Scale, decide
from orchestrator.policy.demand import Demand
from orchestrator.policy.kinds import Bounds, Kind, Standing
from orchestrator.policy.shrinking import leaving
from orchestrator.policy.trust import Memory
from orchestrator.ports import WorkerPlan
from orchestrator.ports.fleet import Basis, FleetStore, KindState, ScaleDecision
from orchestrator.telemetry import aside, logs, metrics

_log = logs.get("autoscaler")


@dataclass(slots=True)
class _Pool:
    """What is remembered of a pool from one decision to the next."""

    memory: Memory = field(default_factory=Memory)
    # Of each kind, why it has last changed.
    why: dict[str, str] = field(default_factory=dict)


class Autoscaler:
    """Decides, for one pool after the other, and writes what was decided where everybody reads it.

    `wanted` are the workers that there should be; those of pools with kinds are added to it and removed from it here,
    and `Scaler` starts and drains accordingly. Only what never answered is ended at once: it holds nothing.
    """

    def __init__(self, cluster: Cluster, settings: Settings, store: FleetStore, wanted: dict[str, WorkerPlan]) -> None:
        self._cluster = cluster
        self._settings = settings
        self._store = store
        self._wanted = wanted
        self._pools = {pool: _Pool() for pool in scaled(settings)}
        self._kinds = {pool: kinds_of(settings, pool) for pool in self._pools}
        self._roll = Roll(cluster.fleet, wanted)
        self._adopted = False

    async def adopt(self) -> None:
        """Want the workers that an earlier dispatcher left, before anybody takes them for too many."""
        if self._adopted:
            return
        for name in await self._cluster.workers.list_workers() if self._pools else ():
            for pool, kind in self._all_kinds():
                index = index_of(name, pool, kind.name)
                if index is not None:
                    self._wanted[name] = plan_of(self._settings, pool, kind.name, index)
        self._adopted = True

    async def run_once(self, *, grows: bool = True) -> list[ScaleDecision]:
        """Decide once, about fewer workers only where the fleet may not grow.

        Raises `StoreUnavailable`: without knowing the demand nobody is let go.
        """
        if not self._pools:
            return []
        await self.adopt()
        rules = self._settings.autoscale
        known = await self._cluster.lessons.book.known()
        self._kinds = {pool: kinds_of(self._settings, pool, known) for pool in self._pools}
        ratios = {pool: known.of_model(self._settings.pools[pool].model, pool).likely for pool in self._pools}
        demands = await self._store.demand(ratios, urgent_priority=rules.urgent_priority)
        pauses = await self._store.pauses()
        decisions: list[ScaleDecision] = []
        for pool in self._pools:
            with aside.unless_it_breaks("autoscale", pool=pool):
                demand = Demand() if pause_over(pool, pauses) is not None else demands[pool]
                decisions += await self._decide(pool, demand, grows=grows)
        states = [state for pool in self._pools for state in self._states(pool)]
        metrics.show_fleet(states)
        await self._store.record_fleet(self._cluster.name, states, decisions)
        return decisions

    async def _decide(self, pool: str, demand: Demand, *, grows: bool) -> list[ScaleDecision]:
        now, known = self._cluster.clock.monotonic(), self._pools[pool]
        lost = dict[str, int]()
        for kind in self._kinds[pool]:
            for name in self._roll.left(pool, kind.name):
                await self._withdraw(name)  # its process is gone already, and its group may not be
            gone = self._roll.lost(pool, kind)
            for name in gone:
                _log.warning("worker_lost", worker=name, kind=kind.name)
                await self._withdraw(name)
            lost[kind.name] = len(gone)
        standings = [
            replace(each, lost=self._roll.taken(pool, each.kind, lost[each.kind.name]))
            for each in self._standings(pool, now)
        ]
        bounds = self._bounds(pool, now)
        if not grows:
            bounds = replace(bounds, gpus=min(bounds.gpus, sum(each.paid * each.kind.gpus for each in standings)))
        rules = self._settings.autoscale.rules
        before = known.memory
        scales, known.memory = decide(standings, demand, bounds, rules, before, now)
        for name, memory in known.memory.kinds.items():
            if memory.losses.times > before.of(name).losses.times:
                _log.warning("kind_put_aside", pool=pool, kind=name, why=memory.said)
                known.why[name] = memory.said
        if scales:
            told = {each.kind.name: _counts(each) for each in standings}
            work = {name: round(value, 3) for name, value in asdict(demand).items() if value is not None}
            for scale in scales:
                _log.info("scaled", pool=pool, demand=work, standing=told, **asdict(scale))
        for scale in scales:
            known.why[scale.kind] = scale.why
            await self._carry_out(pool, scale)
        bases = {each.kind.name: _basis(demand, each) for each in standings}
        return [
            ScaleDecision(pool=pool, kind=each.kind, change=each.change, why=each.why, basis=bases[each.kind])
            for each in scales
        ]

    def _bounds(self, pool: str, now: float) -> Bounds:
        """The pool's own caps, and what the other pools leave of those of all."""
        chosen, shared = self._settings.pools[pool], self._settings.autoscale
        others = [each for name in self._pools if name != pool for each in self._standings(name, now)]
        left = Bounds.of(shared.max_gpus, shared.max_money_per_hour).less(others)
        own = Bounds.of(chosen.max_gpus, chosen.max_money_per_hour)
        return Bounds(gpus=min(own.gpus, left.gpus), money_per_hour=min(own.money_per_hour, left.money_per_hour))

    async def _carry_out(self, pool: str, scale: Scale) -> None:
        metrics.scale_decisions.labels(pool, scale.kind, "more" if scale.change > 0 else "fewer").inc()
        if scale.change > 0:
            self._ask_for(pool, scale.kind, scale.change)
            return
        names = self._roll.of(pool, scale.kind)
        silent = self._roll.oldest_first(name for name in names if self._roll.is_requested(name))
        gone = silent[: -scale.change]
        for name in gone:
            await self._withdraw(name)
        fewer = -scale.change - len(gone)
        if fewer:
            nodes = await self._cluster.workers.nodes()
            for name in leaving(self._roll.seats(pool, scale.kind, nodes), fewer):
                del self._wanted[name]  # the scaler drains it

    def _ask_for(self, pool: str, kind: str, count: int) -> None:
        now, index = self._cluster.clock.monotonic(), 0
        while count:
            name = f"{prefix_of(pool, kind)}{index}"
            if name not in self._wanted and name not in self._cluster.fleet.workers:
                self._wanted[name] = plan_of(self._settings, pool, kind, index)
                self._roll.asked(name, now)
                count -= 1
            index += 1

    async def _withdraw(self, name: str) -> None:
        """End a worker that holds nothing, with its group. A node that comes for it all the same is idle, and goes."""
        self._wanted.pop(name, None)
        await self._cluster.workers.kill(name, restart=False)
        self._cluster.fleet.forget(name)
        self._roll.forget(name)

    def _standings(self, pool: str, now: float) -> list[Standing]:
        return [self._roll.standing(pool, kind, now) for kind in self._kinds[pool]]

    def _states(self, pool: str) -> Iterable[KindState]:
        now, known = self._cluster.clock.monotonic(), self._pools[pool]
        for standing in self._standings(pool, now):
            kind = standing.kind.name
            memory = known.memory.of(kind)
            yield KindState(
                cluster=self._cluster.name,
                pool=pool,
                kind=kind,
                wanted=len(self._roll.of(pool, kind)),
                requested=standing.requested,
                starting=standing.starting,
                ready=standing.ready,
                draining=standing.draining,
                why=known.why.get(kind, ""),
                failures=memory.failures,
                rests_s=memory.rests_s(now),
            )

    def _all_kinds(self) -> Iterable[tuple[str, Kind]]:
        return ((pool, kind) for pool, kinds in self._kinds.items() for kind in kinds)


def _counts(standing: Standing) -> str:
    """For the log: requested, starting, ready and draining."""
    return f"{standing.requested}/{standing.starting}/{standing.ready}/{standing.draining}"


def _basis(demand: Demand, standing: Standing) -> Basis:
    return Basis(
        demand=demand,
        requested=standing.requested,
        starting=standing.starting,
        ready=standing.ready,
        draining=standing.draining,
    )
