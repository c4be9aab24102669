"""Webhook endpoints, and the generations of what signs for them and for tenants.

Whoever makes a delivery for an endpoint holds the endpoint's row by a share lock: one that is deleted or disabled has
nothing pending, then or later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import Action, Change, without_secrets
from orchestrator.domain.masters import FIRST
from orchestrator.domain.webhooks import EventType
from orchestrator.ports import Endpoint, EndpointPage, NewEndpoint, SecretMark
from orchestrator.store.audit import record, record_difference
from orchestrator.store.part import Part
from orchestrator.store.tables import tenants, webhook_endpoints
from orchestrator.store.tenants import new_tenant
from orchestrator.telemetry import aside

_PREVIOUS = ("previous_secret_until", "previous_master")
_COLUMNS = tuple(column for column in webhook_endpoints.c if column.name not in _PREVIOUS)

_UPDATE = text(f"""
    UPDATE webhook_endpoints
    SET name = coalesce(:name, name), url = coalesce(:url, url), host = coalesce(:host, host),
        event_types = coalesce(:event_types, event_types), updated_at = cogmill_now(), disabled_at = NULL
    WHERE id = :id AND tenant = :tenant
    RETURNING {", ".join(column.name for column in _COLUMNS)}
""").bindparams(bindparam("event_types", type_=JSONB(none_as_null=True)))

_MOVE = text("UPDATE deliveries SET url = :url, host = :host WHERE endpoint_id = :id AND state = 'pending'")

_ROTATE = """
    SET secret_generation = {table}.secret_generation + 1, master = :master, previous_master = {table}.master,
        previous_secret_until = cogmill_now() + make_interval(secs => :overlap_s)
"""
_ROTATE_ENDPOINT = text(f"""
    UPDATE webhook_endpoints {_ROTATE.format(table="webhook_endpoints")}, updated_at = cogmill_now()
    WHERE id = :id AND tenant = :tenant
    RETURNING {", ".join(column.name for column in _COLUMNS)}
""")
_ROTATE_TENANT = text(f"""
    INSERT INTO tenants (name, secret_generation, master, previous_master, previous_secret_until)
    VALUES (:tenant, 2, :master, :master, cogmill_now() + make_interval(secs => :overlap_s))
    ON CONFLICT (name) DO UPDATE {_ROTATE.format(table="tenants")}
    RETURNING secret_generation AS generation, master
""")
# Written once: whoever is shown it has it from then on.
_SHOW_TENANT = text("""
    INSERT INTO tenants (name, master) VALUES (:tenant, :master)
    ON CONFLICT (name) DO UPDATE SET master = :master WHERE tenants.master IS NULL
""")
_MARK = select(tenants.c.secret_generation.label("generation"), tenants.c.master)

# The lease stays: what is in flight counts until it lands.
_CLOSE = text("""
    UPDATE deliveries SET state = 'failed', ended_at = cogmill_now(), last_error = :reason
    WHERE endpoint_id = :id AND state = 'pending'
