"""A lane's waiting jobs in the order of their claim: the first few are cheap to see and to take, however many wait.

A leftist heap (Crane, Linear Lists and Priority Queues as Balanced Binary Trees, 1972): nothing in it ever changes, so
that a line before a claim and the one after it share what they have in common, and a rule over lines stays pure.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A job that is ready to be claimed."""

    id: UUID
    # What its lane is charged for it (`charge.py`), as predicted.
    cost: float
    # Seconds of any clock. Within a lane the earliest goes first, and among equals the oldest id.
    deadline: float = math.inf

    @property
    def key(self) -> tuple[float, UUID]:
        return self.deadline, self.id


# Its rank, which is one more than that of its right child; the job's key and the job, which comes before all below it;
# and two children, the left one of at least the right one's rank.
_Node = tuple[int, tuple[float, UUID], Waiting, "_Node | None", "_Node | None"]


class Line:
    """Waiting jobs, immutable. Adding one or taking the first costs the logarithm of how many there are."""

    __slots__ = ("_count", "_root")

    def __init__(self, jobs: Iterable[Waiting] = ()) -> None:
        ordered = sorted(jobs, key=lambda job: job.key)
        self._count = len(ordered)
        self._root: _Node | None = None
        for job in reversed(ordered):
            self._root = (1, job.key, job, self._root, None)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Waiting]:
        """In the order of their claim."""
        # The ids are unique, so that two nodes are never compared further than by their keys.
        seen = [(self._root[1], self._root)] if self._root else []
        while seen:
            _, (_, _, job, *children) = heappop(seen)
            yield job
            for child in children:
                if child is not None:
                    heappush(seen, (child[1], child))

    def first(self, count: int) -> list[Waiting]:
        """The first so many, or all if they are fewer: `count` times its own logarithm, whatever waits behind."""
        return list(islice(self, count))

    def after(self, count: int) -> Line:
        """What is left once the first so many are taken."""
        root = self._root
        for _ in range(min(count, self._count)):
            assert root is not None
            root = _merged(root[3], root[4])
        return _line(root, max(0, self._count - count))

    def joined(self, jobs: Collection[Waiting]) -> Line:
        """With these, none of which is in it yet."""
        root = self._root
        for job in jobs:
            root = _merged(root, (1, job.key, job, None, None))
        return _line(root, self._count + len(jobs))

    def without(self, ids: Collection[UUID]) -> Line:
        """Without these, wherever they stand: of the whole line's size, for the odd job that is cancelled."""
        return Line(job for job in self if job.id not in ids)


def _line(root: _Node | None, count: int) -> Line:
    line = Line()
    line._root, line._count = root, count
    return line


def _merged(one: _Node | None, other: _Node | None) -> _Node | None:
    """Both in one heap, along their right children, of which there are no more than the logarithm of the size."""
    if one is None or other is None:
        return one or other
    if other[1] < one[1]:
        one, other = other, one
    _, key, job, left, right = one
    right = _merged(right, other)
    assert right is not None
    if left is None:
        return 1, key, job, right, None
    if left[0] < right[0]:
        left, right = right, left
    return right[0] + 1, key, job, left, right
