"""Simulated nights, row by row: what a fleet does with campaigns, foreground load, losses and wrong predictions.

Nothing of the forecast is in here: every row takes a random time on a worker of its own, and what is known of a night
at some moment is what the product would know then.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

HOUR_S = 3600.0
FLEET = 40
# Predicted GPU seconds of a row, and how far rows scatter about what they really take on average.
ROW_S, SCATTER = 45.0, 0.3
# Seconds between two renders of a worker.
GAP_S = 0.4
# Of the renders that fail half-way, and are rendered again.
FAILS = 0.03
# A worker that vanishes takes so many seconds of its render with it, at most: there are checkpoints.
CHECKPOINT_S = 30.0
# Workers that interactive jobs keep busy on average, by the hour of the day, as a share of the fleet.
USUAL = [0.10, 0.08, 0.06, 0.05, 0.05, 0.06, 0.10, 0.15, 0.20, 0.25, 0.28, 0.30,
         0.30, 0.28, 0.28, 0.27, 0.25, 0.25, 0.25, 0.25, 0.22, 0.20, 0.16, 0.12]  # fmt: skip
FOREGROUND_S = 40.0
# From one hour to the next, and from one twentieth of a file to the next, load and rows wander so far about their mean.
HOURLY, ALONG = 0.25, 0.06
# What foreground jobs used is kept by so many seconds, and from so many hours before the night on.
SLOT_S, BEFORE_H = 360.0, 24


@dataclass
class Seen:
    """What is known when some share of the first campaign's rows has ended."""

    now: float
    rows: dict[str, int]
    used: dict[str, float]
    workers: Counter[str]
    # Worker seconds of foreground jobs that have ended, by the slot (`SLOT_S`) in which they did; before the night
    # slots are below 0.
    foreground: dict[int, float]
    # Actual by predicted seconds of the newest renders.
    ratios: list[float]


