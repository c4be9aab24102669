"""Who is next, by four policies of one form: the product's own, and three to compare it with.

Each is told of jobs that wait and of claims that have ended, and gives jobs out. `Ours` keeps what the database keeps
and asks `policy/fair_share.py`; nothing of that is repeated here.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import replace
from heapq import heapify, heappop, heappush
from typing import Protocol
from uuid import UUID

from orchestrator.policy import fair_share
from orchestrator.policy.fair_share import Lane, Waiting
from orchestrator.policy.guarantees import Standing
from orchestrator.simulator.jobs import Job
from orchestrator.simulator.lanes import Lanes
from orchestrator.simulator.traffic import TenantTable

NOBODY: Mapping[str, int] = {}


class Queue(Protocol):
    """What waits for the workers of one pool."""

    # Whether a campaign's rows come into it by and by (`policy/window.py`), or all at once.
    windowed: bool

    def add(self, job: Job) -> None:
        """It waits from now on."""

    def claim(self, slots: int, more_urgent_than: float = math.inf) -> list[Job]:
        """Jobs for so many workers, in their order; only those of a priority number below the bound."""

    def ended(self, job: Job) -> None:
        """Its claim is over, after `job.used_s` GPU seconds: with a video, or because it left its worker."""

    def withdraw(self) -> list[Job]:
        """Rows of campaigns wait no more; these did, in the order in which they came."""

    def most_urgent(self) -> float:
        """The least priority number that may interrupt something; infinity when nothing waits that may."""

    def standings(self) -> list[Standing]:
        """How tenants stand with their guarantees; nothing while nobody lacks a worker and has jobs for it."""

    def __len__(self) -> int:
        """How many wait."""


class Ours:
    """The product's policy: priority, guarantees, then start-time fair queueing between tenants, within their caps."""

    windowed = True

    def __init__(self, tenants: Mapping[str, TenantTable], guaranteed: Mapping[str, int] = NOBODY) -> None:
        self._tenants, self._guaranteed = tenants, guaranteed
        # By tenant: jobs that wait, and claims that have not ended.
        self._waits: Counter[str] = Counter()
        self._runs: Counter[str] = Counter()
        self.lanes = Lanes()
        # By the id under which the policy knows them.
        self._jobs: dict[UUID, Job] = {}
        self._of_priority: defaultdict[int, int] = defaultdict(int)
        caps = ((name, tenant.max_running) for name, tenant in tenants.items())
        # How many more each capped tenant may run.
        self._room = {name: cap for name, cap in caps if cap is not None}

    def add(self, job: Job) -> None:
        waiting = Waiting(id=UUID(int=job.number), cost=job.cost)
        lane = self.lanes.get((job.priority, job.tenant))
        if lane is None:
            weight = self._tenants.get(job.tenant, TenantTable()).weight
            lane = Lane(tenant=job.tenant, priority=job.priority, weight=weight)
        self.lanes.put([replace(lane, jobs=lane.jobs.joined([waiting]))])
        self._jobs[waiting.id] = job
        self._of_priority[job.priority] += 1
        self._waits[job.tenant] += 1

    def claim(self, slots: int, more_urgent_than: float = math.inf) -> list[Job]:
        if slots <= 0 or not self.lanes.awake(more_urgent_than):
            return []
        shown = self.lanes.shown()
        picks, lanes = fair_share.claim(
            shown, slots, room=self._room or None, deficits=self._deficits(), more_urgent_than=more_urgent_than
        )
        known = {id(lane) for lane in shown}
        self.lanes.put(lane for lane in lanes if id(lane) not in known)
        claimed = [self._jobs.pop(pick.job.id) for pick in picks]
        for job in claimed:
            self._of_priority[job.priority] -= 1
            self._waits[job.tenant] -= 1
            self._runs[job.tenant] += 1
            if job.tenant in self._room:
                self._room[job.tenant] -= 1
        return claimed

    def ended(self, job: Job) -> None:
        lane = self.lanes.get((job.priority, job.tenant))
        assert lane is not None
        self.lanes.put([fair_share.correct(lane, predicted_s=job.cost, used_s=job.used_s)])
        self._runs[job.tenant] -= 1
        if job.tenant in self._room:
            self._room[job.tenant] += 1

    def withdraw(self) -> list[Job]:
        rows = {id: job for id, job in self._jobs.items() if job.campaign is not None}
        self.lanes.put(replace(lane, jobs=lane.jobs.without(rows.keys())) for lane in self.lanes.all() if lane.jobs)
        for id, job in rows.items():
            del self._jobs[id]
            self._of_priority[job.priority] -= 1
            self._waits[job.tenant] -= 1
        return sorted(rows.values(), key=_number)

    def _deficits(self) -> Mapping[str, int] | None:
        """How many each tenant runs less than it is guaranteed; None where nobody is guaranteed anything."""
        lacking = ((name, count - self._runs[name]) for name, count in self._guaranteed.items())
        return {name: count for name, count in lacking if count > 0} if self._guaranteed else None

    def standings(self) -> list[Standing]:
        if not self._guaranteed:
            return []
        short = {
            name: Standing(
                tenant=name,
                guaranteed=count,
                running=self._runs[name],
                waiting=min(count, self._waits[name]),
                room=self._room.get(name),
            )
            for name, count in self._guaranteed.items()
            if self._runs[name] < count
        }
        if not any(each.lacks for each in short.values()):
            return []
        others = [
            Standing(tenant=name, guaranteed=self._guaranteed.get(name, 0), running=count)
            for name, count in self._runs.items()
            if count and name not in short
        ]
        return [*short.values(), *others]

    def most_urgent(self) -> float:
        return min((priority for priority, count in self._of_priority.items() if count), default=math.inf)

    def __len__(self) -> int:
        return len(self._jobs)