""")


class Endpoints(Part):
    async def add_endpoint(self, endpoint: NewEndpoint, *, at_most: float) -> Endpoint | None:
        async def add(connection: AsyncConnection) -> Row[Any] | None:
            # The tenant's row makes its concurrent additions wait for each other.
            await connection.execute(insert(tenants).values(new_tenant(endpoint.tenant)).on_conflict_do_nothing())
            await connection.execute(select(tenants.c.name).where(tenants.c.name == endpoint.tenant).with_for_update())
            count = select(func.count()).where(webhook_endpoints.c.tenant == endpoint.tenant)
            if (await connection.scalar(count) or 0) >= at_most:
                return None
            values = {name: getattr(endpoint, name) for name in endpoint.__slots__}
            row = (await connection.execute(insert(webhook_endpoints).values(values).returning(*_COLUMNS))).one()
            await record(connection, _change(Action.WEBHOOK_CREATE, row, after=_told(row)))
            return row

        row = await self._database.transact(add)
        return None if row is None else endpoint_of(row)

    async def find_endpoint(self, endpoint_id: str, tenant: str) -> Endpoint | None:
        found = await self._database.fetch(select(*_COLUMNS).where(*_owned(endpoint_id, tenant)))
        return endpoint_of(found[0]) if found else None

    async def list_endpoints(self, tenant: str, *, limit: int, after: str | None) -> EndpointPage:
        query = select(*_COLUMNS).where(webhook_endpoints.c.tenant == tenant)
        if after is not None:
            query = query.where(webhook_endpoints.c.id < after)
        # Ids hold a UUIDv7: their order is the order of creation.
        found = await self._database.fetch(query.order_by(webhook_endpoints.c.id.desc()).limit(limit + 1))
        return EndpointPage(endpoints=[endpoint_of(row) for row in found[:limit]], has_more=len(found) > limit)

    async def update_endpoint(
        self,
        endpoint_id: str,
        tenant: str,
        *,
        name: str | None,
        url: str | None,
        host: str | None,
        event_types: Sequence[EventType] | None,
    ) -> Endpoint | None:
        values = {"id": endpoint_id, "tenant": tenant, "name": name, "url": url, "host": host}

        async def change(connection: AsyncConnection) -> Row[Any] | None:
            query = select(*_COLUMNS).where(*_owned(endpoint_id, tenant))
            before = (await connection.execute(query.with_for_update())).one_or_none()
            row = (await connection.execute(_UPDATE, values | {"event_types": event_types})).one_or_none()
            if row is not None and url is not None:
                await connection.execute(_MOVE, {"id": row.id, "url": row.url, "host": row.host})
            if row is not None and before is not None:
                await record_difference(
                    connection, Action.WEBHOOK_UPDATE, f"webhook:{row.id}", _told(before), _told(row), tenant=tenant
                )
            return row

        row = await self._database.transact(change)
        return None if row is None else endpoint_of(row)

    async def delete_endpoint(self, endpoint_id: str, tenant: str) -> bool:
        async def drop(connection: AsyncConnection) -> bool:
            gone = delete(webhook_endpoints).where(*_owned(endpoint_id, tenant)).returning(*_COLUMNS)
            row = (await connection.execute(gone)).one_or_none()
            if row is None:
                return False
            await record(connection, _change(Action.WEBHOOK_DELETE, row, before=_told(row)))
            await close_endpoint(connection, endpoint_id, "the endpoint was deleted")
            return True

        return await self._database.transact(drop)

    async def disable_endpoint(self, endpoint_id: str, tenant: str) -> Endpoint | None:
        async def disable(connection: AsyncConnection) -> Row[Any] | None:
            query = select(*_COLUMNS).where(*_owned(endpoint_id, tenant)).with_for_update()
            before = (await connection.execute(query)).one_or_none()
            if before is None or before.disabled_at is not None:
                return before
            ending = update(webhook_endpoints).where(*_owned(endpoint_id, tenant))
            row = (await connection.execute(ending.values(disabled_at=func.cogmill_now()).returning(*_COLUMNS))).one()
            await close_endpoint(connection, endpoint_id, "the endpoint was disabled")
            of = f"webhook:{row.id}"
            await record_difference(connection, Action.WEBHOOK_UPDATE, of, _told(before), _told(row), tenant=tenant)
            return row

        row = await self._database.transact(disable)
        return None if row is None else endpoint_of(row)

    async def rotate_endpoint(
        self, endpoint_id: str, tenant: str, *, overlap_s: float, master: int = FIRST
    ) -> Endpoint | None:
        values = {"id": endpoint_id, "tenant": tenant, "overlap_s": overlap_s, "master": master}

        async def rotate(connection: AsyncConnection) -> Row[Any] | None:
            row = (await connection.execute(_ROTATE_ENDPOINT, values)).one_or_none()
            if row is not None:
                after = {"generation": row.secret_generation, "overlap_s": overlap_s}
                await record(connection, _change(Action.WEBHOOK_ROTATE, row, after=after))
            return row

        row = await self._database.transact(rotate)
        return None if row is None else endpoint_of(row)

    async def show_secret(self, tenant: str, *, master: int = FIRST) -> SecretMark:
        async def show(connection: AsyncConnection) -> SecretMark:
            await connection.execute(_SHOW_TENANT, {"tenant": tenant, "master": master})
            return SecretMark(**(await connection.execute(_MARK.where(tenants.c.name == tenant))).one()._mapping)

        found = await self._database.fetch(_MARK.where(tenants.c.name == tenant, tenants.c.master.is_not(None)))
        return SecretMark(**found[0]._mapping) if found else await self._database.transact(show)

    async def rotate_tenant(self, tenant: str, *, overlap_s: float, master: int = FIRST) -> SecretMark:
        values = {"tenant": tenant, "overlap_s": overlap_s, "master": master}

        async def rotate(connection: AsyncConnection) -> SecretMark:
            mark = SecretMark(**(await connection.execute(_ROTATE_TENANT, values)).one()._mapping)
            after = {"generation": mark.generation, "overlap_s": overlap_s}
            of = f"tenant:{tenant}"
            await record(connection, Change(action=Action.WEBHOOK_ROTATE, object=of, tenant=tenant, after=after))
            return mark

        return await self._database.transact(rotate)


async def close_endpoint(connection: AsyncConnection, endpoint_id: str, reason: str) -> None:
    """Fail what is pending for an endpoint that hears no more, in the transaction that says so."""
    await connection.execute(_CLOSE, {"id": endpoint_id, "reason": reason})


async def hold_endpoint(connection: AsyncConnection, endpoint_id: str) -> Endpoint | None:
    """An endpoint that is enabled and stays so until the transaction ends."""
    query = select(*_COLUMNS).where(webhook_endpoints.c.id == endpoint_id, webhook_endpoints.c.disabled_at.is_(None))
    row = (await connection.execute(query.with_for_update(read=True))).one_or_none()
    return None if row is None else endpoint_of(row)


async def hold_endpoints_of(connection: AsyncConnection, of_tenants: set[str]) -> list[Endpoint]:
    """The enabled endpoints of these tenants, which stay so until the transaction ends."""
    query = (
        select(*_COLUMNS)
        .where(webhook_endpoints.c.tenant.in_(of_tenants), webhook_endpoints.c.disabled_at.is_(None))
        .order_by(webhook_endpoints.c.tenant, webhook_endpoints.c.id)
        .with_for_update(read=True)
    )
    endpoints = []
    for row in await connection.execute(query):
        with aside.unless_it_breaks("announce", endpoint=row.id):  # one that says what this release does not know
            endpoints.append(endpoint_of(row))
    return endpoints


def endpoint_of(row: Row[Any]) -> Endpoint:
    return Endpoint(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        url=row.url,
        host=row.host,
        event_types=[EventType(name) for name in row.event_types],
        generation=row.secret_generation,
        master=row.master,
        created_at=row.created_at,
        updated_at=row.updated_at,
        disabled_at=row.disabled_at,
    )


def _change(
    action: Action, row: Row[Any], *, before: Mapping[str, Any] | None = None, after: Mapping[str, Any] | None = None
) -> Change:
    return Change(action=action, object=f"webhook:{row.id}", tenant=row.tenant, before=before, after=after)


def _told(row: Row[Any]) -> dict[str, Any]:
    return {
        "name": row.name,
        "url": without_secrets(row.url),
        "event_types": list(row.event_types),
        "disabled_at": row.disabled_at,
    }


def _owned(endpoint_id: str, tenant: str) -> tuple[ColumnElement[bool], ...]:
    return webhook_endpoints.c.id == endpoint_id, webhook_endpoints.c.tenant == tenant
