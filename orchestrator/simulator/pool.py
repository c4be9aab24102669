"""One pool at work: waiting jobs go to workers, urgent ones step in, renders end, leave, and go on elsewhere.

What `dispatch/` and `workers/engine/` do with a real fleet, at the moments in which something changes. It differs in
five things that are small: a claim comes when a worker is free and not half a second before; nothing is rendered in
batches; any number of preempted renders fits into a worker's memory; finishing and uploading, which the GPU does not
wait for, take no time; and no job is dealt to a worker that is warm for it (`policy/dealing.py`), as loading an adapter
takes none either. And in one that is not: one tenant's campaigns of the same priority have no seats
(`policy/refill.py`), so the one that came first goes first.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from random import Random

from orchestrator.domain.retry import RetryPolicy
from orchestrator.simulator import lending
from orchestrator.simulator.clock import Clock
from orchestrator.simulator.fleet import Fleet
from orchestrator.simulator.jobs import Job
from orchestrator.simulator.queues import Queue
from orchestrator.simulator.tally import Tally
from orchestrator.simulator.workers import State, Worker

_RETRY = RetryPolicy()
# As `retry.max_attempts` is by default.
MAX_ATTEMPTS = 3


class Pool:
    """Its queue and its workers that are ready. `ended` is called with every job that is through, and how."""

    def __init__(
        self, fleet: Fleet, queue: Queue, clock: Clock, tally: Tally, random: Random, ended: Callable[[Job, bool], None]
    ) -> None:
        self.queue = queue
        # By priority number: jobs, and predicted seconds of work.
        self.waiting: Counter[int] = Counter()
        self.waiting_s: defaultdict[int, float] = defaultdict(float)
        # Since when each of them waits, in this order.
        self._since: dict[Job, float] = {}
        # Jobs that failed, and are pausing.
        self.retrying = 0
        # In closed hours rows of campaigns are held: nothing of them begins.
        self.closed = False
        self.held: list[Job] = []
        self.ready: dict[Worker, None] = {}
        self._idle: dict[Worker, None] = {}
        # Those that something more urgent may interrupt, by the priority number of what they step.
        self._stepping: defaultdict[int, dict[Worker, None]] = defaultdict(dict)
        self._parked: dict[Job, Worker] = {}
        # Renders that leave after their step, for a tenant that lacks a worker; and whether somebody will look again.
        self._told: set[Job] = set()
        self._looking = False
        # Those that take nothing more, and what is to be done with them once they hold nothing.
        self._leaving: dict[Worker, Callable[[Worker], None]] = {}
        self._fleet, self._clock, self._tally, self._random, self._ended = fleet, clock, tally, random, ended

    @property
    def busy(self) -> int:
        return len(self.ready) - len(self._idle)

    @property
    def oldest_at(self) -> float:
        """Since when the job waits that has waited longest; now, where none does."""
        return next(iter(self._since.values()), self._clock.now)

    def interruptible(self, worker: Worker) -> int | None:
        """The priority number that a job must be below to step there next; None where none may."""
        job = worker.job
        if job is None or worker not in self._stepping[job.priority]:
            return None
        return None if worker.next_step_at(self._clock.now) is None else job.priority

    def add(self, job: Job) -> None:
        """It waits from now on; `give` looks whether it has to."""
        if self.closed and job.campaign is not None:
            self.held.append(job)
            return
        self.queue.add(job)
        self._since[job] = self._clock.now
        self.waiting[job.priority] += 1
        self.waiting_s[job.priority] += job.predicted_left_s

    def give(self) -> None:
        """Everything begins that can."""
        self._fill()
        if self._idle and not len(self.queue):
            self._move_parked()
        elif not self._idle:
            self._interrupt()
        self._lend()

    def close(self) -> None:
        """Closed hours begin. What renders goes on to its end."""
        self.closed = True
        self.held = self.queue.withdraw()
        for job in self.held:
            self._waits_no_more(job)

    def open(self) -> None:
        """They are over."""
        self.closed = False
        held, self.held = self.held, []
        for job in held:
            self.add(job)
        self.give()

    def _waits_no_more(self, job: Job) -> None:
        del self._since[job]
        self.waiting[job.priority] -= 1
        self.waiting_s[job.priority] -= job.predicted_left_s

    def join(self, worker: Worker) -> None:
        """A worker is ready."""
        worker.state, worker.ready_at = State.READY, self._clock.now
        self.ready[worker] = None
        self._idle[worker] = None
        self.give()

    def leave(self, worker: Worker, *, notice: bool) -> None:
        """A worker goes: with notice its renders leave with checkpoints, else they begin again at their last ones."""
        held = worker.held
        if worker.job is not None:
            self._stop(worker)
        worker.parked.clear()
        worker.state = State.GONE
        del self.ready[worker]
        self._idle.pop(worker, None)
        self._tally.gone(worker, self._clock.now)
        for job in held:
            self._parked.pop(job, None)
            if notice:
                self._hand_over(job, worker)
            else:
                self._fail(job, worker)
        self.give()

    def release(self, worker: Worker, then: Callable[[Worker], None]) -> None:
        """A worker takes nothing more; once it has ended what it holds, it is no worker of this pool."""
        worker.state = State.DRAINING
        self._leaving[worker] = then
        if worker.job is None:
            self._let_go(worker)
        else:
            self._stepping[worker.job.priority].pop(worker, None)

    def _let_go(self, worker: Worker) -> None:
        worker.state = State.GONE
        del self.ready[worker]
        self._idle.pop(worker, None)
        self._tally.gone(worker, self._clock.now)
        self._leaving.pop(worker)(worker)

    # ------------------------------------------------------------ what begins

    def _fill(self) -> None:
        while self._idle and (jobs := self._claim(len(self._idle))):
            for job in jobs:
                worker = next(iter(self._idle))
                del self._idle[worker]
                self._begin(worker, job)

    def _claim(self, slots: int, more_urgent_than: float = math.inf) -> list[Job]:
        jobs = self.queue.claim(slots, more_urgent_than)
        for job in jobs:
            self._waits_no_more(job)
            job.used_s = 0.0
            job.overtaken = 0
            job.claimed_at = self._clock.now
        return jobs

    def _begin(self, worker: Worker, job: Job, at: float | None = None) -> None:
        """A job that was claimed: when the worker's step is over, or after the gap between two renders."""
        begins = (self._clock.now + self._fleet.gap_s if at is None else at) + job.handover_s
        job.handover_s = 0.0
        if job.began_at is None:
            job.began_at = begins
            if job.campaign is None:
                self._tally.waits[job.priority].append(begins - job.arrived_at)
                self._tally.pool_waits[worker.pool].append(begins - job.arrived_at)
        for waits in worker.parked:
            waits.overtaken += waits.priority > job.priority
        self._step(worker, job, begins)

    def _step(self, worker: Worker, job: Job, at: float) -> None:
        until = worker.begin(job, at)
        self._clock.at(until, self._finish, worker, worker.version)
        if worker not in self._leaving and worker.may_be_interrupted(self._fleet.max_overtaken):
            self._stepping[job.priority][worker] = None

    def _interrupt(self) -> None:
        """Jobs that are more urgent than what steps take its place; whoever renders the least urgent goes first."""
        for priority in sorted(self._stepping, reverse=True):
            of_it = self._stepping[priority]
            while self.queue.most_urgent() < priority:
                found = ((worker, worker.next_step_at(self._clock.now)) for worker in of_it)
                worker, at = next(((worker, at) for worker, at in found if at is not None), (None, None))
                if worker is None or not (jobs := self._claim(1, more_urgent_than=priority)):
                    break
                # It keeps its memory, and steps until then.
                preempted = self._stop(worker, at)
                worker.parked.append(preempted)
                self._parked[preempted] = worker
                self._tally.preempted += 1
                self._begin(worker, jobs[0], at)

    def _move_parked(self) -> None:
        """Nothing waits: idle workers go on with what others hold preempted, the most urgent and oldest first."""
        for job in sorted(self._parked, key=lambda job: (job.priority, job.number))[: len(self._idle)]:
            owner = self._parked[job]
            # Elsewhere than on its own kind other bits would come out, and it would start over.
            if any(idle.kind == owner.kind for idle in self._idle):
                owner.parked.remove(job)
                del self._parked[job]
                self._hand_over(job, owner)
        self._fill()

    # ------------------------------------------------------------ what is given back

    def _lend(self) -> None:
        """Where a tenant lacks a worker that is lent to others, a dispatcher sees it with its next look."""
        if not self._looking and self.queue.standings():
            self._looking = True
            self._clock.at(self._clock.now + lending.EVERY_S, self._give_back)

    def _give_back(self) -> None:
        now, every_s = self._clock.now, self._fleet.checkpoint_every_s
        self._looking = False
        standings = self.queue.standings()
        for worker, jobs in (
            lending.leaving(standings, self.ready, self._told, now, checkpoint_every_s=every_s) if standings else ()
        ):
            job = worker.job
            assert job is not None  # what is parked waits for something
            self._told.update(jobs)
            # Its worker is given at the same step to whoever would interrupt it.
            self._stepping[job.priority].pop(worker, None)
            at = worker.since if now < worker.since else worker.next_step_at(now)
            self._clock.at(now if at is None else at, self._vacate, worker, worker.version, jobs)
        self._lend()

    def _vacate(self, worker: Worker, version: int, jobs: list[Job]) -> None:
        """These renders leave with their checkpoints, unless they have ended or their worker is gone."""
        self._told.difference_update(jobs)
        if version != worker.version:
            return
        for job in jobs:
            if job is worker.job:
                self._stop(worker)
            elif job in worker.parked:  # else an idle worker has taken it on
                worker.parked.remove(job)
                del self._parked[job]
            else:
                continue
            self._tally.given_back += 1
            self._hand_over(job, worker)
        if worker.job is None:
            self._free(worker)
        self.give()

    # ------------------------------------------------------------ what ends

    def _stop(self, worker: Worker, at: float | None = None) -> Job:
        assert worker.job is not None
        when = self._clock.now if at is None else at
        self._stepping[worker.job.priority].pop(worker, None)
        self._tally.stretch(worker, worker.job, when)
        return worker.stop(when, checkpoint_every_s=self._fleet.checkpoint_every_s)

    def _finish(self, worker: Worker, version: int) -> None:
        if version != worker.version:
            return  # it was interrupted, or its worker is gone
        job = self._stop(worker)
        self._over(job, worker)
        self._tally.ended(job, self._clock.now, well=True)
        self._tally.rendered[worker.pool] += 1
        self._ended(job, True)
        self._free(worker)
        self.give()

    def _free(self, worker: Worker) -> None:
        """What it stepped is gone: it goes on with what it holds, or is idle."""
        if worker.parked:
            goes_on = min(worker.parked, key=lambda job: (job.priority, job.number))
            worker.parked.remove(goes_on)
            del self._parked[goes_on]
            self._step(worker, goes_on, self._clock.now)
        elif worker in self._leaving:
            self._let_go(worker)
        else:
            self._idle[worker] = None

    def _over(self, job: Job, worker: Worker) -> None:
        """An attempt has ended, well or not."""
        self.queue.ended(job)
        self._tally.attempted(job, worker)

    def _hand_over(self, job: Job, worker: Worker) -> None:
        """It has left its worker with a checkpoint, and waits again."""
        self._tally.evicted += 1
        self._over(job, worker)
        job.unsaved_s, job.handover_s = 0.0, self._fleet.handover_s
        self.add(job)

    def _fail(self, job: Job, worker: Worker) -> None:
        """Its worker vanished: it goes on from its last checkpoint, after a pause, unless it has failed too often."""
        self._tally.lost_s += job.unsaved_s / worker.table.speed * worker.gpus
        self._over(job, worker)
        job.left_s, job.unsaved_s = job.left_s + job.unsaved_s, 0.0
        job.failures += 1
        if job.failures >= MAX_ATTEMPTS:
            self._tally.ended(job, self._clock.now, well=False)
            self._ended(job, False)
            return
        job.handover_s = self._fleet.handover_s
        self.retrying += 1
        self._clock.at(self._clock.now + _RETRY.delay_s(job.failures, self._random.random()), self._again, job)

    def _again(self, job: Job) -> None:
        self.retrying -= 1
        self.add(job)
        self.give()
