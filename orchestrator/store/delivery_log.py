"""Webhook deliveries as their tenant sees them: listed, read, sent again, and pruned."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Uuid, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.webhooks import DeliveryState
from orchestrator.ports import DeliveryPage, WebhookDelivery
from orchestrator.store.delivery_attempts import with_attempts
from orchestrator.store.endpoints import hold_endpoint
from orchestrator.store.part import Part
from orchestrator.store.tables import deliveries

_COLUMNS = tuple(
    deliveries.c[name]
    for name in (
        "id", "tenant", "endpoint_id", "url", "body", "state", "attempts", "created_at", "next_at", "ended_at",
        "last_status", "last_error",
    )
)  # fmt: skip

# What is in flight keeps its lease: its answer counts as this sending's.
_RESEND = text(f"""
    UPDATE deliveries
    SET state = 'pending', ended_at = NULL, attempts = 0, next_at = cogmill_now(),
        give_up_at = cogmill_now() + make_interval(secs => :give_up_s),
        url = coalesce(:url, url), host = coalesce(:host, host)
    WHERE id = :id
    RETURNING {", ".join(column.name for column in _COLUMNS)}
""").bindparams(bindparam("id", type_=Uuid))

_PRUNE = text("""
    DELETE FROM deliveries WHERE ended_at < cogmill_now() - make_interval(secs => :keep_s) RETURNING 1
""")


class DeliveryLog(Part):
    async def find_delivery(self, delivery_id: UUID, tenant: str) -> WebhookDelivery | None:
        found = await self._database.fetch(select(*_COLUMNS).where(*_owned(delivery_id, tenant)))
        told = await with_attempts(self._database, [delivery_of(row) for row in found])
        return told[0] if told else None

    async def list_deliveries(
        self,
        tenant: str | None,
        *,
        limit: int,
        after: UUID | None = None,
        state: DeliveryState | None = None,
        endpoint_id: str | None = None,
    ) -> DeliveryPage:
        query = select(*_COLUMNS)
        for column, value in (("tenant", tenant), ("state", state), ("endpoint_id", endpoint_id)):
            if value is not None:
                query = query.where(deliveries.c[column] == value)
        if after is not None:
            query = query.where(deliveries.c.id < after)
        # Ids are UUIDv7: their order is the order of creation.
        found = await self._database.fetch(query.order_by(deliveries.c.id.desc()).limit(limit + 1))
        told = await with_attempts(self._database, [delivery_of(row) for row in found[:limit]])
        return DeliveryPage(deliveries=told, has_more=len(found) > limit)

    async def resend(self, delivery_id: UUID, tenant: str | None, *, give_up_s: float) -> WebhookDelivery | None:
        async def again(connection: AsyncConnection) -> Row[Any] | None:
            query = select(deliveries.c.endpoint_id).where(*_owned(delivery_id, tenant))
            found = (await connection.execute(query)).one_or_none()
            if found is None:
                return None
            values: dict[str, Any] = {"id": delivery_id, "give_up_s": give_up_s, "url": None, "host": None}
            if found.endpoint_id is not None:
                endpoint = await hold_endpoint(connection, found.endpoint_id)
                if endpoint is None:
                    return None
                values |= {"url": endpoint.url, "host": endpoint.host}
            return (await connection.execute(_RESEND, values)).one_or_none()

        row = await self._database.transact(again)
        return None if row is None else (await with_attempts(self._database, [delivery_of(row)]))[0]

    async def prune_deliveries(self, *, keep_s: float) -> int:
        return len(await self._database.fetch(_PRUNE, {"keep_s": keep_s}))


def delivery_columns() -> tuple[Any, ...]:
    """What a delivery is read of."""
    return _COLUMNS


def delivery_of(row: Row[Any]) -> WebhookDelivery:
    """A delivery from such a row, without its attempts."""
    return WebhookDelivery(**{**row._mapping, "state": DeliveryState(row.state)})


def _owned(delivery_id: UUID, tenant: str | None) -> tuple[ColumnElement[bool], ...]:
    mine = () if tenant is None else (deliveries.c.tenant == tenant,)
    return deliveries.c.id == delivery_id, *mine
