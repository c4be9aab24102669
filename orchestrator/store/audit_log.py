"""The audit log as it is read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, exists, func, or_, select

from orchestrator.domain.audit import VALUES, Action
from orchestrator.domain.audit_chain import Checkpoint, Entry, Seal
from orchestrator.ports.audit import AuditFilter, AuditPage, Unsealed
from orchestrator.store.part import Part
from orchestrator.store.tables import audit, audit_checkpoints, audit_seals

_OF = audit.c


class AuditLog(Part):
    async def page_audit(
        self, wanted: AuditFilter, *, limit: int, after: int | None = None, oldest_first: bool = False
    ) -> AuditPage:
        query = select(audit).where(*_meant(wanted))
        if after is not None:
            query = query.where(_OF.id > after if oldest_first else _OF.id < after)
        found = await self._database.fetch(query.order_by(_OF.id if oldest_first else _OF.id.desc()).limit(limit + 1))
        return AuditPage(entries=[entry_of(row) for row in found[:limit]], has_more=len(found) > limit)

    async def unsealed(self) -> Unsealed:
        age_s = func.extract("epoch", func.cogmill_now() - func.min(_OF.at))
        (row,) = await self._database.fetch(
            select(func.count().label("waiting"), age_s.label("age_s")).where(_OF.seal.is_(None))
        )
        return Unsealed(count=row.waiting, age_s=max(0.0, float(row.age_s or 0.0)))

    async def audit_marks(self) -> list[Checkpoint]:
        query = select(audit_checkpoints).order_by(audit_checkpoints.c.number)
        return [checkpoint_of(row) for row in await self._database.fetch(query)]

    async def audit_seals(self, *, after: int, limit: int) -> list[Seal]:
        query = select(audit_seals).where(audit_seals.c.number > after).order_by(audit_seals.c.number).limit(limit)
        return [seal_of(row) for row in await self._database.fetch(query)]

    async def last_seal(self) -> Seal | None:
        found = await self._database.fetch(select(audit_seals).order_by(audit_seals.c.number.desc()).limit(1))
        return seal_of(found[0]) if found else None

    async def audit_entries(self, seals: Sequence[Seal]) -> list[Entry]:
        ids = [each for seal in seals for each in seal.ids]
        named = or_(_OF.id.in_(ids), _OF.seal.in_([seal.number for seal in seals]))
        return [entry_of(row) for row in await self._database.fetch(select(audit).where(named).order_by(_OF.id))]

    async def loose_audit_entries(self, *, limit: int) -> list[Entry]:
        there = exists().where(audit_seals.c.number == _OF.seal)
        query = select(audit).where(or_(_OF.seal.is_(None), ~there)).order_by(_OF.id).limit(limit)
        return [entry_of(row) for row in await self._database.fetch(query)]

    async def audit_erasures(self) -> list[Entry]:
        query = select(audit).where(_OF.action == Action.TENANT_ERASE).order_by(_OF.id)
        return [entry_of(row) for row in await self._database.fetch(query)]


def _meant(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    named = {name: getattr(wanted, name) for name in ("actor", "action", "object")}
    where: list[ColumnElement[bool]] = [_OF[name] == value for name, value in named.items() if value is not None]
    if wanted.tenant is not None:
        where.append(or_(_OF.tenant == wanted.tenant, _OF.actor_tenant == wanted.tenant))
    if wanted.since is not None:
        where.append(_OF.at >= wanted.since)
    if wanted.until is not None:
        where.append(_OF.at < wanted.until)
    return where


def entry_of(row: Row[Any]) -> Entry:
    """An entry from its row."""
    return Entry(
        id=row.id,
        at=row.at,
        action=row.action,
        outcome=row.outcome,
        values={name: value for name in VALUES if (value := getattr(row, name)) is not None},
        salts=_texts(row.salts),
        digests=_texts(row.digests),
        seal=row.seal,
    )


def _texts(value: Any) -> dict[str, str]:
    """What of it can be salts or digests, whatever somebody has made of the column."""
    return {name: text for name, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}


def seal_of(row: Row[Any]) -> Seal:
    """A seal from its row."""
    return Seal(**row._mapping)


def checkpoint_of(row: Row[Any]) -> Checkpoint:
    """A checkpoint from its row."""
    return Checkpoint(**row._mapping)
