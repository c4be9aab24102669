"""May this process be sent requests? Only while the database takes writes and its schema is at least this release's."""

from __future__ import annotations

import asyncio

from orchestrator.config.database import Access
from orchestrator.domain.errors import StoreUnavailable
from orchestrator.kit.threads import Threads
from orchestrator.ports import JobStore
from orchestrator.store import schema_version

DEADLINE_S = 3.0


class Readiness:
    """Asks the database each time, and for its schema's revision until that was once new enough: it never goes back.

    A newer schema is fine. While a release rolls out, the old processes serve on the migrated database.
    """

    def __init__(self, database: str | Access, store: JobStore) -> None:
        self._database = database
        self._store = store
        self._schema_seen = False
        # One thread: probes of a database that hangs must not pile up behind each other.
        self._thread = Threads("schema", count=1, deadline_s=DEADLINE_S)

    async def check(self) -> None:
        """Raises `StoreUnavailable` when this process is not ready, within `DEADLINE_S` whatever hangs."""
        asking = asyncio.create_task(self._ask())
        # Not `asyncio.timeout`, which would wait until the abandoned question has also closed its connection.
        await asyncio.wait({asking}, timeout=DEADLINE_S)
        if not asking.done():
            asking.cancel()
            raise StoreUnavailable(f"the database did not answer within {DEADLINE_S:g} s")
        asking.result()

    async def _ask(self) -> None:
        if not self._schema_seen:
            try:
                current, needed = await self._thread.run(schema_version, self._database)
            except TimeoutError:
                raise StoreUnavailable("the database did not tell its schema in time") from None
            if current is None or current < needed:  # revisions are numbers of equal length
                raise StoreUnavailable(f"the database has schema {current}, this release needs {needed}")
            self._schema_seen = True
        await self._store.check_writes()
