"""What a dispatcher knows: its workers' last answers and the claims they hold. No I/O, so every rule is testable."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from uuid import UUID

from orchestrator.domain.cost import Speed
from orchestrator.domain.job import Claim, WorkerRef
from orchestrator.domain.protocol import WorkerState, WorkerStatus
from orchestrator.ports import Progress

# A worker is given its next render this long before it is free, or one denoise step before, whichever is longer:
# long enough for a claim and an assignment, short enough to be no prefetch.
LEAD_S = 0.5


@dataclass(slots=True)
class Worker:
    """One worker by name, across its incarnations. Times are the dispatcher's monotonic seconds.

    `status` is None while what it holds is unknown: before its first answer, after a kill, after a refusal.
    `registered` is the incarnation that has a row, and so may be given work.
    """

    name: str
    pool: str
    heard_at: float
    status: WorkerStatus | None = None
    state_since: float = 0.0
    registered: WorkerRef | None = None
    beaten_at: float = 0.0
    draining: bool = False


class Reading:
    """A reading of the database's running claims, under way. What is claimed or settled meanwhile is newer than it."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._before = set(fleet.claims)
        self.dropped: set[UUID] = set()

    def reconcile(self, running: Sequence[Claim], now: float) -> None:
        """Make the fleet's claims agree with what was read."""
        for token in self._before - {claim.token for claim in running}:
            self._fleet.drop(token)
        fresh = [claim for claim in running if claim.token not in self._fleet.claims | dict.fromkeys(self.dropped)]
        self._fleet.hold(fresh, now)


@dataclass(slots=True)
class Fleet:
    """The workers and claims of one cluster, as its dispatcher sees them.

    `changed` is set whenever a worker may take a render.
    """

    workers: dict[str, Worker] = field(default_factory=dict)
    claims: dict[UUID, Claim] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _claimed_at: dict[UUID, float] = field(default_factory=dict)
    _held_by: defaultdict[str, set[UUID]] = field(default_factory=lambda: defaultdict(set))
    _readings: list[Reading] = field(default_factory=list)
    _speeds: dict[str, Speed] = field(default_factory=dict)
    _written: dict[UUID, Progress] = field(default_factory=dict)

    # -------------------------------------------------------------- workers
    def worker(self, name: str, pool: str, now: float) -> Worker:
        """The worker of that name, known from now on if it is new."""
        return self.workers.setdefault(name, Worker(name, pool, heard_at=now))

    def forget(self, name: str) -> None:
        """The worker is gone for good."""
        self.workers.pop(name, None)

    def heard(self, worker: Worker, status: WorkerStatus, now: float) -> WorkerStatus | None:
        """Take in a worker's answer; returns the one before it from the same incarnation, if any."""
        before = worker.status
        same = before if before is not None and before.worker == status.worker else None
        if same is None or same.state is not status.state:
            worker.state_since = now
        worker.status, worker.heard_at, worker.pool = status, now, status.pool
        if self._open(worker):
            self.changed.set()
        return same

    def slots(self, pool: str) -> list[WorkerRef]:
        """Workers of a pool that should get one more render now, soonest free first."""
        found = [worker.status for worker in self.workers.values() if worker.pool == pool and self._open(worker)]
        ready = [status for status in found if status is not None]
        return [status.worker for status in sorted(ready, key=lambda status: status.free_in_s)]

    def _open(self, worker: Worker) -> bool:
        status = worker.status
        if status is None or worker.draining or worker.registered != status.worker:
            return False
        if status.state is not WorkerState.READY or status.room < 1:
            return False
        seen = {render.token for render in status.renders}
        on_its_way = any(
            claim.worker == status.worker and claim.token not in seen for claim in self.held_by(worker.name)
        )
        return not on_its_way and status.free_in_s <= max(LEAD_S, status.step_s)

    # -------------------------------------------------------------- claims
    def hold(self, claims: Iterable[Claim], now: float) -> None:
        """Remember claims that our workers own; their age counts from now less `age_s`."""
        for claim in claims:
            self.claims[claim.token] = claim
            self._claimed_at[claim.token] = now - claim.age_s
            self._held_by[claim.worker.name].add(claim.token)

    def drop(self, token: UUID) -> None:
        """A claim is settled, here or elsewhere."""
        claim = self.claims.pop(token, None)
        if claim is not None:
            self._held_by[claim.worker.name].discard(token)
            del self._claimed_at[token]
            self._written.pop(token, None)
        for reading in self._readings:
            reading.dropped.add(token)

    def held_by(self, name: str) -> list[Claim]:
        """The claims that we believe a worker's name to hold, of any incarnation."""
        return [self.claims[token] for token in self._held_by.get(name, ())]

    def aged(self, claims: Iterable[Claim], now: float) -> list[Claim]:
        """These claims of ours, each with its age in seconds."""
        return [replace(claim, age_s=now - self._claimed_at[claim.token]) for claim in claims]

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """Open before the database is asked for the running claims, reconciled with its answer."""
        reading = Reading(self)
        self._readings.append(reading)
        try:
            yield reading
        finally:
            self._readings.remove(reading)

    def request_cancel(self, tokens: Iterable[UUID]) -> list[Claim]:
        """Mark claims as to be cancelled; returns those that were not marked before."""
        fresh = [claim for token in tokens if (claim := self.claims.get(token)) and not claim.cancel_requested]
        for claim in fresh:
            self.claims[claim.token] = replace(claim, cancel_requested=True)
        return fresh

    # -------------------------------------------------------------- learning
    def speed(self, pool: str) -> Speed:
        """What finished renders have taught about a pool."""
        return self._speeds.get(pool, Speed())

    def learn(self, claim: Claim, gpu_seconds: float) -> None:
        """One more finished render of the claim's pool."""
        self._speeds[claim.pool] = self.speed(claim.pool).learn(predicted_s=claim.cost, actual_s=gpu_seconds)

    def unwritten_progress(self) -> list[Progress]:
        """Where renders stand that have moved since `wrote` was last told."""
        moved = []
        for worker in self.workers.values():
            for render in worker.status.renders if worker.status else ():
                progress = Progress(
                    job_id=render.job_id,
                    token=render.token,
                    stage=str(render.stage),
                    step=render.step,
                    preview=render.preview,
                    checkpoint=render.checkpoint,
                    incidents=render.incidents,
                )
                if render.end is None and render.token in self.claims and self._written.get(render.token) != progress:
                    moved.append(progress)
        return moved

    def wrote(self, progress: Iterable[Progress]) -> None:
        """This progress is in the database."""
        for item in progress:
            if item.token in self.claims:
                self._written[item.token] = item
