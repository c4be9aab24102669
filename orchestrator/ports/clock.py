"""Time for the loops."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Time for the loops, in seconds: monotonic to measure, asleep to wait."""

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...
