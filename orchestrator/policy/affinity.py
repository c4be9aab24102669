"""Which model each worker of a shared set should hold: swaps, each with its reason, or none. Pure.

To give a worker another model costs the loading of it, in which nothing is rendered. So workers stay with what they
hold, and jobs go to where their model is; a swap has to pay for itself, or to end a wait that has lasted too long.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

# Seconds from a worker's end to the first step with another model, where nobody has measured it yet: what a production
# image service tells of loading its base models is 23 s at the median and 42 s at the 90th percentile.
LOAD_S = 42.0
# A worker that is not ready after so many times as long is not on its way any more, and no other waits for it.
_STUCK = 10.0
# What waits has to pay for so many swaps where a model's last worker is taken: this one, and the one back.
_LAST = 2
# For so many workers of a set one more swap may be under way.
_WORKERS_A_SWAP = 8


def at_once_of(workers: int) -> int:
    """How many workers of a set of so many may be without a model at a time, where nobody says it."""
    return 1 + workers // _WORKERS_A_SWAP


class Cause(StrEnum):
    """Why a worker gets another model."""

    # No worker holds the model, and its jobs would wait for longer than they may.
    BOUND = "bound"
    # The worker has nothing to do for the model that it holds.
    SPARE = "spare"
    # More is waiting there than here.
    BACKLOG = "backlog"


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapping:
    """The rules of one set."""

    # Jobs of a model that no worker holds wait no longer than this before a worker is taken for them.
    cold_wait_s: float = 600.0
    # A worker that was given a model keeps it at least so long.
    hold_s: float = 300.0
    # What waits must take so many times as long as loading, or no worker is taken for it before `cold_wait_s`.
    pays: float = 10.0
    # Swaps that are under way at a time.
    at_once: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A worker, and the pool whose model it holds or is about to."""

    name: str
    pool: str
    # Seconds since it was given that model; of one that came with it, infinity.
    held_s: float = math.inf
    # It has loaded it, and takes work. Only such a worker is swapped.
    ready: bool = True
    # It belongs to its pool alone, and is never swapped.
    pinned: bool = False
    # Predicted seconds until it has ended what it renders, and the most urgent priority number of that.
    left_s: float = 0.0
    priority: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What waits for the workers of one pool."""

    pool: str
    # Predicted seconds of one worker, by priority number.
    waiting: Mapping[int, float] = field(default_factory=dict)
    # How long the oldest of it has waited.
    oldest_s: float = 0.0
    # What loading its model takes.
    load_s: float = LOAD_S

    def seconds(self, urgency: float) -> float:
        """What waits of this priority number, and of lower ones."""
        return sum(seconds for priority, seconds in self.waiting.items() if priority <= urgency)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """A worker leaves one pool for another."""

    worker: str
    left: str
    to: str
    cause: Cause
    why: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What is known from one decision to the next. Moments are the caller's monotonic seconds."""

    # Since when jobs of a pool have waited while no worker held its model.
    cold_since: Mapping[str, float] = field(default_factory=dict)
    # The pools that had a worker at the last decision.
    held: frozenset[str] = frozenset()

    def after(self, holders: Iterable[Holder], lines: Iterable[Line], now: float) -> Memory:
        """A wait without a worker begins with the oldest job, or with the last worker's leaving, whichever is later."""
        held = frozenset(holder.pool for holder in holders)
        cold = {}
        for line in lines:
            if line.waiting and line.pool not in held:
                began = now if line.pool in self.held else now - line.oldest_s
                cold[line.pool] = self.cold_since.get(line.pool, began)
        return Memory(cold, held)

    def due_in_s(self, pool: str, rules: Swapping, now: float) -> float | None:
        """Seconds until a worker is taken for this pool, whatever it does; None where that is not what it waits for."""
        since = self.cold_since.get(pool)
        return None if since is None else max(0.0, since + rules.cold_wait_s - now)


