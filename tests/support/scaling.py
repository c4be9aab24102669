"""A dispatcher's capacity loops around one pool of two kinds, its demand and its clock set by the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from orchestrator.capacity.autoscaler import Autoscaler
from orchestrator.capacity.leftovers import Leftovers
from orchestrator.capacity.scaler import Scaler
from orchestrator.config import Settings
from orchestrator.dispatch.claims import Claims
from orchestrator.dispatch.fleet import Fleet
from orchestrator.domain.job import WorkerRef
from orchestrator.domain.pausing import Pause
from orchestrator.domain.protocol import WorkerState
from orchestrator.policy.demand import Demand
from orchestrator.policy.prediction import NOTHING_LEARNED, Predictions
from orchestrator.ports import WorkerPlan
from orchestrator.ports.fleet import Basis, KindState, ScaleDecision
from tests.support.builders import a_status
from tests.support.control import hears

POOLS: dict[str, Any] = {
    "gpu": {
        "model": "small",
        "kinds": {
            "spot": {"max": 4, "price_per_gpu_hour": 1, "may_vanish": True, "start_s": 100, "resource": "spot"},
            "firm": {"max": 4, "price_per_gpu_hour": 3, "start_s": 100},
        },
    }
}
NIGHT = Demand(backlog_s=7200, due_s=7200, required_rate=2.0, due_in_s=3600, jobs=100)


def a_decision(pool: str, kind: str, change: int = 3) -> ScaleDecision:
    """One that says what it was based on."""
    basis = Basis(demand=NIGHT, requested=1, starting=0, ready=2, draining=0)
    why = "2.20 GPU s per s wanted, 3.00 there or coming"
    return ScaleDecision(pool=pool, kind=kind, change=change, why=why, basis=basis)


def unlearned() -> Any:
    """What a dispatcher's renders have taught that has made none."""

    async def known() -> Predictions:
        return NOTHING_LEARNED

    return SimpleNamespace(book=SimpleNamespace(known=known))


@dataclass
class Site:
    """One pool of two kinds, on workers that answer when the test says so."""

    demand: Demand = field(default_factory=Demand)
    pools: dict[str, Any] = field(default_factory=lambda: POOLS)
    rules: dict[str, Any] = field(default_factory=dict)
    # Others than those that the site itself plays.
    workers: Any = None
    now: float = 1000.0
    there: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    drained: list[str] = field(default_factory=list)
    on_node: dict[str, str] = field(default_factory=dict)
    # What is held for workers, whether they exist or not.
    held: set[str] = field(default_factory=set)
    paused: list[Pause] = field(default_factory=list)
    states: Sequence[KindState] = ()
    decisions: list[ScaleDecision] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fleet, self.wanted = Fleet(), dict[str, WorkerPlan]()
        settings = Settings.model_validate(
            {
                "database_url": "postgresql://localhost/x",
                "master_key": "k" * 16,
                "default_model": "small",
                "models": {"small": {"family": "tiny-2b", "path": "/none"}},
                "pools": self.pools,
                "autoscale": self.rules,
            }
        )
        cluster: Any = SimpleNamespace(
            name="c", caller=None, fleet=self.fleet, workers=self.workers or self, store=self, claims=Claims(),
            clock=SimpleNamespace(monotonic=lambda: self.now), lessons=unlearned(),
            recovery=SimpleNamespace(add=lambda lost: list(lost)),
        )  # fmt: skip
        self.scaler = Scaler(cluster, self.wanted)
        self.autoscaler = Autoscaler(cluster, settings, self.store, self.wanted)
        self.leftovers_loop = Leftovers(cluster, self.wanted)

    @property
    def store(self) -> Any:
        async def demand(ratios: Mapping[str, float], *, urgent_priority: int) -> Mapping[str, Demand]:
            return dict.fromkeys(ratios, self.demand)

        async def pauses() -> list[Pause]:
            return self.paused

        async def record(cluster: str, kinds: Sequence[KindState], decisions: Sequence[ScaleDecision]) -> None:
            self.states = kinds
            self.decisions += decisions

        return SimpleNamespace(demand=demand, pauses=pauses, record_fleet=record)

    # what the scaler and the autoscaler ask of workers
    async def list_workers(self) -> list[str]:
        return sorted(self.there)

    async def nodes(self) -> Mapping[str, str]:
        return self.on_node

    async def leftovers(self) -> list[str]:
        return sorted(self.held - set(self.there))

    async def start(self, plan: WorkerPlan) -> None:
        self.there.append(plan.name)

    async def kill(self, name: str, *, restart: bool) -> None:
        assert not restart
        self.killed.append(name)
        self.held.discard(name)
        if name in self.there:
            self.there.remove(name)

    async def drain(self, name: str, caller: Any, *, within_s: float | None = None) -> None:
        self.drained.append(name)

    async def declare_dead(self, cluster: str, worker: WorkerRef) -> bool:
        return True

    # what happens
    async def turn(self, seconds: float = 5.0) -> None:
        self.now += seconds
        await self.autoscaler.run_once()
        await self.scaler.run_once()

    def answers(self, *names: str, state: WorkerState = WorkerState.READY) -> None:
        for name in names:
            worker = WorkerRef(name=name, incarnation="first")
            plan = self.wanted[name].fingerprint if name in self.wanted else "old"
            hears(self.fleet, a_status(worker=worker, pool="gpu", state=state, plan=plan), self.now)

    def known(self, kind: str) -> KindState:
        (found,) = (each for each in self.states if each.kind == kind)
        return found

    def shown(self, kind: str) -> tuple[int, int, int, int, int]:
        found = self.known(kind)
        return found.wanted, found.requested, found.starting, found.ready, found.draining