@dataclass
class Night:
    """One night: campaigns `main` and `other` on a fleet of both kinds of workers. Times are seconds from 18:00."""

    seed: int
    rows: int = 6000
    fleet: int = FLEET
    # `arrival`: rows that are alike follow each other. `spread`: any part of them is a fair sample of all.
    order: str = "arrival"
    # Moments of foreground jobs from `BEFORE_H` hours before the night on, and the workers that they keep busy on
    # average; without them they come as usual, more or less.
    arrivals: Iterator[float] | None = None
    mean: float = 0.0
    seen: dict[float, Seen] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = self.rng = random.Random(f"night {self.seed}")
        self.begin_hour = 24 * rng.randrange(5) + 18.0
        bias = math.exp(rng.gauss(0, 0.3))
        self.bias = {"main": bias, "other": bias * math.exp(rng.gauss(0, 0.1))}
        self.sizes = {"main": self.rows, "other": rng.randrange(500, 3000)}
        self.begins = {"main": 0.0, "other": rng.uniform(0, 2 * HOUR_S)}
        self.busier = math.exp(rng.gauss(0, 0.3))
        self.lost_per_hour = 0.05 * math.exp(rng.gauss(0, 0.5))
        self.start_up_s = 300 * math.exp(rng.gauss(0, 0.4))
        # Announced, and there after half an hour or so.
        self.more = rng.choice([0, 0, 10, 20])
        self.hourly = self._wander(HOURLY, 400)
        self.slots: Counter[int] = Counter()
        self._live_before()
        self.along = {name: self._wander(ALONG, 20) for name in self.sizes}
        self._events: list[tuple[float, int, str, int]] = []
        self._order = count()

    def usual(self, at_s: float) -> float:
        """Workers that are usually busy with foreground jobs at a moment, as far as anybody knows."""
        if self.mean:
            return self.mean
        return self.fleet * USUAL[math.floor(self.begin_hour + at_s / HOUR_S) % 24]

    def _live_before(self) -> None:
        """The foreground jobs of the hours before the night: they are known, and tell what day it is."""
        at = -BEFORE_H * HOUR_S
        while (at := self._next_foreground(at)) < 0:
            self.slots[math.floor(at / SLOT_S)] += FOREGROUND_S * self._scatter()
        self._first = at

    def _next_foreground(self, now: float) -> float:
        if self.arrivals is not None:
            return next(self.arrivals)
        per_s = self.usual(now) * self.busier * self.hourly[BEFORE_H + math.floor(now / HOUR_S)] / FOREGROUND_S
        return now + self.rng.expovariate(max(per_s, 1e-4))

    def _wander(self, spread: float, steps: int) -> list[float]:
        """Factors about 1 of which neighbours are alike (an autoregression of the first order)."""
        found, at = [], self.rng.gauss(0, spread)
        for _ in range(steps):
            found.append(math.exp(at))
            at = 0.7 * at + self.rng.gauss(0, spread * math.sqrt(1 - 0.7**2))
        return found

    # ------------------------------------------------------------ the play

    def play(self, looks: tuple[float, ...]) -> Night:
        self.kind: dict[int, str] = {}
        self.idle: set[int] = set()
        self.running: dict[int, tuple[str, float, float]] = {}
        self.left = {name: float(rows) for name, rows in self.sizes.items()}
        self.again: dict[str, deque[float]] = {name: deque() for name in self.sizes}
        self.done: Counter[str] = Counter()
        self.served: dict[str, float] = dict.fromkeys(self.sizes, 0.0)
        self.used: dict[str, float] = dict.fromkeys(self.sizes, 0.0)
        self.waiting: deque[float] = deque()
        self.newest: deque[float] = deque(maxlen=200)
        for worker in range(self.fleet):
            self._comes(0.0, worker, "spot" if worker % 2 else "steady")
        for worker in range(self.more):
            self._at(1800 * self.start_up_s / 300, "comes", self.fleet + worker)
        self._at(self._first, "foreground", 0)
        self.here: list[str] = []
        for place, begins in enumerate(self.begins.values()):
            self._at(begins, "begins", place)
        while self._events and not all(name in self.ends for name in self.sizes):
            now, _, what, who = heapq.heappop(self._events)
            getattr(self, f"_on_{what}")(now, who)
            self._deal(now)
            for look in looks:
                if look not in self.seen and self.done["main"] >= look * self.rows:
                    self.seen[look] = self._look(now)
        return self

    def _at(self, when: float, what: str, who: int) -> None:
        heapq.heappush(self._events, (when, next(self._order), what, who))

    def _look(self, now: float) -> Seen:
        kinds = Counter(self.kind.values())
        return Seen(now, dict(self.done), dict(self.used), kinds, dict(self.slots), list(self.newest))

    def _comes(self, now: float, worker: int, kind: str) -> None:
        self.kind[worker] = kind
        self.idle.add(worker)
        if kind == "spot":
            self._at(now + self.rng.expovariate(self.lost_per_hour / HOUR_S), "vanishes", worker)

    def _on_comes(self, now: float, worker: int) -> None:
        self._comes(now, worker, "spot" if worker < self.fleet else "steady")

    def _on_vanishes(self, now: float, worker: int) -> None:
        del self.kind[worker]
        self.idle.discard(worker)
        job = self.running.pop(worker, None)
        if job is not None:
            name, began, ends = job
            if name in self.sizes:
                self.used[name] += now - began
                kept = max(0.0, now - began - self.rng.uniform(0, CHECKPOINT_S))
                self.again[name].append(ends - began - kept)
            else:
                self.waiting.append(ends - began)
        self._at(now + self.start_up_s * self.rng.uniform(0.8, 1.2), "comes", worker)

    def _on_foreground(self, now: float, _: int) -> None:
        self.waiting.append(FOREGROUND_S * self._scatter())
        self._at(self._next_foreground(now), "foreground", 0)

    def _on_ends(self, now: float, worker: int) -> None:
        job = self.running.get(worker)
        if job is None or job[2] != now:
            return  # its worker vanished meanwhile
        del self.running[worker]
        self._at(now + GAP_S, "free", worker)
        name, began, _ = job
        if name not in self.sizes:
            self.slots[math.floor(now / SLOT_S)] += now - began
            return
        self.used[name] += now - began
        self.done[name] += 1
        self.newest.append((now - began) / ROW_S)
        if self.done[name] == self.sizes[name]:
            self.ends[name] = now

    def _on_fails(self, now: float, worker: int) -> None:
        job = self.running.get(worker)
        if job is None or job[2] != now:
            return
        del self.running[worker]
        self._at(now + GAP_S, "free", worker)
        self.used[job[0]] += now - job[1]
        self.again[job[0]].append(self._row(job[0]))

    def _on_free(self, now: float, worker: int) -> None:
        if worker in self.kind and worker not in self.running:
            self.idle.add(worker)

    def _deal(self, now: float) -> None:
        while self.idle:
            if self.waiting:
                self._begin(now, "foreground", self.waiting.popleft())
                continue
            ready = [name for name in self.here if self.again[name] or self.left[name]]
            if not ready:
                return
            name = min(ready, key=lambda each: (self.served[each], each))
            if self.again[name]:
                took = self.again[name].popleft()
            else:
                self.left[name] -= 1
                took = self._row(name)
            self.served[name] += took
            self._begin(now, name, took)

    def _on_begins(self, now: float, place: int) -> None:
        # Who comes is not owed what others had before: its share begins now.
        name = list(self.sizes)[place]
        self.served[name] = max([self.served[each] for each in self.here], default=0)
        self.here.append(name)

    def _begin(self, now: float, name: str, took: float) -> None:
        worker = self.idle.pop()
        fails = name in self.sizes and self.rng.random() < FAILS
        ends = now + took * (0.5 if fails else 1.0)
        self.running[worker] = (name, now, ends)
        self._at(ends, "fails" if fails else "ends", worker)

    def _row(self, name: str) -> float:
        stretch = int(20 * (1 - self.left[name] / self.sizes[name]))
        if self.order == "spread":
            stretch = self.rng.randrange(20)
        return ROW_S * self.bias[name] * self.along[name][min(stretch, 19)] * self._scatter()

    def _scatter(self) -> float:
        return math.exp(self.rng.gauss(-(SCATTER**2) / 2, SCATTER))
