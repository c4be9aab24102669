"""Thin runners around `run_once` functions: repeat, pause, survive failures, show signs of life, stop on a signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from orchestrator.domain.errors import StaleEpoch, StoreReadOnly
from orchestrator.telemetry import logs, metrics
from orchestrator.telemetry.health import Pulse

_log = logs.get("loops")

RunOnce = Callable[[], Awaitable[object]]

# A loop that raises is run again after this many seconds.
BACKOFF_S = 1.0


class Life(Enum):
    """What a loop must do for its process to count as alive: go round, well or ill; succeed; or nothing.

    A round that only met a read-only database does not count.
    """

    GOES_ROUND = auto()
    SUCCEEDS = auto()
    ANY = auto()


@dataclass(frozen=True, slots=True)
class Loop:
    """One row of a process's table: what is run again and again, under which name.

    `pause` between two runs is seconds, or a function that returns when it is time. `life` is what the process's health
    asks of it.
    """

    name: str
    pause: float | Callable[[], Awaitable[None]]
    run_once: RunOnce
    life: Life = Life.ANY


class Loops:
    """Runs `run_once` functions for ever, each in a task; a failure is counted, logged and tried again."""

    def __init__(self, tasks: asyncio.TaskGroup, pulse: Pulse) -> None:
        self._tasks = tasks
        self._pulse = pulse
        self._running: list[asyncio.Task[None]] = []

    def start(self, loop: Loop) -> asyncio.Task[None]:
        """Run it, then again after each pause. `StaleEpoch` ends every loop."""
        if loop.life is not Life.ANY:
            self._pulse.beat(loop.name)
        task = self._tasks.create_task(self._repeat(loop), name=loop.name)
        self._running.append(task)
        return task

    async def _repeat(self, loop: Loop) -> None:
        name, life = loop.name, loop.life
        while True:
            try:
                await loop.run_once()
            except StaleEpoch:
                raise
            except Exception as error:
                metrics.loop_failures.labels(name).inc()
                _log.warning("loop_failed", loop=name, error=f"{type(error).__name__}: {error}"[:500])
                # A database that does not write is no outage to sit out: this process may hold the wrong one.
                if life is Life.GOES_ROUND and not isinstance(error, StoreReadOnly):
                    self._pulse.beat(name)
                await asyncio.sleep(BACKOFF_S)
            else:
                if life is not Life.ANY:
                    self._pulse.beat(name)
                await (asyncio.sleep(loop.pause) if isinstance(loop.pause, float | int) else loop.pause())

    def stop(self) -> None:
        """Cancel every loop; a transaction under way ends or rolls back as a whole."""
        for task in self._running:
            task.cancel()


@asynccontextmanager
async def running(pulse: Pulse) -> AsyncIterator[Loops]:
    """Loops that run until the block ends or one of them raises `StaleEpoch`, which comes out of here as itself."""
    try:
        async with asyncio.TaskGroup() as tasks:
            loops = Loops(tasks, pulse)
            yield loops
            loops.stop()
    except BaseExceptionGroup as group:
        stale = group.subgroup(StaleEpoch)
        if stale is None:
            raise
        raise StaleEpoch(str(stale.exceptions[0])) from None


async def at_once() -> None:
    """No pause: for a loop that waits by itself."""


async def first(*waits: Coroutine[Any, Any, object]) -> None:
    """Return when one of these does; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set, for as long as the block runs."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stopping.set)
    try:
        yield stopping
    finally:
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(sig)
