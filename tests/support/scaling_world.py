"""A pool in a small world of its own, on which the decision about its workers is tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.policy.autoscale import Scale, decide
from orchestrator.policy.demand import Demand
from orchestrator.policy.kinds import Bounds, Kind, Standing
from orchestrator.policy.trust import Memory, ScalingRules

RULES = ScalingRules()
SPOT = Kind(name="spot", price_per_gpu_hour=1.0, most=20, start_s=300, may_vanish=True)
FIRM = Kind(name="firm", price_per_gpu_hour=3.0, most=20, start_s=300)
# A night's rows: 36,000 GPU seconds in each of ten hours.
NIGHT = Demand(backlog_s=360_000, due_s=360_000, required_rate=10.0, due_in_s=36_000, jobs=6000)


@dataclass
class World:
    """A pool whose workers come but for those that never do, and are taken away when their lives are over."""

    kinds: list[Kind]
    bounds: Bounds = field(default_factory=Bounds)
    rules: ScalingRules = RULES
    never: set[str] = field(default_factory=set)
    # Of a kind, how long its next worker lives once it is ready; none is for ever.
    lives: dict[str, Callable[[], float]] = field(default_factory=dict)
    ends: dict[str, list[float]] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    now: float = 1000.0
    memory: Memory = field(default_factory=Memory)
    asked: dict[str, list[float]] = field(default_factory=dict)
    ready: dict[str, int] = field(default_factory=dict)

    def standings(self) -> list[Standing]:
        return [
            Standing(
                kind=kind,
                requested=len(self.asked.get(kind.name, [])),
                ready=self.ready.get(kind.name, 0),
                ages=[self.now - at for at in self.asked.get(kind.name, [])],
                lost=self.lost.get(kind.name, 0),
            )
            for kind in self.kinds
        ]

    def step(self, demand: Demand, seconds: float = 10.0) -> list[Scale]:
        self.now += seconds
        for kind in self.kinds:
            asked = self.asked.setdefault(kind.name, [])
            come = [at for at in asked if self.now - at >= kind.start_s and kind.name not in self.never]
            self.ready[kind.name] = self.ready.get(kind.name, 0) + len(come)
            self.asked[kind.name] = [at for at in asked if at not in come]
            self._end_lives(kind.name, len(come))
        scales, self.memory = decide(self.standings(), demand, self.bounds, self.rules, self.memory, self.now)
        for scale in scales:
            self.apply(scale)
        return scales

    def _end_lives(self, kind: str, come: int) -> None:
        if kind not in self.lives:
            return
        ends = [*self.ends.get(kind, []), *(self.now + self.lives[kind]() for _ in range(come))]
        self.ends[kind] = sorted(ends)[: self.ready[kind]]  # who was let go would have lived longest
        self.lost[kind] = sum(at <= self.now for at in self.ends[kind])
        self.ready[kind] -= self.lost[kind]
        self.ends[kind] = [at for at in self.ends[kind] if at > self.now]

    def apply(self, scale: Scale) -> None:
        asked = self.asked[scale.kind]
        if scale.change > 0:
            asked += [self.now] * scale.change
            return
        withdrawn = min(-scale.change, len(asked))
        del asked[:withdrawn]
        self.ready[scale.kind] -= -scale.change - withdrawn
        assert self.ready[scale.kind] >= 0

    def run(self, demand: Demand, seconds: float, every: float = 10.0) -> list[Scale]:
        return [scale for _ in range(int(seconds / every)) for scale in self.step(demand, every)]

    def present(self, kind: Kind) -> int:
        return self.ready.get(kind.name, 0) + len(self.asked.get(kind.name, []))
