"""Virtual time: what is to happen when, one after another."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class Clock:
    """Seconds since the beginning. What is due at one moment happens in the order in which it was asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._asked = 0

    def at(self, when: float, do: Callable[..., None], *arguments: Any) -> None:
        """Do it then; what lies in the past, at once."""
        self._asked += 1
        heappush(self._due, (max(when, self.now), self._asked, do, arguments))

    def run(self, until: float) -> None:
        """Let everything happen up to this moment, and stand there."""
        due = self._due
        while due and due[0][0] <= until:
            self.now, _, do, arguments = heappop(due)
            do(*arguments)
        self.now = until
