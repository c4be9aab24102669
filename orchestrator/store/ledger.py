"""The ledger: usage rows, added up by the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, null, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.outcome import AttemptOutcome
from orchestrator.domain.usage import By, Sum
from orchestrator.ports.ledger import UsageQuery
from orchestrator.store.part import Part
from orchestrator.store.tables import usage

_COLUMNS: dict[By, ColumnElement[object]] = {
    By.HOUR: func.date_trunc("hour", usage.c.at, "UTC"),
    By.TENANT: usage.c.tenant,
    By.CAMPAIGN: usage.c.campaign,
    By.MODEL: usage.c.model,
}

# How many rows there are decides how they are best read: what holds for the queue's statements does not for these.
_BY_SIZE = (text("SET LOCAL plan_cache_mode = force_custom_plan"), text("SET LOCAL enable_seqscan = on"))


class Ledger(Part):
    async def usage(self, query: UsageQuery) -> list[Sum]:
        told = [(_COLUMNS[by] if by in query.by else null()).label(by.value) for by in _COLUMNS]
        always = (usage.c.pool, usage.c.kind, usage.c.outcome, usage.c.kept)
        sums = (
            func.count().label("attempts"),
            func.sum(usage.c.gpu_seconds).label("gpu_seconds"),
            func.sum(func.coalesce(usage.c.charge, usage.c.gpu_seconds)).label("charge"),
        )
        statement = (
            select(*told, *always, *sums)
            .where(usage.c.at >= query.since, usage.c.at < query.until)
            .group_by(*(column for by, column in _COLUMNS.items() if by in query.by), *always)
            .limit(query.most + 1)
        )
        if query.tenant is not None:
            statement = statement.where(usage.c.tenant == query.tenant)
        if query.campaign is not None:
            statement = statement.where(usage.c.campaign == query.campaign)

        async def read(connection: AsyncConnection) -> Sequence[Any]:
            for setting in _BY_SIZE:
                await connection.execute(setting)
            return (await connection.execute(statement)).all()

        found = await self._database.transact(read)
        return [Sum(**{**row._mapping, "outcome": AttemptOutcome(row.outcome)}) for row in found]
