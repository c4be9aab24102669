"""How the workers of pools with kinds stand: asked for, starting, ready, draining, lost. Reads the fleet, no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from orchestrator.capacity.plans import index_of
from orchestrator.dispatch.fleet import Fleet, Worker
from orchestrator.domain.protocol import Stage, WorkerState, WorkerStatus
from orchestrator.policy.kinds import Kind, Standing
from orchestrator.policy.shrinking import Seat
from orchestrator.ports import WorkerPlan

# Of a render that leaves: its checkpoint is stored and read again, in steps.
_HANDOVER_STEPS = 2.0
# What only this worker can end, as its frames are being finished.
_ENDING = (Stage.FINISHING, Stage.UPLOADING)


class Roll:
    """The workers of kinds: those that are wanted, and those that are on their way out.

    A worker that answers that it drains is wanted no more, whoever told it to go: there is no way back for it.
    """

    def __init__(self, fleet: Fleet, wanted: dict[str, WorkerPlan]) -> None:
        self._fleet = fleet
        self._wanted = wanted
        # When each was asked for, by the dispatcher's monotonic clock.
        self._asked: dict[str, float] = {}
        # Those that have answered once.
        self._heard: set[str] = set()
        # By pool and kind, those that were taken away since `taken` was asked.
        self._taken = Counter[tuple[str, str]]()

    def asked(self, name: str, now: float) -> None:
        self._asked[name] = now

    def forget(self, name: str) -> None:
        self._asked.pop(name, None)
        self._heard.discard(name)

    def of(self, pool: str, kind: str) -> list[str]:
        """The names of those that are wanted."""
        return [name for name, plan in self._wanted.items() if (plan.pool, plan.kind) == (pool, kind)]

    def oldest_first(self, names: Iterable[str]) -> list[str]:
        return sorted(names, key=lambda name: (self._asked.get(name, 0.0), name))

    def is_requested(self, name: str) -> bool:
        """Whether it was asked for and has never answered."""
        worker = self._fleet.workers.get(name)
        return name not in self._heard and (worker is None or worker.status is None)

    def standing(self, pool: str, kind: Kind, now: float) -> Standing:
        """How many there are of a kind. What drains by itself is dropped from what is wanted on the way."""
        requested: list[str] = []
        starting = ready = 0
        for name in self.of(pool, kind.name):
            worker = self._fleet.workers.get(name)
            status = None if worker is None else worker.status
            if status is not None:
                self._heard.add(name)
            elif worker is not None and worker.awaited and name in self._heard:
                # Its last life ended while it loaded, and it was started anew: its node may be gone, and never come.
                self._heard.discard(name)
                self._asked[name] = now
            if worker is not None and status is not None and status.state is WorkerState.DRAINING:
                self._taken[pool, kind.name] += _by_notice(worker, status, self._wanted[name])
                del self._wanted[name]
            elif self.is_requested(name):
                requested.append(name)
            elif status is not None and status.state is WorkerState.READY:
                ready += 1
            else:
                starting += 1
        return Standing(
            kind=kind,
            requested=len(requested),
            starting=starting,
            ready=ready,
            draining=sum(1 for _ in self._leavers(pool, kind.name)),
            ages=[now - self._asked.setdefault(name, now) for name in requested],
        )

    def lost(self, pool: str, kind: Kind) -> list[str]:
        """Those that have answered once and have no life now, of a kind that may vanish; one that rests is not lost."""
        if not kind.may_vanish:
            return []
        gone = []
        for name in self.of(pool, kind.name):
            worker = self._fleet.workers.get(name)
            if name in self._heard and (worker is None or (worker.status is None and not worker.trouble.failures)):
                gone.append(name)
        return gone

    def taken(self, pool: str, kind: Kind, lost: int) -> int:
        """How many of a kind that may vanish were taken away since this was last asked: by notice, and `lost`."""
        noticed = self._taken.pop((pool, kind.name), 0)
        return noticed + lost if kind.may_vanish else 0

    def left(self, pool: str, kind: str) -> list[str]:
        """Those that were on their way out and have no process any more."""
        mine = (name for name in self._heard if index_of(name, pool, kind) is not None)
        return sorted(name for name in mine if name not in self._wanted and name not in self._fleet.workers)

    def seats(self, pool: str, kind: str, nodes: Mapping[str, str]) -> list[Seat]:
        """Where the kind's workers are and what each would lose; and who else is on those nodes."""
        mine = [name for name in self.of(pool, kind) if not self.is_requested(name)]
        others = {name: node for name, node in nodes.items() if name not in mine}
        leavers = {worker.name for worker in self._leavers(pool, kind)}
        return [
            *(Seat(worker=name, node=nodes.get(name), loss_s=self._loss(name)) for name in mine),
            *(Seat(worker=name, node=node, stays=True) for name, node in others.items() if name not in leavers),
        ]

    def _loss(self, name: str) -> float:
        """GPU seconds that leaving now costs: of each render its hand-over, and what it did before its first step."""
        worker = self._fleet.workers.get(name)
        status = None if worker is None else worker.status
        if status is None:
            return 0.0
        live = [render for render in status.renders if render.end is None and render.stage not in _ENDING]
        return len(live) * _HANDOVER_STEPS * status.step_s

    def _leavers(self, pool: str, kind: str) -> Iterable[Worker]:
        return (
            worker
            for name, worker in self._fleet.workers.items()
            if name not in self._wanted and index_of(name, pool, kind) is not None
        )


def _by_notice(worker: Worker, status: WorkerStatus, plan: WorkerPlan) -> bool:
    """Whether one that drains was not told to by us: for a changed plan, or for failing."""
    return status.plan == plan.fingerprint and not worker.condemned
