"""The audit log: a row in the transaction of what it tells of. Rows are only ever added; none waits for another."""

from __future__ import annotations

import secrets

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import Change, salted, values_of
from orchestrator.store.part import Part
from orchestrator.store.tables import audit
from orchestrator.telemetry import acting


class Audit(Part):
    async def note(self, change: Change) -> None:
        """Record what changes nothing else, such as what was refused."""

        async def add(connection: AsyncConnection) -> None:
            await record(connection, change)

        await self._database.transact(add)


async def record(connection: AsyncConnection, change: Change) -> int:
    """Record a change in its own transaction: both are there, or none. Who acts is in the context. The entry's id."""
    values = values_of(change, acting.current())
    salts, digests = salted(values, secrets.token_hex)
    row = {"action": change.action, "outcome": change.outcome, **values, "salts": salts, "digests": digests}
    return int((await connection.execute(insert(audit).values(row).returning(audit.c.id))).scalar_one())
