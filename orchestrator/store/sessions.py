"""The console's sessions: begun, looked up, ended. They are few, and live for hours."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, Select, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import Action, Change
from orchestrator.domain.rights import known_scopes
from orchestrator.ports.sessions import NewSession, Session
from orchestrator.store.audit import record
from orchestrator.store.part import Part
from orchestrator.store.tables import console_sessions

# The row of one that has ended stays for longer than a sign-in may take: as long as it is there, the sign-in that it
# came from begins no other.
_REMEMBERED = text("interval '15 minutes'")
# Of those that are over, in one sign-in.
_SWEPT = 1_000
_OF = console_sessions.c
# Counting those of one holder and adding to them is one act.
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('cogmill:sessions:' || :holder, 0))")


class Sessions(Part):
    async def add_session(
        self, session: NewSession, *, life_s: float, instead_of: str | None, at_most: int
    ) -> Session | None:
        async def add(connection: AsyncConnection) -> Session | None:
            await connection.execute(_LOCK, {"holder": session.holder})
            await _sweep(connection)
            if instead_of is not None:
                await _end(connection, instead_of)
            row = await _insert(connection, session, life_s)
            if row is None:
                return None
            for old in (await connection.scalars(_beyond(row, at_most))).all():
                await _end(connection, old)
            after = {"holder": session.holder, "expires_at": row.expires_at}
            await record(connection, _change(Action.SESSION_BEGIN, row, after=after))
            return _session(row)

        return await self._database.transact(add)

    async def find_session(self, session_id: str, *, idle_s: float) -> Session | None:
        now = func.cogmill_now()
        used = _OF.used_at > now - func.make_interval(0, 0, 0, 0, 0, 0, idle_s)
        open_one = select(console_sessions).where(_OF.id == session_id, _OF.expires_at > now, used)
        found = await self._database.fetch(open_one)
        return _session(found[0]) if found else None

    async def touch_session(self, session_id: str) -> None:
        used = update(console_sessions).where(_OF.id == session_id).values(used_at=func.cogmill_now())
        await self._database.fetch(used)

    async def end_session(self, session_id: str) -> bool:
        async def end(connection: AsyncConnection) -> bool:
            return await _end(connection, session_id)

        return await self._database.transact(end)


async def _insert(connection: AsyncConnection, session: NewSession, life_s: float) -> Row[Any] | None:
    values = {
        "id": session.id,
        "holder": session.holder,
        "tenant": session.tenant,
        "issuer": session.issuer,
        "name": session.name,
        "scopes": None if session.scopes is None else sorted(session.scopes),
        "master": session.master,
        "sign_in": session.sign_in,
        "expires_at": func.cogmill_now() + func.make_interval(0, 0, 0, 0, 0, 0, life_s),
    }
    adding = insert(console_sessions).values(values).on_conflict_do_nothing(index_elements=["sign_in"])
    row: Row[Any] | None = (await connection.execute(adding.returning(console_sessions))).one_or_none()
    return row


async def _end(connection: AsyncConnection, session_id: str) -> bool:
    """End one that is not over; whether it was not."""
    now = func.cogmill_now()
    ending = update(console_sessions).where(_OF.id == session_id, _OF.expires_at > now).values(expires_at=now)
    row = (await connection.execute(ending.returning(console_sessions))).one_or_none()
    if row is not None:
        await record(connection, _change(Action.SESSION_END, row, before={"holder": row.holder}))
    return row is not None


async def _sweep(connection: AsyncConnection) -> None:
    over = select(_OF.id).where(_OF.expires_at < func.cogmill_now() - _REMEMBERED).limit(_SWEPT)
    # What another sign-in sweeps at the same time is left to it.
    await connection.execute(
        delete(console_sessions).where(_OF.id.in_(over.with_for_update(skip_locked=True).scalar_subquery()))
    )


def _beyond(new: Row[Any], at_most: int) -> Select[str]:
    """The holder's open sessions but for the new one, whatever a clock that was set back says of it, and the last."""
    mine = select(_OF.id).where(_OF.holder == new.holder, _OF.id != new.id, _OF.expires_at > func.cogmill_now())
    return mine.order_by(_OF.created_at.desc(), _OF.id).offset(at_most - 1)


def _change(action: Action, row: Row[Any], **values: Any) -> Change:
    """Its id is a digest, and opens nothing; the beginning of it tells one from another."""
    return Change(action=action, object=f"session:{row.id[:16]}", tenant=row.tenant, **values)


def _session(row: Row[Any]) -> Session:
    return Session(
        id=row.id,
        holder=row.holder,
        tenant=row.tenant,
        issuer=row.issuer,
        name=row.name,
        scopes=None if row.scopes is None else known_scopes(row.scopes),
        master=row.master,
        sign_in=row.sign_in,
        used_at=row.used_at,
        expires_at=row.expires_at,
    )
