"""Numbers a worker's changes, and wakes the long polls that wait for the next one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

# Progress alone wakes a poll at most this often, in seconds: a tiny model steps hundreds of times a second.
PROGRESS_EVERY_S = 0.25


class Changes:
    """A version that grows with every change. Announced from any thread, awaited on any event loop.

    An urgent change is a new version at once; progress becomes one when the last version is `every_s` old.
    """

    def __init__(self, *, every_s: float = PROGRESS_EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._version = 1
        self._changed_at = clock()
        self._pending = False
        self._bells: set[Callable[[], object]] = set()

    @property
    def version(self) -> int:
        with self._lock:
            return self._settle()

    def urgent(self) -> None:
        """Something changed that a dispatcher acts on. Call it after the change is visible."""
        with self._lock:
            self._advance()
            self._ring()

    def progress(self) -> None:
        """A render moved on. Call it after the change is visible."""
        with self._lock:
            if not self._pending:
                self._pending = True
                self._ring()

    async def wait(self, seen: int, timeout_s: float) -> None:
        """Return when the version differs from `seen`, or after `timeout_s`."""
        bell = asyncio.Event()
        ring = partial(asyncio.get_running_loop().call_soon_threadsafe, bell.set)
        deadline = self._clock() + timeout_s
        with self._lock:
            self._bells.add(ring)
        try:
            while (pause := self._pause(seen, deadline)) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await bell.wait()
                bell.clear()
        finally:
            with self._lock:
                self._bells.discard(ring)

    def _pause(self, seen: int, deadline: float) -> float:
        """Seconds to sleep until there may be something to see; 0 when there is, or the time is up."""
        with self._lock:
            if self._settle() != seen:
                return 0.0
            due = self._changed_at + self._every_s if self._pending else deadline
            return max(0.0, min(due, deadline) - self._clock())

    def _settle(self) -> int:
        if self._pending and self._clock() >= self._changed_at + self._every_s:
            self._advance()
        return self._version

    def _advance(self) -> None:
        self._version += 1
        self._changed_at = self._clock()
        self._pending = False

    def _ring(self) -> None:
        # Under the lock, so that a loop is only called while one of its polls is registered: it cannot be closed.
        for ring in self._bells:
            ring()
