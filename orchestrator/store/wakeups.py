"""NOTIFY and LISTEN: tell dispatchers of new work at once. Only a hint: polling finds what it misses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy import text

from orchestrator.config.database import DatabaseAddress
from orchestrator.domain.errors import StoreUnavailable
from orchestrator.store.connecting import Connection, connect, current, described
from orchestrator.store.engine import Database
from orchestrator.telemetry import logs, metrics

_log = logs.get("wakeups")

_CHANNEL = "cogmill_work"

# On its own and after the commit: inside the submitting transaction it would take a global lock at every commit.
# Nothing is lost with it, so it does not wait for the disk.
_NOTIFY = text(f"SELECT set_config('synchronous_commit', 'off', true), pg_notify('{_CHANNEL}', '')")
# Submissions closer together than this share a notification; the first of them is announced at once.
_PAUSE_S = 0.005
_RECONNECT_S = 1.0


class Notifier:
    """Sends at most one notification at a time, and one more if work was announced meanwhile."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._wanted = False
        self._task: asyncio.Task[None] | None = None

    def announce(self) -> None:
        self._wanted = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send())

    async def close(self) -> None:
        if self._task is not None:
            await self._task

    async def _send(self) -> None:
        while self._wanted:
            self._wanted = False
            try:
                await self._database.fetch(_NOTIFY)
            except StoreUnavailable:
                return
            await asyncio.sleep(_PAUSE_S)


class Listener:
    """A subscription on a connection of its own, opened again when it breaks. Implements `ports.Wakeups`."""

    def __init__(self, address: Callable[[], DatabaseAddress]) -> None:
        self._address = address
        self._connection: Connection | None = None
        self._heard = asyncio.Event()
        self._deaf = False

    async def wait(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                while self._connection is None or self._connection.is_closed():
                    await self._connect()
                await self._heard.wait()
        except TimeoutError:
            return False
        self._heard.clear()
        return True

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.remove_termination_listener(self._on_end)
            await self._connection.close(timeout=2)

    async def _connect(self) -> None:
        try:
            self._connection = await subscribe(self._address, self._on_notify)
            self._connection.add_termination_listener(self._on_end)
        except StoreUnavailable as error:
            metrics.listener_failures.inc()
            if not self._deaf:
                _log.warning("listener_cannot_connect", error=str(error)[:300])
            self._deaf = True
            await asyncio.sleep(_RECONNECT_S)
            return
        if self._deaf:
            _log.info("listener_connected")
        self._deaf = False
        self._heard.set()  # something may have been announced while nobody listened

    def _on_notify(self, *_: object) -> None:
        self._heard.set()

    def _on_end(self, *_: object) -> None:
        self._heard.set()


async def subscribe(address: Callable[[], DatabaseAddress], heard: Callable[..., None]) -> Connection:
    """A connection that listens. Raises `StoreUnavailable`."""
    connection = await connect(current(address), name="cogmill-wakeups")
    try:
        await connection.add_listener(_CHANNEL, heard)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        connection.terminate()
        raise StoreUnavailable(described(error)) from error
    return connection


async def hears(address: Callable[[], DatabaseAddress], database: Database, *, within_s: float) -> bool:
    """Whether a notification sent through `database` arrives where a listener would be. Raises `StoreUnavailable`."""
    heard = asyncio.Event()
    connection = await subscribe(address, lambda *_: heard.set())
    try:
        async with asyncio.timeout(within_s):
            await database.fetch(_NOTIFY)
            await heard.wait()
    except TimeoutError:
        return False
    finally:
        connection.terminate()
    return True


@asynccontextmanager
async def listen(address: Callable[[], DatabaseAddress]) -> AsyncIterator[Listener]:
    """Subscribe until the block ends."""
    listener = Listener(address)
    try:
        yield listener
    finally:
        await listener.close()
