"""Actions on all jobs that match: asked for, looked at and called off, each in one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import Action, Actor, Change
from orchestrator.domain.bulk import BulkState, Verb
from orchestrator.domain.errors import KeyReused, LimitExceeded
from orchestrator.domain.job_filter import JobFilter
from orchestrator.ports.bulk import Bulk, BulkPage, NewBulk
from orchestrator.ports.job_search import Count
from orchestrator.store.audit import record
from orchestrator.store.part import Part
from orchestrator.store.tables import bulk_actions

KEPT = tuple(
    bulk_actions.c[name]
    for name in (
        "id", "owner", "tenant", "administrative", "action", "filter", "priority", "actor", "asked_by", "asked_at",
        "expected", "about", "state", "cursor", "matched", "done", "skipped", "failed", "examples", "waits_for",
        "ended_at", "request_hash",
    )
)  # fmt: skip
_LOCK_OWNER = text("SELECT pg_advisory_xact_lock(hashtextextended('cogmill:bulk:' || :owner, 0))")


class BulkActions(Part):
    async def add_bulk(self, new: NewBulk, *, most: int) -> Bulk:
        async def add(connection: AsyncConnection) -> Row[Any]:
            await connection.execute(_LOCK_OWNER, {"owner": new.owner})
            earlier = await _repeated(connection, new)
            if earlier is not None:
                return earlier
            running = select(func.count()).where(bulk_actions.c.owner == new.owner, bulk_actions.c.ended_at.is_(None))
            if (now := await connection.scalar(running) or 0) >= most:
                message = f"{now} actions on many jobs are going on; at most {most} may"
                raise LimitExceeded(message, limit="bulk_actions", retry_after_s=10.0, most=most, used=now)
            row = (await connection.execute(insert(bulk_actions).values(**_values(new)).returning(*KEPT))).one()
            if new.administrative:
                after = {"action": new.verb, "priority": new.priority, "filter": new.wanted.to_dict()}
                await record(connection, change_of(Action.BULK_CREATE, bulk_of(row), after))
            return row

        return bulk_of(await self._database.transact(add))

    async def get_bulk(self, bulk_id: str, owner: str | None) -> Bulk | None:
        found = await self._database.fetch(select(*KEPT).where(*_owned(bulk_id, owner)))
        return bulk_of(found[0]) if found else None

    async def list_bulk(self, owner: str | None, *, limit: int, after: str | None = None) -> BulkPage:
        query = select(*KEPT).where(*_of(owner))
        if after is not None:
            query = query.where(bulk_actions.c.id < after)
        found = await self._database.fetch(query.order_by(bulk_actions.c.id.desc()).limit(limit + 1))
        return BulkPage(actions=[bulk_of(row) for row in found[:limit]], has_more=len(found) > limit)

    async def cancel_bulk(self, bulk_id: str, owner: str | None) -> Bulk | None:
        async def cancel(connection: AsyncConnection) -> Bulk | None:
            row = (
                await connection.execute(select(*KEPT).where(*_owned(bulk_id, owner)).with_for_update())
            ).one_or_none()
            if row is None or row.ended_at is not None:
                return None if row is None else bulk_of(row)
            ended = await end(connection, bulk_id, BulkState.CANCELLED)
            if ended.administrative:
                await record(connection, change_of(Action.BULK_CANCEL, ended, sums_of(ended)))
            return ended

        return await self._database.transact(cancel)

    async def prune_bulk(self, *, keep_s: float) -> int:
        old = bulk_actions.c.ended_at < func.cogmill_now() - func.make_interval(0, 0, 0, 0, 0, 0, keep_s)
        return len(await self._database.fetch(bulk_actions.delete().where(old).returning(bulk_actions.c.id)))


async def _repeated(connection: AsyncConnection, new: NewBulk) -> Row[Any] | None:
    if new.idempotency_key is None:
        return None
    keyed = (
        bulk_actions.c.owner == new.owner,
        bulk_actions.c.administrative == new.administrative,
        bulk_actions.c.idempotency_key == new.idempotency_key,
    )
    row = (await connection.execute(select(*KEPT).where(*keyed))).one_or_none()
    if row is not None and row.request_hash != new.request_hash:
        raise KeyReused("this key came before, with another request", param="idempotency_key")
    return row


async def end(connection: AsyncConnection, bulk_id: str, state: BulkState) -> Bulk:
    """End an action in the connection's transaction; how it stands then."""
    values = {
        "state": state.value,
        "ended_at": func.cogmill_now(),
        "lease": None,
        "leased_until": None,
        "waits_for": None,
    }
    ended = update(bulk_actions).where(bulk_actions.c.id == bulk_id).values(**values).returning(*KEPT)
    return bulk_of((await connection.execute(ended)).one())


def sums_of(bulk: Bulk) -> dict[str, Any]:
    """How far it has come, for the audit log."""
    return {"matched": bulk.matched, "done": bulk.done, "skipped": dict(bulk.skipped), "failed": dict(bulk.failed)}


def change_of(action: Action, bulk: Bulk, after: Mapping[str, Any]) -> Change:
    """What the audit log says of it."""
    return Change(action=action, object=f"bulk_action:{bulk.id}", tenant=bulk.wanted.tenant, after=after)


def _of(owner: str | None) -> Sequence[ColumnElement[bool]]:
    if owner is None:
        return (bulk_actions.c.administrative,)
    return bulk_actions.c.owner == owner, ~bulk_actions.c.administrative


def _owned(bulk_id: str, owner: str | None) -> Sequence[ColumnElement[bool]]:
    return bulk_actions.c.id == bulk_id, *_of(owner)


def _values(new: NewBulk) -> dict[str, Any]:
    actor = {name: getattr(new.actor, name) for name in new.actor.__slots__}
    return {
        "id": new.id,
        "owner": new.owner,
        "tenant": new.wanted.tenant,
        "administrative": new.administrative,
        "action": new.verb.value,
        "filter": new.wanted.to_dict(),
        "priority": new.priority,
        "actor": actor,
        "asked_by": new.asked_by,
        "expected": new.expected.count,
        "about": new.expected.about,
        "idempotency_key": new.idempotency_key,
        "request_hash": new.request_hash,
    }


def bulk_of(row: Row[Any]) -> Bulk:
    """An action from a row of `KEPT`."""
    kept = dict(row._mapping)
    for name in ("tenant", "action", "filter", "expected", "about", "state", "actor"):
        del kept[name]
    return Bulk(
        **kept,
        verb=Verb(row.action),
        wanted=JobFilter.from_dict(row.filter),
        expected=Count(row.expected, row.about),
        state=BulkState(row.state),
        actor=Actor(**row.actor),
    )
