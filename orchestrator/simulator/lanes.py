"""The lanes of a queue, and which of them a claim has to be shown: those that sleep are many, and matter little.

A lane sleeps when it has no jobs and the last claim found none. Of those, `policy/fair_share.py` asks for nothing but
the time at which others wake up: the greatest start tag that was served, and, where no lane is awake, the greatest
virtual time. So the sleepers that have these stand for all of a priority.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from heapq import heappop, heappush

from orchestrator.policy.fair_share import Lane

Key = tuple[int, str]

# Lanes that may stay in a heap after they have woken up, beside as many as sleep.
_SPARE = 64


class Lanes:
    """All lanes of one queue, by priority and tenant."""

    def __init__(self) -> None:
        self._awake: dict[Key, Lane] = {}
        self._asleep: defaultdict[int, _Sleepers] = defaultdict(_Sleepers)

    def get(self, key: Key) -> Lane | None:
        return self._awake.get(key) or self._asleep[key[0]].lanes.get(key)

    def put(self, lanes: Iterable[Lane]) -> None:
        """Each in the place of the one of its key."""
        for lane in lanes:
            key, asleep = lane.key, self._asleep[lane.priority]
            if lane.jobs or lane.active:
                asleep.lanes.pop(key, None)
                self._awake[key] = lane
            else:
                self._awake.pop(key, None)
                asleep.put(lane)

    def shown(self) -> list[Lane]:
        """What a claim has to see."""
        return [*self._awake.values(), *(lane for asleep in self._asleep.values() for lane in asleep.standing())]

    def awake(self, more_urgent_than: float) -> bool:
        """Whether a claim would find or change anything."""
        return any(lane.priority < more_urgent_than for lane in self._awake.values())

    def all(self) -> list[Lane]:
        return [*self._awake.values(), *(lane for asleep in self._asleep.values() for lane in asleep.lanes.values())]


class _Sleepers:
    """Those of one priority."""

    def __init__(self) -> None:
        self.lanes: dict[Key, Lane] = {}
        # The greatest first, with what has woken up since among them.
        self._by_served: list[tuple[float, int, Lane]] = []
        self._by_vtime: list[tuple[float, int, Lane]] = []
        self._count = 0

    def put(self, lane: Lane) -> None:
        self.lanes[lane.key] = lane
        if max(len(self._by_served), len(self._by_vtime)) > 2 * len(self.lanes) + _SPARE:
            # Else all that ever slept would be kept.
            self._by_served.clear()
            self._by_vtime.clear()
            for each in self.lanes.values():
                self._push(each)
        else:
            self._push(lane)

    def _push(self, lane: Lane) -> None:
        self._count += 1  # so that two lanes are never compared
        heappush(self._by_served, (-lane.served, self._count, lane))
        heappush(self._by_vtime, (-lane.vtime, self._count, lane))

    def standing(self) -> list[Lane]:
        """The one or two that stand for the others."""
        if not self.lanes:
            return []
        served, latest = self._first(self._by_served), self._first(self._by_vtime)
        return [served] if served is latest else [served, latest]

    def _first(self, heap: list[tuple[float, int, Lane]]) -> Lane:
        while self.lanes.get(heap[0][2].key) is not heap[0][2]:
            heappop(heap)
        return heap[0][2]
