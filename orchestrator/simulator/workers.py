"""Workers of a simulation: what one holds, how far its render is, and when a more urgent one could step in.

A render goes from step to step, but nothing happens at a step: where it stands is reckoned when somebody asks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.simulator.fleet import KindTable
from orchestrator.simulator.jobs import Job


class State(StrEnum):
    STARTING = "starting"
    READY = "ready"
    # It ends what it holds, and takes nothing more.
    DRAINING = "draining"
    GONE = "gone"


@dataclass(slots=True, kw_only=True, eq=False)
class Worker:
    """One life of one worker."""

    name: str
    pool: str
    kind: str
    table: KindTable
    gpus: int
    requested_at: float
    # False for a request that never comes to anything.
    comes: bool = True
    state: State = State.STARTING
    ready_at: float | None = None
    # What steps on its GPUs, since when (or from when on, if that is to come), and when that is at its end.
    job: Job | None = None
    since: float = 0.0
    until: float = math.inf
    # Preempted renders, in its memory.
    parked: list[Job] = field(default_factory=list)
    # Of events that were meant for an earlier render.
    version: int = 0

    @property
    def price(self) -> float:
        """What an hour of it costs, with all its GPUs."""
        return self.table.price_per_gpu_hour * self.gpus

    def begin(self, job: Job, at: float) -> float:
        """It steps from then on; when it will be at its end."""
        self.job, self.since = job, at
        self.until = at + job.left_s / self.table.speed
        self.version += 1
        return self.until

    def stop(self, now: float, *, checkpoint_every_s: float) -> Job:
        """What steps stops, and keeps what it has done; until it goes on, nothing is lost but with its worker."""
        job = self.job
        assert job is not None
        ran_s = max(0.0, now - self.since)
        job.left_s = max(0.0, job.left_s - ran_s * self.table.speed)
        job.used_s += ran_s * self.gpus
        job.unsaved_s += ran_s * self.table.speed
        if checkpoint_every_s:
            job.unsaved_s %= checkpoint_every_s * self.table.speed
        self.job, self.until = None, math.inf
        self.version += 1
        return job

    def left_of(self, job: Job, now: float) -> float:
        """The share of a held render that is still to do."""
        ran_s = max(0.0, now - self.since) * self.table.speed if job is self.job else 0.0
        return max(0.0, job.left_s - ran_s) / job.seconds

    def next_step_at(self, now: float) -> float | None:
        """When what steps could be interrupted; None where it is as good as over, or has not begun."""
        job = self.job
        if job is None or now < self.since:
            return None
        step_s = job.step_s / self.table.speed
        at = self.since + (math.floor((now - self.since) / step_s) + 1) * step_s
        # Its last step and the decode are not interrupted: the worker is about to be free.
        return at if at < self.until - step_s else None

    def may_be_interrupted(self, max_overtaken: int) -> bool:
        return all(job.overtaken < max_overtaken for job in self.held)

    @property
    def held(self) -> list[Job]:
        return [*self.parked, *([] if self.job is None else [self.job])]