class _Other:
    """What is compared with ours: it knows no guarantees."""

    windowed = False

    def standings(self) -> list[Standing]:
        return []


class _Ordered(_Other):
    """One line for all."""

    def __init__(self, tenants: Mapping[str, TenantTable], guaranteed: Mapping[str, int] = NOBODY) -> None:
        self._heap: list[tuple[int, int, Job]] = []

    def place(self, job: Job) -> int:
        raise NotImplementedError

    def add(self, job: Job) -> None:
        heappush(self._heap, (self.place(job), job.number, job))

    def claim(self, slots: int, more_urgent_than: float = math.inf) -> list[Job]:
        claimed: list[Job] = []
        while self._heap and len(claimed) < slots and self._heap[0][2].priority < more_urgent_than:
            claimed.append(heappop(self._heap)[2])
        return claimed

    def ended(self, job: Job) -> None:
        """Nobody is charged."""

    def withdraw(self) -> list[Job]:
        rows = [entry for entry in self._heap if entry[2].campaign is not None]
        self._heap = [entry for entry in self._heap if entry[2].campaign is None]
        heapify(self._heap)
        return sorted((job for _, _, job in rows), key=_number)

    def most_urgent(self) -> float:
        return self._heap[0][0] if self._heap else math.inf

    def __len__(self) -> int:
        return len(self._heap)


class Fifo(_Ordered):
    """First in, first out; nothing is interrupted."""

    def place(self, job: Job) -> int:
        return job.number

    def most_urgent(self) -> float:
        return math.inf


class Priority(_Ordered):
    """Priority alone, of equals the first to come."""

    def place(self, job: Job) -> int:
        return job.priority


class Equal(_Other):
    """Equal shares: whichever tenant has the fewest renders running is next, its own jobs in the order they came.

    Nothing is interrupted: no job is more urgent than another.
    """

    def __init__(self, tenants: Mapping[str, TenantTable], guaranteed: Mapping[str, int] = NOBODY) -> None:
        self._jobs: defaultdict[str, deque[Job]] = defaultdict(deque)
        self._running: defaultdict[str, int] = defaultdict(int)
        self._count = 0

    def add(self, job: Job) -> None:
        self._jobs[job.tenant].append(job)
        self._count += 1

    def claim(self, slots: int, more_urgent_than: float = math.inf) -> list[Job]:
        claimed: list[Job] = []
        while self._count and len(claimed) < slots:
            waiting = (name for name, jobs in self._jobs.items() if jobs)
            tenant = min(waiting, key=lambda name: (self._running[name], self._jobs[name][0].number))
            self._running[tenant] += 1
            self._count -= 1
            claimed.append(self._jobs[tenant].popleft())
        return claimed

    def ended(self, job: Job) -> None:
        self._running[job.tenant] -= 1

    def withdraw(self) -> list[Job]:
        rows = [job for jobs in self._jobs.values() for job in jobs if job.campaign is not None]
        for tenant, jobs in self._jobs.items():
            self._jobs[tenant] = deque(job for job in jobs if job.campaign is None)
        self._count -= len(rows)
        return sorted(rows, key=_number)

    def most_urgent(self) -> float:
        return math.inf

    def __len__(self) -> int:
        return self._count


def _number(job: Job) -> int:
    return job.number


POLICIES: Mapping[str, type[Ours] | type[Fifo] | type[Priority] | type[Equal]] = {
    "ours": Ours, "fifo": Fifo, "priority": Priority, "equal": Equal,
}  # fmt: skip


def queue_of(policy: str, tenants: Mapping[str, TenantTable], pool: str) -> Queue:
    """An empty queue of this policy for a pool. Raises `KeyError` for one that there is not."""
    guaranteed = {name: table.guaranteed.get(pool, 0) for name, table in tenants.items()}
    return POLICIES[policy](tenants, {name: count for name, count in guaranteed.items() if count})
