"""The store: PostgreSQL behind `JobStore` and `KeyStore`. Each part has a file of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Self

from orchestrator.domain.limits import NO_LIMITS, Limits
from orchestrator.ports import Wakeups
from orchestrator.store.batches import Batches
from orchestrator.store.claim import Claims
from orchestrator.store.deliveries import Deliveries
from orchestrator.store.delivery_log import DeliveryLog
from orchestrator.store.endpoints import Endpoints
from orchestrator.store.engine import Database
from orchestrator.store.files import Files
from orchestrator.store.housekeeping import Housekeeping
from orchestrator.store.inputs import Inputs
from orchestrator.store.items import Items
from orchestrator.store.jobs import Jobs
from orchestrator.store.loads import Loads
from orchestrator.store.pauses import Pauses
from orchestrator.store.settle import Settlements
from orchestrator.store.submissions import Submissions
from orchestrator.store.tenants import Tenants
from orchestrator.store.wakeups import Announcer, listen
from orchestrator.store.workers import Workers


class Store(
    Jobs, Claims, Settlements, Workers, Housekeeping, Tenants, Files, Inputs, Endpoints, Deliveries, DeliveryLog,
    Batches, Items, Loads, Pauses,
):  # fmt: skip
    """Implements the store's ports, from `ports.JobStore` to `ports.WebhookStore`. One per process and event loop."""

    def __init__(self, database_url: str, *, connections: int = 10, limits: Limits = NO_LIMITS) -> None:
        self._url = database_url
        self._defaults = limits
        self._database = Database(database_url, connections=connections)
        self._announcer = Announcer(self._database)
        self._submissions = Submissions(self._database, self._announcer, limits)

    @classmethod
    @asynccontextmanager
    async def open(cls, database_url: str, *, connections: int = 10, limits: Limits = NO_LIMITS) -> AsyncIterator[Self]:
        """A store that closes at the block's end. Opening does not connect: the database may come up later.

        `limits` hold for the tenants that have none of their own.
        """
        store = cls(database_url, connections=connections, limits=limits)
        try:
            yield store
        finally:
            await store.close()

    async def close(self) -> None:
        """Land what was submitted, then close the connections."""
        await self._submissions.close()
        await self._announcer.close()
        await self._database.close()

    def wakeups(self) -> AbstractAsyncContextManager[Wakeups]:
        return listen(self._url)
