"""What a dispatcher knows: its workers' last answers and the claims they hold. No I/O, so every rule is testable."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from uuid import UUID

from orchestrator.domain.job import Claim, WorkerRef
from orchestrator.domain.loading import NO_TROUBLE, Trouble
from orchestrator.domain.outcome import Ending, blames_worker
from orchestrator.domain.protocol import Broke, Rendered, RenderStatus, Stage, WorkerState, WorkerStatus
from orchestrator.policy.cost import Speed, predict_finish_s
from orchestrator.ports import Progress

# A worker is given its next render this long before it is free, or one denoise step before, whichever is longer:
# long enough for a claim and an assignment, short enough to be no prefetch.
LEAD_S = 0.5


@dataclass(slots=True)
class Worker:
    """One worker by name, across its incarnations. Times are the dispatcher's monotonic seconds.

    `status` is None while what it holds is unknown: before its first answer, after a kill, after a refusal.
    `registered` is the incarnation that has a row, and so may be given work. `failed` are the jobs that failed in a row
    in this life; a `condemned` life gets no more, and is ended. A `loading` life was started, or says so itself, and
    has never been ready; `trouble` are those in a row that never were.
    """

    name: str
    pool: str
    heard_at: float
    status: WorkerStatus | None = None
    state_since: float = 0.0
    registered: WorkerRef | None = None
    beaten_at: float = 0.0
    draining: bool = False
    failed: frozenset[UUID] = frozenset()
    condemned: bool = False
    loading: bool = False
    trouble: Trouble = NO_TROUBLE

    def rests(self, now: float) -> bool:
        """Whether it could not load, and is not to be tried again yet: it has no process."""
        return now < self.trouble.rests_until


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
    _leaving: set[UUID] = field(default_factory=set)

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
        if worker.registered != status.worker:
            worker.failed, worker.condemned = frozenset(), False
        worker.loading = status.state is WorkerState.LOADING
        if status.state is WorkerState.READY:
            worker.trouble = NO_TROUBLE
        worker.status, worker.heard_at, worker.pool = status, now, status.pool
        newly_interruptible = status.interrupts is not None and (same is None or same.interrupts != status.interrupts)
        if self._open(worker) or newly_interruptible:
            self.changed.set()
        return same

    def slots(self, pool: str) -> list[WorkerRef]:
        """Workers of a pool that should get one more render now, soonest free first."""
        found = [status for worker in self._of(pool) if (status := self._open(worker)) is not None]
        return [status.worker for status in sorted(found, key=lambda status: status.free_in_s)]

    def interruptible(self, pool: str) -> list[tuple[int, list[WorkerRef]]]:
        """Workers of a pool that are not free, by the priority number that a render must be below to step there next.

        The greatest number first: whoever renders the least urgent is interrupted first.
        """
        found: defaultdict[int, list[WorkerRef]] = defaultdict(list)
        for worker in self._of(pool):
            status = self._able(worker)  # room or not: what is interrupted makes it
            if status is not None and status.interrupts is not None and not _soon_free(status):
                found[status.interrupts].append(status.worker)
        return sorted(found.items(), reverse=True)

    def _of(self, pool: str) -> Iterator[Worker]:
        return (worker for worker in self.workers.values() if worker.pool == pool)

    def _open(self, worker: Worker) -> WorkerStatus | None:
        """The status of a worker that should get one more render now."""
        status = self._able(worker)
        return status if status is not None and status.room > 0 and _soon_free(status) else None

    def _able(self, worker: Worker) -> WorkerStatus | None:
        """The status of a worker that takes renders, for which it may lack room, and has none on its way."""
        status = worker.status
        if status is None or worker.draining or worker.condemned or worker.registered != status.worker:
            return None
        if status.state is not WorkerState.READY:
            return None
        seen = {render.token for render in status.renders}
        on_its_way = any(
            claim.worker == status.worker and claim.token not in seen for claim in self.held_by(worker.name)
        )
        return None if on_its_way else status

    def judge(self, worker: Worker, claim: Claim, ending: Ending) -> None:
        """Remember what the ending of a claim says about its worker.

        Only failures that another job would have met there too count against it, and none while it is being drained;
        nor those of a job that has failed before, here or elsewhere: it may be the job.
        """
        match ending:
            case Rendered():
                worker.failed = frozenset()
            case Broke(failure=failure) if not claim.failures and blames_worker(failure) and not _leaves(worker):
                worker.failed |= {claim.job_id}

    # -------------------------------------------------------------- leaving
    def misplaced(self, pool: str) -> list[Claim]:
        """Preempted renders that idle workers of their pool could go on with, the most urgent and oldest first.

        As many as there are idle workers, less those that are on their way out of a worker already; none that would
        start over on some of them, since its own worker will go on with it for nothing.
        """
        idle = [
            status
            for worker in self._of(pool)
            if (status := self._open(worker)) is not None and all(render.end is not None for render in status.renders)
        ]
        numerics = {status.numerics for status in idle}
        waiting = [
            claim
            for worker in self._of(pool)
            if (status := worker.status) is not None and numerics == {status.numerics}
            for render in status.renders
            if render.stage is Stage.PREEMPTED and (claim := self.claims.get(render.token)) is not None
        ]
        waiting.sort(key=lambda claim: (claim.priority, self._claimed_at[claim.token]))
        leaving = sum(1 for token in self._leaving if self.claims[token].pool == pool)
        return [claim for claim in waiting if claim.token not in self._leaving][: max(0, len(idle) - leaving)]

    def unfinished(self, within_s: float) -> list[Claim]:
        """Claims whose renders are predicted to end later, can still leave, and have not been told to."""
        seen = {
            render.token: render
            for worker in self.workers.values()
            for render in (worker.status.renders if worker.status is not None else ())
        }
        return [
            claim
            for token, claim in self.claims.items()
            if token not in self._leaving and self._left_s(claim, seen.get(token)) > within_s
        ]

    def _left_s(self, claim: Claim, render: RenderStatus | None) -> float:
        """Predicted seconds to a render's end; none for one whose frames are being finished, as that cannot leave."""
        if render is not None and render.stage in (Stage.FINISHING, Stage.UPLOADING, Stage.ENDED):
            return 0.0
        done = render.step / render.steps if render is not None else 0.0
        return claim.cost * self.speed(claim.pool).factor * (1 - done) + predict_finish_s(claim.spec)

    def told_to_leave(self, token: UUID) -> None:
        """This render has been asked to leave its worker."""
        if token in self.claims:
            self._leaving.add(token)

    def may_stay(self, token: UUID) -> None:
        """Nobody knows whether it heard: it may be asked again."""
        self._leaving.discard(token)

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
            self._leaving.discard(token)
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
                progress = _progress(render)
                if render.end is None and render.token in self.claims and self._written.get(render.token) != progress:
                    moved.append(progress)
        return moved

    def last_words(self, status: WorkerStatus) -> list[Progress]:
        """What ended renders have stored, or met with, since their progress was last written."""
        words = []
        for render in status.renders:
            written = self._written.get(render.token)
            known = (written.checkpoint, written.incidents) if written is not None else (None, ())
            told = (render.checkpoint, render.incidents)
            if render.end is not None and render.token in self.claims and told != known:
                words.append(_progress(render))
        return words

    def wrote(self, progress: Iterable[Progress]) -> None:
        """This progress is in the database."""
        for item in progress:
            if item.token in self.claims:
                self._written[item.token] = item


def _soon_free(status: WorkerStatus) -> bool:
    return status.free_in_s <= max(LEAD_S, status.step_s)


def _leaves(worker: Worker) -> bool:
    return worker.draining or (worker.status is not None and worker.status.state is WorkerState.DRAINING)


def _progress(render: RenderStatus) -> Progress:
    return Progress(
        job_id=render.job_id,
        token=render.token,
        stage=str(render.stage),
        step=render.step,
        preview=render.preview,
        checkpoint=render.checkpoint,
        incidents=render.incidents,
    )
