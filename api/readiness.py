"""May this process be sent requests? Only while the database answers and its schema is at least this release's."""

from __future__ import annotations

import asyncio

from orchestrator.domain.errors import StoreUnavailable
from orchestrator.ports import JobStore
from orchestrator.store import schema_version


class Readiness:
    """Asks the database each time, and for its schema's revision until that was once new enough: it never goes back.

    A newer schema is fine. While a release rolls out, the old processes serve on the migrated database.
    """

    def __init__(self, database_url: str, store: JobStore) -> None:
        self._database_url = database_url
        self._store = store
        self._schema_seen = False

    async def check(self) -> None:
        """Raises `StoreUnavailable` when this process is not ready."""
        if not self._schema_seen:
            current, needed = await asyncio.to_thread(schema_version, self._database_url)
            if current is None or current < needed:  # revisions are numbers of equal length
                raise StoreUnavailable(f"the database has schema {current}, this release needs {needed}")
            self._schema_seen = True
        await self._store.deployment_id()
