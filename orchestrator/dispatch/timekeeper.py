"""What the seconds of a cluster's workers go into, added up from their answers, and written to the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.dispatch.cluster import Cluster
from orchestrator.dispatch.fleet import Worker
from orchestrator.domain.job import WorkerRef
from orchestrator.domain.protocol import WorkerState, WorkerStatus
from orchestrator.domain.worker_time import Spell, Spent


@dataclass(slots=True)
class _Seen:
    """A worker's life as its last answer had it that was booked. Times are the dispatcher's monotonic seconds."""

    life: WorkerRef
    at: float
    state: WorkerState
    busy_s: float


class Timekeeper:
    """Adds seconds up from a worker's first answer to its last; beyond it nobody knows yet.

    While no dispatcher runs, waiting and loading are not seen, and what was rendered meanwhile is not either: a life's
    count begins where it is first seen. That is what the metric of busy seconds does, too.
    """

    def __init__(self, cluster: Cluster, kind_of: Callable[[str, str], str] = lambda pool, worker: "") -> None:
        """`kind_of(pool, worker)` is a worker's kind."""
        self._cluster = cluster
        self._kind_of = kind_of
        self._seen: dict[str, _Seen] = {}
        # By pool, kind and spell.
        self._unwritten: defaultdict[tuple[str, str, Spell], float] = defaultdict(float)

    async def run_once(self) -> int:
        """Look at every worker, and write what there is to write; how many sums.

        Raises `StoreUnavailable`; what was not written is kept for the next time. It is booked in the hour in which
        it is written, and twice, at the very worst, where the answer to a write was lost.
        """
        self.look()
        sums = [
            Spent(pool=pool, kind=kind, spell=spell, seconds=seconds)
            for (pool, kind, spell), seconds in self._unwritten.items()
            if seconds > 0
        ]
        if sums:
            await self._cluster.store.record_worker_time(sums)
            self._unwritten.clear()
        return len(sums)

    def look(self) -> None:
        """Add up what has passed between every worker's last two answers that were seen here."""
        workers, over = self._cluster.fleet.workers, self._cluster.fleet.over
        ended = [over.popleft() for _ in range(len(over))]
        for worker in (*ended, *workers.values()):
            if worker.status is not None:
                self._look(worker.name, worker, worker.status)
        for name in [name for name in self._seen if name not in workers or workers[name].status is None]:
            del self._seen[name]

    def _look(self, name: str, worker: Worker, status: WorkerStatus) -> None:
        seen, now = self._seen.get(name), worker.heard_at
        self._seen[name] = _Seen(status.worker, now, status.state, status.gpu_busy_s)
        if seen is None or seen.life != status.worker:
            return
        changed_at = min(max(worker.state_since, seen.at), now) if status.state is not seen.state else seen.at
        ready_s = 0.0
        for state, seconds in ((seen.state, changed_at - seen.at), (status.state, now - changed_at)):
            match state:
                case WorkerState.LOADING:
                    self._add(worker, Spell.LOADING, seconds)
                case WorkerState.BROKEN:
                    self._add(worker, Spell.BROKEN, seconds)
                case WorkerState.READY | WorkerState.DRAINING:
                    ready_s += seconds
        busy_s = max(0.0, status.gpu_busy_s - seen.busy_s)
        self._add(worker, Spell.BUSY, busy_s)
        self._add(worker, Spell.IDLE, max(0.0, ready_s - busy_s))

    def _add(self, worker: Worker, spell: Spell, seconds: float) -> None:
        self._unwritten[worker.pool, self._kind_of(worker.pool, worker.name), spell] += seconds