def decide(
    holders: Sequence[Holder], lines: Sequence[Line], rules: Swapping, memory: Memory, now: float
) -> tuple[list[Swap], Memory]:
    """The swaps that are called for now, for one set of workers and the pools that share it.

    Jobs of a model without a worker are not kept waiting beyond `cold_wait_s`: as soon as a worker's render and the
    loading would take until then, one is taken, the longest wait first. Before that, and for models that have workers,
    a swap must pay: the most urgent work comes first, and of a model's work only what is as urgent counts against it.
    Idle workers go before busy ones, those with little left before those with much, and the last worker of a model
    that has work as urgent goes only for the bound.
    """
    memory = memory.after(holders, lines, now)
    standing, swaps = _Standing(holders, lines, rules), list[Swap]()
    while standing.under_way() < rules.at_once:
        swap = standing.for_the_bound(memory, now) or standing.that_pays()
        if swap is None:
            break
        swaps.append(swap)
        standing.carry_out(swap)
    return swaps, memory.after(standing.holders, lines, now) if swaps else memory


class _Standing:
    """Workers and what waits, with the swaps of this decision carried out."""

    def __init__(self, holders: Iterable[Holder], lines: Iterable[Line], rules: Swapping) -> None:
        self.holders = list(holders)
        self._lines = {line.pool: line for line in lines}
        self._rules = rules
        self._counts = Counter(each.pool for each in self.holders)
        # By pool and urgency; of what was asked for, until the next swap.
        self._works: dict[tuple[str, float], float] = {}

    def under_way(self) -> int:
        """Workers that were given another model and are not ready yet."""
        return sum(not each.ready and each.held_s < _STUCK * self._line(each.pool).load_s for each in self.holders)

    def carry_out(self, swap: Swap) -> None:
        self._counts.subtract([swap.left])
        self._counts.update([swap.to])
        self._works.clear()
        for n, each in enumerate(self.holders):
            if each.name == swap.worker:
                # What it renders ends with its old pool, and is nothing to the new one.
                self.holders[n] = replace(each, pool=swap.to, held_s=0.0, ready=False, left_s=0.0, priority=None)

    def for_the_bound(self, memory: Memory, now: float) -> Swap | None:
        """For the model that has waited longest without a worker, where a worker could otherwise come too late."""
        for pool in sorted(memory.cold_since, key=lambda pool: memory.cold_since[pool]):
            line = self._line(pool)
            due_in_s = memory.due_in_s(pool, self._rules, now)
            if due_in_s is None or self._count(pool):
                continue
            giver = min(self._movable(pool), key=self._loss, default=None)
            if giver is not None and due_in_s <= giver.left_s + line.load_s:
                waited = f"{now - memory.cold_since[pool]:.0f} of at most {self._rules.cold_wait_s:.0f} s"
                why = f"no worker holds its model, and its jobs have waited {waited}"
                return self._swap(
                    giver, pool, Cause.BOUND, f"{why}; {_left(giver)}, and loading takes {line.load_s:.0f} s"
                )
        return None

    def that_pays(self) -> Swap | None:
        """Of the most urgent work that waits longest, the first for which a worker can be had at a price that pays."""
        wishes = [(urgency, line) for line in self._lines.values() for urgency in line.waiting]
        wishes.sort(key=lambda wish: (wish[0], -self._delay(wish[1].pool, wish[0]), wish[1].pool))
        found = (self._spare(line, urgency) or self._from_backlog(line, urgency) for urgency, line in wishes)
        return next((swap for swap in found if swap is not None), None)

    def _spare(self, line: Line, urgency: int) -> Swap | None:
        """From a pool that has nothing as urgent to do, for this worker at least."""
        count = self._count(line.pool)
        # Without a worker nothing of it would be done before the bound.
        delay_s = self._delay(line.pool, urgency) if count else line.seconds(urgency)
        spare = [each for each in self._movable(line.pool) if self._is_spare(each, urgency)]
        giver = min(spare, key=self._loss, default=None)
        if giver is None:
            return None
        swaps = _LAST if self._count(giver.pool) == 1 else 1
        if delay_s < swaps * self._rules.pays * line.load_s + (giver.left_s if count else 0.0):
            return None
        why = f"{self._told(line, urgency)}; it has nothing as urgent to do for {giver.pool}"
        return self._swap(
            giver, line.pool, Cause.SPARE, f"{why}, {_left(giver)}, and loading takes {line.load_s:.0f} s"
        )

    def _from_backlog(self, line: Line, urgency: int) -> Swap | None:
        """From a pool that has work as urgent, and less of it for each of its workers."""
        count = self._count(line.pool)
        if count == 0:
            return None  # what is as urgent there need not make room for this before the bound
        best: tuple[float, float, Holder] | None = None
        soonest: dict[str, Holder] = {}
        for each in self._movable(line.pool):
            if each.pool not in soonest or each.left_s < soonest[each.pool].left_s:
                soonest[each.pool] = each
        for giver in soonest.values():
            others = self._count(giver.pool) - 1
            if others < 1:
                continue
            theirs_s = self._work(giver.pool, urgency) / others
            ours_s = (self._work(line.pool, urgency) + line.load_s + giver.left_s) / (count + 1)
            # For so much longer it has something to do there: whatever the number of workers is.
            if ours_s - theirs_s >= self._rules.pays * line.load_s and (best is None or theirs_s < best[0]):
                best = theirs_s, ours_s, giver
        if best is None:
            return None
        theirs_s, ours_s, giver = best
        why = f"{self._told(line, urgency)}, {self._delay(giver.pool, urgency):.0f} s of {giver.pool}"
        after = f"with it {ours_s:.0f} s, and {theirs_s:.0f} s"
        return self._swap(giver, line.pool, Cause.BACKLOG, f"{why}; {after}; {_left(giver)}")

    # ------------------------------------------------------------ what is counted

    def _line(self, pool: str) -> Line:
        return self._lines.get(pool) or Line(pool=pool)

    def _count(self, pool: str) -> int:
        return self._counts[pool]

    def _work(self, pool: str, urgency: float) -> float:
        """Worker seconds that a pool has to do which are as urgent."""
        if (pool, urgency) not in self._works:
            mine = (each for each in self.holders if each.pool == pool)
            running_s = sum(each.left_s for each in mine if each.priority is not None and each.priority <= urgency)
            self._works[pool, urgency] = self._line(pool).seconds(urgency) + running_s
        return self._works[pool, urgency]

    def _delay(self, pool: str, urgency: float) -> float:
        """Seconds until a pool has done that with the workers that it has."""
        count = self._count(pool)
        return self._work(pool, urgency) / count if count else math.inf

    def _movable(self, to: str) -> list[Holder]:
        rules = self._rules
        return [
            each
            for each in self.holders
            if each.pool != to and each.ready and not each.pinned and each.held_s >= rules.hold_s
        ]

    def _is_spare(self, holder: Holder, urgency: int) -> bool:
        """Nothing as urgent waits for it, and it renders nothing as urgent."""
        renders = holder.priority is not None and holder.priority <= urgency
        return not renders and not self._line(holder.pool).seconds(urgency)

    def _loss(self, holder: Holder) -> tuple[object, ...]:
        """What is lost with this worker, to be compared: its pool's last one, then time, then what others miss."""
        last = self._count(holder.pool) == 1
        needed = last and self._work(holder.pool, math.inf) > 0
        return (
            needed,
            holder.left_s + (self._line(holder.pool).load_s if last else 0.0),
            -self._count(holder.pool),
            holder.name,
        )

    # ------------------------------------------------------------ what is told

    def _told(self, line: Line, urgency: int) -> str:
        count = self._count(line.pool)
        if count == 0:
            return f"{line.seconds(urgency):.0f} s of work wait without a worker"
        return f"{self._delay(line.pool, urgency):.0f} s of work wait for each of its workers"

    def _swap(self, giver: Holder, to: str, cause: Cause, why: str) -> Swap:
        return Swap(worker=giver.name, left=giver.pool, to=to, cause=cause, why=why)


def _left(holder: Holder) -> str:
    return f"{holder.name} is free in {holder.left_s:.0f} s" if holder.left_s else f"{holder.name} is idle"
