"""The audit log as it is sealed, pruned and erased from. One of these at a time, whoever runs it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import TextClause, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import OF_ACTOR, OF_OBJECT, Action, Change
from orchestrator.domain.audit_chain import Checkpoint, Seal
from orchestrator.ports.audit import MakeCheckpoint, MakeSeal
from orchestrator.store.audit import record
from orchestrator.store.audit_log import checkpoint_of, entry_of, seal_of
from orchestrator.store.part import Part
from orchestrator.store.tables import audit, audit_checkpoints, audit_seals

_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtextextended('cogmill:audit', 0))")
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('cogmill:audit', 0))")

# Every transaction below the snapshot's horizon has ended, and what it wrote is seen. Numbers that this server has not
# given out yet are another's, from which the database was moved; its transactions have all ended.
_READY = text("""
    seal IS NULL
    AND (xid < pg_snapshot_xmin(pg_current_snapshot()) OR xid >= pg_snapshot_xmax(pg_current_snapshot()))
""")


def _blank(names: tuple[str, ...], whose: str) -> TextClause:
    """A statement that takes these values with their salts out of every entry where `whose` is the tenant."""
    values = ", ".join(f"{name} = NULL" for name in names)
    salts = ", ".join(f"'{name}'" for name in names)
    return text(f"UPDATE audit SET {values}, salts = salts - ARRAY[{salts}] WHERE {whose} = :tenant RETURNING id")


_BLANK_OBJECTS = _blank(OF_OBJECT, "tenant")
_BLANK_ACTORS = _blank(OF_ACTOR, "actor_tenant")


class AuditSealing(Part):
    async def seal_audit(self, make: MakeSeal, *, at_most: int) -> Seal | None:
        async def seal(connection: AsyncConnection) -> Seal | None:
            if not await connection.scalar(_TRY_LOCK):
                return None
            ready = select(audit).where(_READY).order_by(audit.c.id).limit(at_most)
            entries = [entry_of(row) for row in await connection.execute(ready)]
            if not entries:
                return None
            made = make(entries, await _end(connection), await _now(connection))
            values = {name: getattr(made, name) for name in made.__slots__}
            await connection.execute(insert(audit_seals).values(values))
            await connection.execute(update(audit).where(audit.c.id.in_(made.ids)).values(seal=made.number))
            return made

        return await self._database.transact(seal)

    async def prune_audit(self, make: MakeCheckpoint, *, keep_s: float, at_most: int) -> int:
        async def prune(connection: AsyncConnection) -> int:
            if not await connection.scalar(_TRY_LOCK):
                return 0
            seal = await _last_to_go(connection, keep_s, at_most)
            if seal is None:
                return 0
            gone = len((await connection.execute(_entries_up_to(seal.number))).all())
            before = await _last_mark(connection)
            await connection.execute(delete(audit_seals).where(audit_seals.c.number <= seal.number))
            await connection.execute(delete(audit_checkpoints).where(audit_checkpoints.c.number <= seal.number))
            so_far = gone if before is None else gone + before.entries
            await _mark(connection, make(seal, so_far, await _now(connection)))
            after = {"up_to_seal": seal.number, "entries": gone}
            await record(connection, Change(action=Action.AUDIT_PRUNE, object="audit:log", after=after))
            return gone

        return await self._database.transact(prune)

    async def accept_audit(self, make: MakeCheckpoint) -> Seal | None:
        async def accept(connection: AsyncConnection) -> Seal | None:
            await connection.execute(_LOCK)
            last = select(audit_seals).order_by(audit_seals.c.number.desc()).limit(1)
            row = (await connection.execute(last)).one_or_none()
            if row is None:
                return None
            end, before = seal_of(row), await _last_mark(connection)
            await connection.execute(delete(audit_checkpoints).where(audit_checkpoints.c.number == end.number))
            await _mark(connection, make(end, 0 if before is None else before.entries, await _now(connection)))
            after = {"seal": end.number, "link": end.link}
            await record(connection, Change(action=Action.AUDIT_ACCEPT, object="audit:log", after=after))
            return end

        return await self._database.transact(accept)


async def blank(connection: AsyncConnection, tenant: str, erasure: str) -> int:
    """Erase what the log says of a tenant and of its callers, and record which values are gone; how many entries.

    For the transaction that ends this erasure: what is recorded names that, and nobody.
    """
    objects = sorted(await connection.scalars(_BLANK_OBJECTS, {"tenant": tenant}))
    actors = sorted(await connection.scalars(_BLANK_ACTORS, {"tenant": tenant}))
    # Of no tenant: an erasure would take this away, which says that this one was lawful.
    after = {"blanked": {"object": objects, "actor": actors}}
    await record(connection, Change(action=Action.TENANT_ERASE, object=f"erasure:{erasure}", after=after))
    return len({*objects, *actors})


async def _end(connection: AsyncConnection) -> Seal | Checkpoint | None:
    """What the next seal goes on from: the last one, or what vouches for it."""
    last = (await connection.execute(select(audit_seals).order_by(audit_seals.c.number.desc()).limit(1))).one_or_none()
    mark = await _last_mark(connection)
    if last is None or (mark is not None and mark.number >= last.number):
        return mark
    return seal_of(last)


async def _last_mark(connection: AsyncConnection) -> Checkpoint | None:
    query = select(audit_checkpoints).order_by(audit_checkpoints.c.number.desc()).limit(1)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else checkpoint_of(row)


async def _last_to_go(connection: AsyncConnection, keep_s: float, at_most: int) -> Seal | None:
    """The last of the first seals that are old enough, but for the chain's end."""
    of = audit_seals.c
    old = of.at < func.cogmill_now() - func.make_interval(0, 0, 0, 0, 0, 0, keep_s)
    end = select(func.max(of.number)).scalar_subquery()
    query = select(audit_seals).where(old, of.number < end).order_by(of.number).limit(at_most)
    found = (await connection.execute(query)).all()
    return seal_of(found[-1]) if found else None


def _entries_up_to(number: int) -> Any:
    return delete(audit).where(audit.c.seal <= number).returning(audit.c.id)


async def _mark(connection: AsyncConnection, made: Checkpoint) -> None:
    values = {name: getattr(made, name) for name in made.__slots__}
    await connection.execute(insert(audit_checkpoints).values(values))


async def _now(connection: AsyncConnection) -> datetime:
    now: datetime = (await connection.execute(select(func.cogmill_now()))).scalar_one()
    return now
