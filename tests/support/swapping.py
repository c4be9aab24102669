"""A dispatcher's capacity loops around pools that share workers; what waits, and the clock, are set by the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from orchestrator.capacity.plans import plans, shared_plan
from orchestrator.capacity.scaler import Scaler
from orchestrator.capacity.swapper import Swapper
from orchestrator.config import Settings
from orchestrator.dispatch.claims import Claims
from orchestrator.dispatch.fleet import Fleet
from orchestrator.domain.job import Claim, WorkerRef
from orchestrator.domain.pausing import Pause
from orchestrator.domain.protocol import RenderStatus, WorkerState
from orchestrator.policy.affinity import Swap
from orchestrator.ports import WorkerPlan
from orchestrator.ports.fleet import KindState, QueueLine, ScaleDecision
from tests.support.builders import a_status
from tests.support.control import hears
from tests.support.scaling import unlearned

EMPTY = QueueLine(waiting={}, oldest_s=0.0)


def shared_settings(homes: dict[str, Any] | None = None, **shared: Any) -> Settings:
    """Two pools of two models, `five` and `two`, or those of `homes`, that share two workers of the set `main`."""
    return Settings.model_validate(
        {
            "database_url": "postgresql://localhost/x",
            "master_key": "k" * 16,
            "default_model": "big",
            "models": {"big": {"family": "tiny-2b", "path": "/big"}, "small": {"family": "tiny-2b", "path": "/small"}},
            "pools": {"five": {"model": "big"}, "two": {"model": "small"}} if homes is None else homes,
            "shared": {"main": {"pools": ["five", "two"], "workers": 2} | shared},
        }
    )


@dataclass
class Site:
    """The site's workers answer when the test says so."""

    settings: Settings = field(default_factory=shared_settings)
    waiting: dict[str, QueueLine] = field(default_factory=dict)
    now: float = 1000.0
    there: list[str] = field(default_factory=list)
    drained: list[str] = field(default_factory=list)
    started: list[WorkerPlan] = field(default_factory=list)
    paused: list[Pause] = field(default_factory=list)
    states: Sequence[KindState] = ()
    decisions: list[ScaleDecision] = field(default_factory=list)
    written: int = 0

    def __post_init__(self) -> None:
        self.fleet, self.wanted, self.claims = Fleet(), plans(self.settings), Claims()
        cluster: Any = SimpleNamespace(
            name="c", caller=None, fleet=self.fleet, workers=self, store=self, claims=self.claims,
            clock=SimpleNamespace(monotonic=lambda: self.now), lessons=unlearned(),
            recovery=SimpleNamespace(add=lambda lost: list(lost)), rules=SimpleNamespace(unheld_grace_s=30.0),
            expected_s=lambda claims: {claim.token: claim.cost for claim in claims},
        )  # fmt: skip
        store: Any = self
        self.swapper = Swapper(cluster, self.settings, store, self.wanted)
        self.scaler = Scaler(cluster, self.wanted, self.swapper.unjudged)

    # the store
    async def lines(self, ratios: Mapping[str, float]) -> Mapping[str, QueueLine]:
        return {pool: self.waiting.get(pool, EMPTY) for pool in ratios}

    async def pauses(self) -> list[Pause]:
        return self.paused

    async def record_fleet(self, cluster: str, kinds: Sequence[KindState], decisions: Sequence[ScaleDecision]) -> None:
        self.states = kinds
        self.decisions += decisions
        self.written += 1

    async def declare_dead(self, cluster: str, worker: WorkerRef) -> bool:
        return True

    # its workers
    async def list_workers(self) -> list[str]:
        return sorted(self.there)

    async def start(self, plan: WorkerPlan) -> None:
        self.there.append(plan.name)
        self.started.append(plan)

    async def kill(self, name: str, *, restart: bool) -> None:
        assert not restart
        self.there.remove(name)

    async def drain(self, name: str, caller: Any, *, within_s: float | None = None) -> None:
        assert within_s is None, "what it renders must go on to its end"
        self.drained.append(name)

    # what happens
    async def turn(self, seconds: float = 5.0) -> list[Swap]:
        self.now += seconds
        await self.scale()
        return await self.swapper.run_once()

    async def scale(self) -> None:
        await self.swapper.adopt()
        await self.scaler.run_once()

    def answers(self, *names: str, pool: str | None = None, life: str = "first", **said: Any) -> None:
        """These workers say how they stand, as they are wanted or as if started for another pool."""
        for name in names:
            plan = self.wanted[name]
            told = {"pool": plan.pool, "plan": plan.fingerprint, "state": WorkerState.READY}
            if pool is not None:
                told |= {"pool": pool, "plan": f"the plan of {pool}"}
            renders: Sequence[RenderStatus] = said.pop("renders", ())
            worker = WorkerRef(name=name, incarnation=life)
            hears(self.fleet, a_status(*renders, worker=worker, **told | said), self.now)

    def plan_of(self, name: str, pool: str) -> str:
        """The fingerprint that a worker has which was started for this pool."""
        return shared_plan(self.settings, "main", pool, int(name.rpartition("-")[2])).fingerprint

    def holds(self, claim: Claim) -> None:
        self.claims.hold([claim], self.now)

    def known(self, pool: str) -> KindState:
        (found,) = (each for each in self.states if each.pool == pool)
        return found

    def pools_wanted(self) -> dict[str, str]:
        return {name: plan.pool for name, plan in sorted(self.wanted.items())}
