"""What a process knows of something that it reads seldom: at most so old, and never in the way of whoever asks."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from orchestrator.domain.errors import Unavailable
from orchestrator.telemetry import aside

T = TypeVar("T")


class Reading(Generic[T]):
    """The last thing that `read` returned, read anew by whoever asks when it is older than `fresh_s`.

    One reader at a time: everybody else who asks meanwhile waits for it, for `patience_s` at most. Where it fails, or
    takes longer, what was known before holds on, for another `fresh_s`.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], Awaitable[T]],
        first: T,
        *,
        fresh_s: float,
        patience_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`first` is what is known before anybody has read; `name` is for the log, of what nobody foresaw."""
        self._name = name
        self._read = read
        self._last = first
        self._fresh_s = fresh_s
        self._patience_s = patience_s
        self._monotonic = monotonic
        self._read_at = -math.inf
        self._turn = asyncio.Lock()

    @property
    def last(self) -> T:
        """What was known when somebody last asked."""
        return self._last

    def expire(self) -> None:
        """Whoever asks next reads anew, however fresh it is."""
        self._read_at = -math.inf

    async def now(self) -> T:
        """What is known now. Never raises: no request fails for what only makes its answer better."""
        async with self._turn:
            now = self._monotonic()
            if now - self._read_at >= self._fresh_s:
                self._read_at = now  # also when it fails: the next reader must not wait as long
                try:
                    async with asyncio.timeout(self._patience_s):
                        self._last = await self._read()
                except (Unavailable, TimeoutError):
                    pass
                except Exception as error:
                    aside.put(self._name, error)
            return self._last
