"""The workers of a pool: asked for, ready, lost, gone; those of a fixed number are replaced."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

from orchestrator.simulator.clock import Clock
from orchestrator.simulator.fleet import PoolTable
from orchestrator.simulator.pool import Pool
from orchestrator.simulator.tally import Tally
from orchestrator.simulator.workers import State, Worker

_DAY_S = 24 * 3600.0


class Capacity:
    """The workers of one pool, from their request to their end."""

    def __init__(self, name: str, table: PoolTable, pool: Pool, clock: Clock, tally: Tally, random: Random) -> None:
        self.name, self.table = name, table
        # Asked for, and not ready.
        self.starting: dict[Worker, None] = {}
        self.pool = pool
        self._clock, self._tally, self._random = clock, tally, random
        # Of each kind, those that vanished since the autoscaler looked last.
        self.vanished = Counter[str]()
        self._asked = 0

    def open(self) -> None:
        """At the beginning all that there always are have been there for long."""
        for kind, table in self.table.kinds.items():
            for _ in range(table.min if table.workers is None else table.workers):
                self._ready(self._new(kind))

    def request(self, kind: str) -> Worker:
        """Ask for one more worker; it may never come."""
        worker = self._new(kind)
        table = worker.table
        worker.comes = self._random.random() >= table.never_starts
        takes_s = table.start_s * math.exp(self._random.gauss(0.0, table.start_spread))
        self.starting[worker] = None
        if worker.comes:
            self._clock.at(self._clock.now + takes_s, self._ready, worker)
        elif self.table.fixed:
            # Whoever keeps a number of workers asks again when one is long overdue.
            self._clock.at(self._clock.now + 2 * table.start_s, self._overdue, worker)
        return worker

    def withdraw(self, worker: Worker) -> None:
        """One that never came is not waited for any more."""
        del self.starting[worker]
        worker.state = State.GONE
        self._tally.gone(worker, self._clock.now)

    def drain(self, worker: Worker) -> None:
        """One that is ready goes; what it renders goes on elsewhere."""
        self.pool.leave(worker, notice=True)

    def lose(self, worker: Worker, *, notice: bool | None = None) -> None:
        """One vanishes, with notice or not as its kind has it."""
        if worker.state is not State.READY:
            return
        self._tally.losses += 1
        self.vanished[worker.kind] += 1
        self.pool.leave(worker, notice=worker.table.notice if notice is None else notice)
        if self.table.fixed:
            self.request(worker.kind)

    def close(self) -> None:
        """The end of all: what is there is paid for up to now."""
        for worker in (*self.starting, *self.pool.ready):
            if worker.job is not None:
                self._tally.stretch(worker, worker.job, self._clock.now)
            self._tally.gone(worker, self._clock.now)

    def _new(self, kind: str) -> Worker:
        self._asked += 1
        return Worker(
            name=f"{self.name}-{kind}-{self._asked}",
            pool=self.name,
            kind=kind,
            table=self.table.kinds[kind],
            gpus=self.table.gpus_per_worker,
            requested_at=self._clock.now,
        )

    def _ready(self, worker: Worker) -> None:
        if worker.state is not State.STARTING:
            return
        self.starting.pop(worker, None)
        if worker.table.losses_per_day:
            lives_s = self._random.expovariate(worker.table.losses_per_day / _DAY_S)
            self._clock.at(self._clock.now + lives_s, self.lose, worker)
        self.pool.join(worker)

    def _overdue(self, worker: Worker) -> None:
        if worker in self.starting:
            self.withdraw(worker)
            self.request(worker.kind)
