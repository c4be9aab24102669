"""What a simulation counts while it runs; `report.py` makes sense of it afterwards."""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from orchestrator.simulator.arrivals import HOUR_S
from orchestrator.simulator.jobs import Job
from orchestrator.simulator.workers import Worker

Amounts = defaultdict[str, float]


def _amounts() -> Amounts:
    return defaultdict(float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """How things stand at one moment."""

    at_s: float
    # By kind, `POOL/KIND`.
    starting: dict[str, int]
    ready: dict[str, int]
    # Of both: money per hour. What will never come costs nothing.
    money: dict[str, float]
    busy: int
    # Jobs by priority number; of campaigns, all rows that have not begun, in the queue or not.
    waiting: dict[int, int]
    # Rows with a video, by campaign.
    done: dict[str, int]


@dataclass(slots=True)
class Tally:
    """Seconds are GPU seconds unless they are moments."""

    end_s: float
    # Of single jobs, from arrival to the first step; by priority.
    waits: defaultdict[int, array[float]] = field(default_factory=lambda: defaultdict(lambda: array("d")))
    # The same by pool.
    pool_waits: defaultdict[str, array[float]] = field(default_factory=lambda: defaultdict(lambda: array("d")))
    # Renders that ended with a video, by pool.
    rendered: Counter[str] = field(default_factory=Counter)
    # Jobs that came, by priority; those that ended with a video, without one, and single ones that ended too late.
    came: Counter[int] = field(default_factory=Counter)
    succeeded: Counter[int] = field(default_factory=Counter)
    failed: Counter[int] = field(default_factory=Counter)
    late: Counter[int] = field(default_factory=Counter)
    # GPU seconds that each tenant got, and that it newly wanted, by hour.
    got: defaultdict[int, Amounts] = field(default_factory=lambda: defaultdict(_amounts))
    wanted: defaultdict[int, Amounts] = field(default_factory=lambda: defaultdict(_amounts))
    # By kind: what was rendered, what was there ready, and money.
    busy_s: Amounts = field(default_factory=_amounts)
    ready_s: Amounts = field(default_factory=_amounts)
    money: Amounts = field(default_factory=_amounts)
    # What single jobs had of each pool's workers, in worker seconds by hour; what attempts of each campaign's rows took
    # that have ended, in worker seconds, and what that costs.
    single_s: defaultdict[tuple[str, int], float] = field(default_factory=lambda: defaultdict(float))
    used_s: Amounts = field(default_factory=_amounts)
    spent: Amounts = field(default_factory=_amounts)
    lost_s: float = 0.0
    preempted: int = 0
    # Renders that left their worker with a checkpoint; of them, those that left for a tenant's guarantee.
    evicted: int = 0
    given_back: int = 0
    losses: int = 0
    samples: list[Sample] = field(default_factory=list)
    # When each campaign was through, and of its rows those that ended in time.
    through_at: dict[str, float] = field(default_factory=dict)
    in_time: Counter[str] = field(default_factory=Counter)

    def arrived(self, tenant: str, priority: int, at_s: float, *, count: int, seconds: float) -> None:
        """So many jobs of so many predicted GPU seconds in all."""
        self.came[priority] += count
        self.wanted[int(at_s // HOUR_S)][tenant] += seconds

    def stretch(self, worker: Worker, job: Job, until_s: float) -> None:
        """A worker has stepped one render from `worker.since` to now."""
        at_s = worker.since
        if until_s > at_s:
            self.busy_s[_kind(worker)] += (until_s - at_s) * worker.gpus
        while at_s < until_s:
            hour = int(at_s // HOUR_S)
            upto_s = min(until_s, (hour + 1) * HOUR_S)
            self.got[hour][job.tenant] += (upto_s - at_s) * worker.gpus
            if job.campaign is None:
                self.single_s[worker.pool, hour] += upto_s - at_s
            at_s = upto_s

    def attempted(self, job: Job, worker: Worker) -> None:
        """An attempt is over, after `job.used_s` GPU seconds."""
        if job.campaign is not None:
            self.used_s[job.campaign] += job.used_s / worker.gpus
            self.spent[job.campaign] += job.used_s * worker.table.price_per_gpu_hour / HOUR_S

    def ended(self, job: Job, now: float, *, well: bool) -> None:
        (self.succeeded if well else self.failed)[job.priority] += 1
        if job.campaign is None and now > job.wanted_at:
            self.late[job.priority] += 1
        if job.campaign is not None and well and now <= job.wanted_at:
            self.in_time[job.campaign] += 1

    def unfinished(self, job: Job, pool: str, now: float) -> None:
        """At the end of all: it waits or renders. A wait that is not over counts as long as it has been."""
        if job.campaign is None:
            if job.began_at is None:
                self.waits[job.priority].append(now - job.arrived_at)
                self.pool_waits[pool].append(now - job.arrived_at)
            self.late[job.priority] += now > job.wanted_at

    def gone(self, worker: Worker, now: float) -> None:
        """Its time is over, and paid for. A node that never came costs nothing."""
        kind = _kind(worker)
        if worker.ready_at is not None:
            self.ready_s[kind] += max(0.0, now - worker.ready_at) * worker.gpus
        if worker.ready_at is not None or worker.comes:
            hours = (now - worker.requested_at) / HOUR_S
            self.money[kind] += hours * worker.price


def _kind(worker: Worker) -> str:
    return f"{worker.pool}/{worker.kind}"


def percentile(values: array[float], share: float) -> float | None:
    """The least of sorted values that so large a share of them does not exceed; None of nothing."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else None
