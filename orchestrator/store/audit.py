"""The audit log: a row in the transaction of what it tells of. Rows are only ever added; none waits for another."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from orchestrator.domain.audit import Action, Change, differing, salted, values_of
from orchestrator.store.part import Part
from orchestrator.store.tables import audit
from orchestrator.telemetry import acting


class Audit(Part):
    async def note(self, change: Change) -> None:
        """Record what changes nothing else, such as what was refused."""

        async def add(connection: AsyncConnection) -> None:
            await record(connection, change)

        await self._database.transact(add)


async def record_difference(
    connection: AsyncConnection,
    action: Action,
    of: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    *,
    tenant: str | None = None,
) -> None:
    """Record what of a thing is not as it was; nothing where all of it is."""
    was, now = differing(before, after)
    if now:
        await record(connection, Change(action=action, object=of, tenant=tenant, before=was, after=now))


async def record(connection: AsyncConnection, change: Change) -> int:
    """Record a change in its own transaction: both are there, or none. Who acts is in the context. The entry's id."""
    return int((await connection.execute(insertion(change))).scalar_one())


def insertion(change: Change) -> ReturningInsert[Any]:
    """The statement that records a change."""
    values = values_of(change, acting.current())
    salts, digests = salted(values, secrets.token_hex)
    row = {"action": change.action, "outcome": change.outcome, **values, "salts": salts, "digests": digests}
    return insert(audit).values(row).returning(audit.c.id)
