"""The workers that a dispatcher knows, each with its last answer. No I/O, so every rule is testable."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field
from uuid import UUID

from orchestrator.domain.job import Claim, WorkerRef
from orchestrator.domain.loading import NO_TROUBLE, Trouble
from orchestrator.domain.outcome import Ending, blames_worker
from orchestrator.domain.protocol import Broke, Rendered, WorkerState, WorkerStatus
from orchestrator.domain.warmth import COLD, Warmth, shape_of
from orchestrator.policy import placement

# Ended lives that are kept until somebody has looked at them.
_MOST_OVER = 10_000


@dataclass(slots=True)
class Worker:
    """One worker by name, across its incarnations. Times are the dispatcher's monotonic seconds."""

    name: str
    pool: str
    heard_at: float
    # None while what it holds is unknown: before its first answer, after a kill, after a refusal.
    status: WorkerStatus | None = None
    # When it entered the state that its last answer says.
    state_since: float = 0.0
    # The incarnation that has a row, and so may be given work.
    registered: WorkerRef | None = None
    beaten_at: float = 0.0
    # It is to be ended once it holds nothing.
    draining: bool = False
    # The jobs that failed in a row in this life.
    failed: frozenset[UUID] = frozenset()
    # This life gets no more, and is ended: too many jobs failed in it.
    condemned: bool = False
    # And that is written down.
    evident: bool = False
    # This life was started, or says so itself, and has never been ready.
    loading: bool = False
    # It was asked for, and its node may take its time: for how long is whoever asked's business.
    awaited: bool = False
    # The shape of the last render that was given to this life; None where we do not know of any.
    shape: str | None = None
    # The lives in a row that were never ready.
    trouble: Trouble = NO_TROUBLE

    @property
    def takes(self) -> bool:
        """Whether it may be given work: this life has a row, and nobody is about to end it."""
        known = self.status is not None and self.registered == self.status.worker
        return known and not self.draining and not self.condemned

    @property
    def warmth(self) -> Warmth:
        """What its next render would find at hand."""
        return COLD if self.status is None else Warmth(shape=self.shape, adapters=self.status.adapters)

    def rests(self, now: float) -> bool:
        """Whether it could not load, and is not to be tried again yet: it has no process."""
        return now < self.trouble.rests_until

    def judge(self, claim: Claim, ending: Ending) -> None:
        """Remember what the ending of a claim says about its worker.

        Only failures that another job would have met there too count against it, and none while it is being drained;
        nor those of a job that has failed before, here or elsewhere: it may be the job.
        """
        leaves = self.draining or (self.status is not None and self.status.state is WorkerState.DRAINING)
        match ending:
            case Rendered():
                self.failed = frozenset()
            case Broke(failure=failure) if not claim.failures and blames_worker(failure) and not leaves:
                self.failed |= {claim.job_id}


@dataclass(slots=True)
class Fleet:
    """The workers of one cluster, by name. `changed` is set whenever a worker may take a render."""

    workers: dict[str, Worker] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    # Lives that are over, as they were last heard of, the oldest first: `Timekeeper` books their last seconds.
    over: deque[Worker] = field(default_factory=lambda: deque(maxlen=_MOST_OVER))

    def worker(self, name: str, pool: str, now: float) -> Worker:
        """The worker of that name, known from now on if it is new."""
        return self.workers.setdefault(name, Worker(name, pool, heard_at=now))

    def forget(self, name: str) -> None:
        """A worker that is no more; nothing where it is not known."""
        gone = self.workers.pop(name, None)
        if gone is not None and gone.status is not None:
            self.over.append(gone)

    def heard(self, worker: Worker, status: WorkerStatus, now: float) -> WorkerStatus | None:
        """Take in a worker's answer; returns the one before it from the same incarnation, if any."""
        before = worker.status
        same = before if before is not None and before.worker == status.worker else None
        if before is not None and same is None:
            self.over.append(copy(worker))
        if same is None or same.state is not status.state:
            worker.state_since = now
        if worker.registered != status.worker:
            worker.failed, worker.condemned, worker.evident, worker.shape = frozenset(), False, False, None
        worker.loading, worker.awaited = status.state is WorkerState.LOADING, False
        if status.state is WorkerState.READY:
            worker.trouble = NO_TROUBLE
        worker.status, worker.heard_at, worker.pool = status, now, status.pool
        newly_interruptible = status.interrupts is not None and (same is None or same.interrupts != status.interrupts)
        # A claim may be on its way to it already; whoever looks will see that.
        if newly_interruptible or (worker.takes and placement.slots([status], ())):
            self.changed.set()
        return same

    def given(self, claims: Iterable[Claim]) -> None:
        """These renders go to their workers next."""
        for claim in claims:
            worker = self.workers.get(claim.worker.name)
            if worker is not None:
                worker.shape = shape_of(claim.spec)

    def warmth(self, slots: Iterable[WorkerRef]) -> dict[WorkerRef, Warmth]:
        """What each of these workers is warm for, as far as it is known."""
        return {slot: self.workers[slot.name].warmth for slot in slots if slot.name in self.workers}

    def takers(self, pool: str) -> list[WorkerStatus]:
        """The last answers of the workers of a pool that may be given work."""
        known = (worker for worker in self.workers.values() if worker.pool == pool and worker.takes)
        return [worker.status for worker in known if worker.status is not None]

    def statuses(self, pool: str | None = None) -> list[WorkerStatus]:
        """The last answers of all workers, or of all of a pool."""
        known = (worker for worker in self.workers.values() if pool in (None, worker.pool))
        return [worker.status for worker in known if worker.status is not None]
