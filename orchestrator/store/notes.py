"""Notes about jobs and campaigns, and filters kept by name: a tenant's own, within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, func, literal, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.errors import LimitExceeded, NotFound
from orchestrator.domain.job import parse_public_id
from orchestrator.domain.job_filter import JobFilter
from orchestrator.ports.notes import NewNote, NewSaved, Note, NotePage, Saved
from orchestrator.store.part import Part
from orchestrator.store.tables import campaigns, jobs, notes, saved_filters

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('cogmill:notes:' || :tenant, 0))")

# By the primary keys of what they are about.
_PRUNE = text("""
    DELETE FROM notes WHERE id IN (
        SELECT n.id FROM notes AS n
        WHERE CASE WHEN n.about LIKE 'video\\_%'
              THEN NOT EXISTS (SELECT FROM jobs AS j WHERE j.id = (substr(n.about, 7))::uuid)
              ELSE NOT EXISTS (SELECT FROM campaigns AS c WHERE c.id = n.about) END
        LIMIT :n)
    RETURNING 1
""")


class Notes(Part):
    async def add_note(self, new: NewNote, *, most_about: int, most: int) -> Note:
        async def add(connection: AsyncConnection) -> Note:
            await connection.execute(_LOCK, {"tenant": new.tenant})
            if not (await connection.execute(select(literal(1)).where(_there(new)))).all():
                raise NotFound(f"no job and no campaign with the id {new.about[:80]!r}", param="about")
            mine = notes.c.tenant == new.tenant
            counted = select(func.count(), func.count().filter(notes.c.about == new.about)).where(mine)
            all_, of_it = (await connection.execute(counted)).one()
            _check("notes", of_it, most_about)
            _check("notes", all_, most)
            values = {name: getattr(new, name) for name in ("id", "tenant", "about", "body", "author", "written_by")}
            row = (await connection.execute(insert(notes).values(**values).returning(*notes.c))).one()
            return Note(**row._mapping)

        return await self._database.transact(add)

    async def list_notes(self, tenant: str, about: str, *, limit: int, after: str | None = None) -> NotePage:
        query = select(notes).where(notes.c.tenant == tenant, notes.c.about == about)
        if after is not None:
            query = query.where(notes.c.id < after)
        found = await self._database.fetch(query.order_by(notes.c.id.desc()).limit(limit + 1))
        return NotePage(notes=[Note(**row._mapping) for row in found[:limit]], has_more=len(found) > limit)

    async def delete_note(self, note_id: str, tenant: str) -> bool:
        mine = (notes.c.id == note_id, notes.c.tenant == tenant)
        return bool(await self._database.fetch(delete(notes).where(*mine).returning(notes.c.id)))

    async def prune_notes(self, *, limit: int) -> int:
        return len(await self._database.fetch(_PRUNE, {"n": limit}))

    async def save_filter(self, new: NewSaved, *, most: int) -> Saved:
        async def save(connection: AsyncConnection) -> Saved:
            await connection.execute(_LOCK, {"tenant": new.tenant})
            others = (saved_filters.c.tenant == new.tenant, saved_filters.c.name != new.name)
            _check("saved_filters", await connection.scalar(select(func.count()).where(*others)) or 0, most)
            values = {
                "filter": new.wanted.to_dict(), "author": new.author, "saved_by": new.saved_by,
                "saved_at": func.cogmill_now(),
            }  # fmt: skip
            put = insert(saved_filters).values(tenant=new.tenant, name=new.name, **values)
            put = put.on_conflict_do_update(index_elements=["tenant", "name"], set_=values)
            return _saved((await connection.execute(put.returning(*saved_filters.c))).one())

        return await self._database.transact(save)

    async def saved_filters(self, tenant: str) -> Sequence[Saved]:
        query = select(saved_filters).where(saved_filters.c.tenant == tenant).order_by(saved_filters.c.name)
        return [_saved(row) for row in await self._database.fetch(query)]

    async def drop_filter(self, tenant: str, name: str) -> bool:
        mine = (saved_filters.c.tenant == tenant, saved_filters.c.name == name)
        return bool(await self._database.fetch(delete(saved_filters).where(*mine).returning(saved_filters.c.name)))


def _there(new: NewNote) -> ColumnElement[bool]:
    """Whether what it is about is its tenant's."""
    job_id = parse_public_id(new.about)
    if job_id is not None:
        its = (jobs.c.id == job_id, jobs.c.tenant == new.tenant, jobs.c.deleted_at.is_(None))
        return select(jobs.c.id).where(*its).exists()
    its_ = (campaigns.c.id == new.about, campaigns.c.tenant == new.tenant, campaigns.c.deleted_at.is_(None))
    return select(campaigns.c.id).where(*its_).exists()


def _check(limit: str, used: int, most: int) -> None:
    if used >= most:
        message = f"there are {used} already; at most {most} may be: delete one"
        raise LimitExceeded(message, limit=limit, retry_after_s=None, most=most, used=used)


def _saved(row: Row[Any]) -> Saved:
    return Saved(
        tenant=row.tenant,
        name=row.name,
        wanted=JobFilter.from_dict(row.filter),
        author=row.author,
        saved_by=row.saved_by,
        saved_at=row.saved_at,
    )
