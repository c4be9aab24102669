"""The audit log: a row in the transaction of what it tells of. Rows are only ever added; none waits for another."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from orchestrator.domain.audit import VALUES, Action, Change, differing, salted, values_of
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


async def record_all(connection: AsyncConnection, changes: Sequence[Change]) -> None:
    """Record many at once."""
    if changes:
        names = (*VALUES, "action", "outcome", "salts", "digests")
        rows = [dict.fromkeys(names) | _row(change) for change in changes]
        await connection.execute(insert(audit), rows)


def insertion(change: Change) -> ReturningInsert[Any]:
    """The statement that records a change."""
    return insert(audit).values(_row(change)).returning(audit.c.id)


def _row(change: Change) -> dict[str, Any]:
    values = values_of(change, acting.current())
    salts, digests = salted(values, secrets.token_hex)
    return {"action": change.action, "outcome": change.outcome, **values, "salts": salts, "digests": digests}
