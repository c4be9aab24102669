"""Webhook receivers on loopback addresses that answer, hang or hang up as told; and the parts that deliver to them."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from orchestrator.adapters.webhook_http import HttpSender
from orchestrator.config import FetchSettings, Settings, WebhookSettings
from orchestrator.config.logins import Login
from orchestrator.domain.masters import Ring
from orchestrator.domain.webhooks import EventType, secret, secret_owner
from orchestrator.kit.clock import SystemClock
from orchestrator.notify.outbox import Announcer, Deliverer
from orchestrator.notify.subscriptions import Signed, Subscriptions
from orchestrator.store import Store
from orchestrator.tenants.rates import TenantLimits
from tests.support.api import MASTER_KEY, api_settings
from tests.support.logins import acting

LOOPBACK = FetchSettings.model_validate({"allow_networks": ["127.0.0.0/8"]})
RESET = -1


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event


@dataclass
class Receiver:
    """Listens on every loopback address. `answer` maps the count of requests so far, from 1, to a status (or RESET).

    While `open` is cleared requests hang. `most` is how many were ever there at once.
    """

    answer: Callable[[int], int] = lambda _: 200
    headers: dict[str, str] = field(default_factory=dict)
    pause_s: float = 0.0
    received: list[Received] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    port: int = 0
    present: int = 0
    most: int = 0

    def url(self, host: str = "127.0.0.1", path: str = "/hook") -> str:
        return f"http://{host}:{self.port}{path}"

    async def until(self, count: int, timeout_s: float = 20) -> None:
        """Wait for this many requests in all."""
        async with asyncio.timeout(timeout_s), self.arrived:
            await self.arrived.wait_for(lambda: len(self.received) >= count)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await self._one(reader, writer)
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.present += 1
        self.most = max(self.most, self.present)
        try:
            async with self.arrived:
                self.received.append(Received(headers, body))
                self.arrived.notify_all()
            count = len(self.received)
            await self.open.wait()
            await asyncio.sleep(self.pause_s)
        finally:
            self.present -= 1
        status = self.answer(count)
        if status == RESET:
            writer.transport.abort()
            raise ConnectionResetError
        extra = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        writer.write(f"HTTP/1.1 {status} Answer\r\ncontent-length: 2\r\n{extra}\r\nok".encode())
        await writer.drain()


@asynccontextmanager
async def receiving(**options: Any) -> AsyncIterator[Receiver]:
    """A receiver for the block."""
    receiver = Receiver(**options)
    receiver.open.set()
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(receiver._serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(serve, "0.0.0.0", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in set(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


def webhook_settings(database_url: str, **webhooks: Any) -> Settings:
    """The tests' settings, with loopback let through."""
    changes = {"fetch": LOOPBACK, "webhooks": WebhookSettings.model_validate(webhooks)}
    return api_settings(database_url).model_copy(update=changes)


@dataclass
class Post:
    """One process's announcer and deliverer, run step by step."""

    store: Store
    settings: Settings
    announcer: Announcer
    deliverer: Deliverer
    subscriptions: Subscriptions

    async def subscribe(
        self, url: str, tenant: str = "acme", events: tuple[EventType, ...] = (EventType.VIDEO_FAILED,)
    ) -> Signed:
        return await self.subscriptions.create(tenant, name="tests", url=url, event_types=events)

    async def round(self) -> int:
        """Announce what happened, begin what is due, and wait for it to land; how many were begun."""
        await self.announcer.run_once()
        begun = await self.deliverer.run_once()
        await self.deliverer.close(30)
        return begun

    async def deliver(self) -> None:
        """As the maintainer's loop does, until cancelled."""
        while True:
            await self.deliverer.run_once()
            await self.deliverer.wait(0.1)

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        """The loop, for the block."""
        task = asyncio.create_task(self.deliver())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self.deliverer.close(0)


@asynccontextmanager
async def posting(database_url: str, *, ring: Ring | None = None, **webhooks: Any) -> AsyncIterator[Post]:
    """A `Post` on a store and a sender of its own."""
    settings = webhook_settings(database_url, **webhooks)
    ring = ring or settings.needed_ring
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(Store.open(database_url, limits=settings.limits.defaults))
        asked, moved = acting(store, Login.API), acting(store, Login.MAINTAIN)
        sender = HttpSender(timeout_s=settings.webhooks.timeout_s, reach=settings.webhook_reach)
        stack.push_async_callback(sender.close)
        deliverer = Deliverer(moved, sender, settings, SystemClock(), random.Random(1), masters=ring)
        stack.push_async_callback(deliverer.close, 0)
        subscriptions = Subscriptions(settings, asked, TenantLimits(asked, cache_s=0), masters=ring)
        yield Post(moved, settings, Announcer(moved, settings), deliverer, subscriptions)


async def happen(database: asyncpg.Connection, count: int = 1, *, tenant: str = "acme", url: str | None = None) -> None:
    """As many videos of the tenant were cancelled, which named this URL."""
    await database.execute(
        "INSERT INTO outbox (job_id, tenant, event, webhook_url) "
        "SELECT gen_random_uuid(), $1, 'job.cancelled', $2 FROM generate_series(1, $3)",
        tenant,
        url,
        count,
    )


async def states(database: asyncpg.Connection) -> dict[str, int]:
    """How many deliveries are in each state."""
    return {row[0]: row[1] for row in await database.fetch("SELECT state, count(*) FROM deliveries GROUP BY state")}


def tenant_secret(tenant: str = "acme", generation: int = 1) -> str:
    return secret(MASTER_KEY, secret_owner(tenant, None), generation)
