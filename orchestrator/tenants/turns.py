"""A few things at a time for each tenant, so that one tenant's many never take what all share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary


class Turns:
    """`count` at a time for each tenant; whoever comes too many waits for its own tenant's, and for nobody else."""

    def __init__(self, count: int, *, wait_s: float) -> None:
        self._count = count
        self._wait_s = wait_s
        # A tenant is known for as long as somebody of it is inside or waits.
        self._of: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, tenant: str) -> AsyncIterator[None]:
        """Hold one of the tenant's turns until the block ends. Raises `TimeoutError` when none comes in `wait_s`."""
        turns = self._of.setdefault(tenant, asyncio.Semaphore(self._count))
        async with asyncio.timeout(self._wait_s):
            await turns.acquire()
        try:
            yield
        finally:
            turns.release()
