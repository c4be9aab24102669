"""What waits for pools that share workers -> as which of them each worker is wanted, which the scaler brings about."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from statistics import median

from orchestrator.capacity.plans import shared_plan
from orchestrator.config import Settings
from orchestrator.dispatch.cluster import Cluster
from orchestrator.dispatch.fleet import Worker
from orchestrator.domain.pausing import pause_over
from orchestrator.domain.protocol import WorkerState
from orchestrator.policy.affinity import LOAD_S, Holder, Line, Memory, Swap, decide
from orchestrator.ports import WorkerPlan
from orchestrator.ports.fleet import FleetStore, KindState, QueueLine, ScaleDecision
from orchestrator.telemetry import aside, logs, metrics

_log = logs.get("swapper")

# Of each pool the last loads that its loading time is the median of.
_LOADS = 5
# For so many seconds nothing is decided for a set one of whose workers has not told what it holds: a pool would look as
# if nobody held its model.
_UNTOLD_S = 60.0


@dataclass(slots=True)
class _Set:
    """What is remembered of a set from one decision to the next."""

    memory: Memory = field(default_factory=Memory)
    # By worker, when it was given its model, in the dispatcher's monotonic seconds.
    given_at: dict[str, float] = field(default_factory=dict)
    # By pool, why it has last got a worker or lost one.
    why: dict[str, str] = field(default_factory=dict)


class Swapper:
    """Decides for one set after the other. `wanted` are the workers that there should be: a swap changes one's pool.

    The scaler sees that it was started from another plan, lets it end what it renders, and starts it anew. Workers
    that an earlier dispatcher left keep what they hold: until they have told it they are in `unjudged`, and for
    a minute nothing is decided for their set.
    """

    def __init__(self, cluster: Cluster, settings: Settings, store: FleetStore, wanted: dict[str, WorkerPlan]) -> None:
        self._cluster = cluster
        self._settings = settings
        self._store = store
        self._wanted = wanted
        self._sets = {name: _Set() for name in settings.shared}
        self._loading: dict[str, float] = {}
        self._loads: dict[str, deque[float]] = {}
        self.unjudged: set[str] = set()
        # When an earlier dispatcher's workers were listed, by the dispatcher's monotonic clock.
        self._asked_at: float | None = None

    async def adopt(self) -> None:
        """Want the workers that an earlier dispatcher left as what they are, as soon as they say it."""
        if self._sets and (self._asked_at is None or self.unjudged):
            existing = set(await self._cluster.workers.list_workers())
            shared = {name for each in self._sets for name in self._names(each)}
            # The scaler holds the same set.
            self.unjudged.intersection_update(existing)
            if self._asked_at is None:
                self.unjudged.update(existing & shared)
                self._asked_at = self._cluster.clock.monotonic()
        for name in self._sets:
            for worker in [self._cluster.fleet.workers.get(each) for each in self._names(name)]:
                if worker is not None and worker.status is not None:
                    self._look(name, worker)
                elif worker is not None and worker.loading and worker.name in self._sets[name].given_at:
                    # It is being started for its other model.
                    self._loading.setdefault(worker.name, worker.heard_at)

    def _look(self, of_set: str, worker: Worker) -> None:
        """Take in a worker's answer: what it holds, where that is news, and how long it has loaded."""
        name, status = worker.name, worker.status
        assert status is not None
        if name in self.unjudged:
            if status.pool in self._settings.shared[of_set].pools:
                index = int(name.rpartition("-")[2])
                self._wanted[name] = shared_plan(self._settings, of_set, status.pool, index)
            self.unjudged.discard(name)
        if status.state is WorkerState.LOADING:
            self._loading.setdefault(name, worker.state_since)
        elif (began := self._loading.pop(name, None)) is not None and status.state is WorkerState.READY:
            took = worker.state_since - began
            if took > 0:
                self._loads.setdefault(status.pool, deque(maxlen=_LOADS)).append(took)

    async def run_once(self) -> list[Swap]:
        """Decide once. Raises `StoreUnavailable`: without knowing what waits, everybody keeps what he holds."""
        if not self._sets:
            return []
        await self.adopt()
        pools = [pool for each in self._settings.shared.values() for pool in each.pools]
        known = await self._cluster.lessons.book.known()
        ratios = {pool: known.of_model(self._settings.pools[pool].model, pool).likely for pool in pools}
        waiting, pauses = await self._store.lines(ratios), await self._store.pauses()
        swaps: list[Swap] = []
        states: list[KindState] = []
        for name, shared in self._settings.shared.items():
            with aside.unless_it_breaks("swap", set=name):
                # A paused pool gives nobody anything to do.
                open_pools = [pool for pool in shared.pools if pause_over(pool, pauses) is None]
                if self._is_told(name):
                    swaps += self._decide(name, [self._line(pool, waiting[pool]) for pool in open_pools])
                states += self._states(name)
        decisions = [
            ScaleDecision(pool=pool, kind=self._settings.set_of(swap.to) or "", change=change, why=swap.why)
            for swap in swaps
            for pool, change in ((swap.left, -1), (swap.to, 1))
        ]
        metrics.show_shared(states)
        await self._store.record_fleet(self._cluster.name, states, decisions)
        return swaps

    def _decide(self, name: str, lines: list[Line]) -> list[Swap]:
        now, known, shared = self._cluster.clock.monotonic(), self._sets[name], self._settings.shared[name]
        swaps, known.memory = decide([*self._holders(name, now)], lines, shared.rules, known.memory, now)
        for swap in swaps:
            _log.info("swapped", set=name, **asdict(swap))
            metrics.swaps.labels(name, swap.to, swap.cause).inc()
            known.why[swap.left] = known.why[swap.to] = swap.why
            known.given_at[swap.worker] = now
            index = int(swap.worker.rpartition("-")[2])
            self._wanted[swap.worker] = shared_plan(self._settings, name, swap.to, index)
        return swaps

    def _is_told(self, name: str) -> bool:
        """Whether it is known what the workers of a set hold, or has been waited for long enough."""
        waited_s = self._cluster.clock.monotonic() - (self._asked_at or 0.0)
        return waited_s >= _UNTOLD_S or self.unjudged.isdisjoint(self._names(name))

    def _names(self, name: str) -> list[str]:
        return [f"{name}-{index}" for index in range(self._settings.shared[name].workers)]

    def _holders(self, name: str, now: float) -> Iterable[Holder]:
        """The workers of a set, and those that its pools have for themselves."""
        shared, given_at = set(self._names(name)), self._sets[name].given_at
        for each, plan in self._wanted.items():
            if each not in shared and (plan.pool not in self._settings.shared[name].pools or plan.kind is not None):
                continue
            worker = self._cluster.fleet.workers.get(each)
            status = None if worker is None else worker.status
            ready = status is not None and status.state is WorkerState.READY and status.pool == plan.pool
            ours = self._cluster.claims.held_by(each) if ready else []
            yield Holder(
                name=each,
                pool=plan.pool,
                held_s=now - given_at.get(each, -math.inf),
                ready=ready and each not in self.unjudged,
                pinned=each not in shared,
                left_s=self._left_s(each),
                priority=min((claim.priority for claim in ours), default=None),
            )

    def _left_s(self, name: str) -> float:
        """Predicted seconds until a worker holds nothing any more."""
        worker = self._cluster.fleet.workers.get(name)
        held = {} if worker is None or worker.status is None else {it.token: it for it in worker.status.renders}
        claims = self._cluster.claims.held_by(name)
        expected = self._cluster.expected_s(claims)
        left_s = 0.0
        for claim in claims:
            render = held.get(claim.token)
            done = render.step / render.steps if render is not None and render.steps else 0.0
            left_s += expected[claim.token] * (1 - done)
        return left_s

    def _line(self, pool: str, waiting: QueueLine) -> Line:
        loads = self._loads.get(pool)
        return Line(
            pool=pool,
            # The GPU seconds of costs are those of a worker, however many GPUs it has.
            waiting=waiting.waiting,
            oldest_s=waiting.oldest_s,
            load_s=median(loads) if loads else LOAD_S,
        )

    def _states(self, name: str) -> Iterable[KindState]:
        """How the workers of a set stand, by the pool whose model each holds or is given."""
        known, now = self._sets[name], self._cluster.clock.monotonic()
        rules = self._settings.shared[name].rules
        counts: dict[str, Counter[str]] = {pool: Counter() for pool in self._settings.shared[name].pools}
        for each in self._names(name):
            worker, plan = self._cluster.fleet.workers.get(each), self._wanted.get(each)
            if plan is None:  # an administrator has drained it
                continue
            status = None if worker is None else worker.status
            counts[plan.pool]["wanted"] += 1
            if status is None:
                counts[plan.pool]["requested"] += 1
            elif status.pool != plan.pool or status.state is WorkerState.DRAINING:
                counts[status.pool if status.pool in counts else plan.pool]["draining"] += 1
            else:
                counts[plan.pool]["ready" if status.state is WorkerState.READY else "starting"] += 1
        for pool, count in counts.items():
            due_in_s = known.memory.due_in_s(pool, rules, now)
            why = known.why.get(pool, "no worker has changed its model yet")
            if due_in_s is not None:
                why = f"no worker holds its model; one is taken for it within {due_in_s:.0f} s"
            elif not count["wanted"]:
                due_in_s = rules.cold_wait_s  # that is when one is taken for a job that comes now
            yield KindState(
                cluster=self._cluster.name, pool=pool, kind=name, wanted=count["wanted"],
                requested=count["requested"], starting=count["starting"], ready=count["ready"],
                draining=count["draining"], why=why, rests_s=due_in_s or 0.0,
            )  # fmt: skip
