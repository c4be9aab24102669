"""Calls that block, in a few threads of their own and under a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """`count` threads for one kind of call, so that calls of another kind never wait for it.

    A thread cannot be stopped: a call that is given up keeps its thread until its own time-outs end it.
    """

    def __init__(self, name: str, *, count: int, deadline_s: float) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._deadline_s = deadline_s

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `call` returns. Raises `TimeoutError` at the deadline, which counts the wait for a thread too."""
        running = asyncio.get_running_loop().run_in_executor(self._pool, partial(call, *args, **kwargs))
        async with asyncio.timeout(self._deadline_s):
            return await running
