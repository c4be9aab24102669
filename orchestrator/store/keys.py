"""API keys: made, replaced, revoked, and when they were last used.

Whoever makes a key with another holds the other's row by a share lock: a key that is revoked has made nothing after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from sqlalchemy import ColumnElement, Row, func, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.audit import Action, Change
from orchestrator.domain.rights import UNBOUND, USUAL, Rights, Scope, known_scopes, with_operators
from orchestrator.ports import ApiKey, KeyPage, NewKey, Successor
from orchestrator.store.audit import record
from orchestrator.store.part import Part
from orchestrator.store.tables import erasures, keys, tenants
from orchestrator.store.tenants import new_tenant

# Rows are locked in one order, since every process of the API writes those of the same keys.
_USED = text("""
    WITH used AS MATERIALIZED (
        SELECT keys.id, cogmill_now() - make_interval(secs => told.age) AS at
        FROM keys JOIN unnest(CAST(:ids AS text[]), CAST(:ages AS float8[])) AS told (id, age) ON keys.id = told.id
        ORDER BY keys.id
        FOR NO KEY UPDATE OF keys
    )
    UPDATE keys SET last_used_at = used.at
    FROM used
    WHERE keys.id = used.id AND (keys.last_used_at IS NULL OR keys.last_used_at < used.at)
""")


class Keys(Part):
    async def add_key(self, key_id: str, tenant: str, name: str, *, rights: Rights = UNBOUND, master: int) -> ApiKey:
        key = NewKey(id=key_id, name=name, rights=rights, master=master)

        async def add(connection: AsyncConnection) -> ApiKey:
            await connection.execute(insert(tenants).values(new_tenant(tenant)).on_conflict_do_nothing())
            made = await _insert(connection, key, tenant)
            await record(connection, _made(Action.KEY_CREATE, made))
            return made

        return await self._database.transact(add)

    async def mint_key(
        self,
        by: str,
        draft: Callable[[ApiKey], NewKey],
        *,
        at_most: int,
        tenant: str | None = None,
        person: ApiKey | None = None,
    ) -> ApiKey | None:
        async def mint(connection: AsyncConnection) -> ApiKey | None:
            maker = person or await _held(connection, by, share=True)
            if maker is None:
                return None
            key, whose = draft(maker), maker.tenant if tenant is None else tenant
            await connection.execute(insert(tenants).values(new_tenant(whose)).on_conflict_do_nothing())
            if await _full(connection, whose, at_most):
                return None
            made = await _insert(connection, key, whose, made_by=by)
            await record(connection, _made(Action.KEY_CREATE, made))
            return made

        return await self._database.transact(mint)

    async def replace_key(
        self,
        key_id: str,
        draft: Callable[[ApiKey, ApiKey | None], Successor],
        *,
        by: str | None = None,
        at_most: int | None = None,
        person: ApiKey | None = None,
    ) -> ApiKey | None:
        async def replace(connection: AsyncConnection) -> ApiKey | None:
            maker = person
            if maker is None and by is not None and by != key_id:
                maker = await _held(connection, by, share=True)
            old = await _held(connection, key_id)
            if old is None:
                return None
            successor = draft(old, old if by == key_id else maker)
            if at_most is not None and await _full(connection, old.tenant, at_most):
                return None
            ends = {"replaced_by": successor.key.id, "expires_at": func.least(keys.c.expires_at, successor.until)}
            await connection.execute(update(keys).where(keys.c.id == key_id).values(ends))
            # As if its maker had made this one, too: it goes where that one's keys go.
            made = await _insert(connection, successor.key, old.tenant, made_by=by or old.made_by)
            await record(connection, _replaced(old, made, successor))
            return made

        return await self._database.transact(replace)

    async def list_keys(self, tenant: str | None = None) -> list[ApiKey]:
        query = select(keys).order_by(keys.c.created_at, keys.c.id)
        if tenant is not None:
            query = query.where(keys.c.tenant == tenant)
        return [_key(row) for row in await self._database.fetch(query)]

    async def page_keys(self, tenant: str | None, *, limit: int, after: str | None) -> KeyPage:
        query = select(keys) if tenant is None else select(keys).where(keys.c.tenant == tenant)
        if after is not None:
            last = select(keys.c.created_at, keys.c.id).where(keys.c.id == after)
            query = query.where(tuple_(keys.c.created_at, keys.c.id) < last.scalar_subquery())
        found = await self._database.fetch(query.order_by(keys.c.created_at.desc(), keys.c.id.desc()).limit(limit + 1))
        return KeyPage(keys=[_key(row) for row in found[:limit]], has_more=len(found) > limit)

    async def revoke_key(self, key_id: str) -> bool:
        async def revoke(connection: AsyncConnection) -> bool:
            return bool(await _revoke(connection, keys.c.id == key_id))

        return await self._database.transact(revoke)

    async def revoke_made_by(self, key_id: str) -> list[str]:
        async def revoke(connection: AsyncConnection) -> list[str]:
            revoked: list[str] = []
            seen, makers = {key_id}, [key_id]
            while makers:
                # Each generation in statements of its own, which see all that the one before made until it ended.
                children = keys.c.made_by.in_(makers)
                revoked += await _revoke(connection, children)
                known = await connection.scalars(select(keys.c.id).where(children))
                makers = [child for child in known if child not in seen]
                seen.update(makers)
            return revoked

        return await self._database.transact(revoke)

    async def find_key(self, key_id: str) -> ApiKey | None:
        going = select(erasures.c.id).where(erasures.c.tenant == keys.c.tenant, erasures.c.finished_at.is_(None))
        found = await self._database.fetch(select(keys, going.exists().label("erasing")).where(keys.c.id == key_id))
        return replace(_key(found[0]), erasing=found[0].erasing) if found else None

    async def record_uses(self, ages: Mapping[str, float]) -> None:
        await self._database.fetch(_USED, {"ids": list(ages), "ages": list(ages.values())})


async def _held(connection: AsyncConnection, key_id: str, *, share: bool = False) -> ApiKey | None:
    """A key that stays as it is until the transaction ends."""
    row = (await connection.execute(select(keys).where(keys.c.id == key_id).with_for_update(read=share))).one_or_none()
    return None if row is None else _key(row)


async def _full(connection: AsyncConnection, tenant: str, at_most: int) -> bool:
    """Whether a tenant has so many keys that are good, or were made within a day.

    So who makes and revokes in turn is bounded, too. Its row makes what is added at once wait for each other.
    """
    await connection.execute(select(tenants.c.name).where(tenants.c.name == tenant).with_for_update())
    now = func.cogmill_now()
    # As `standing` in `domain/rights.py` has it.
    good = keys.c.revoked_at.is_(None) & or_(keys.c.expires_at.is_(None), keys.c.expires_at > now)
    recent = keys.c.created_at > now - text("interval '1 day'")
    count = select(func.count()).select_from(keys).where(keys.c.tenant == tenant, or_(good, recent))
    return (await connection.scalar(count) or 0) >= at_most


async def _insert(connection: AsyncConnection, key: NewKey, tenant: str, *, made_by: str | None = None) -> ApiKey:
    values = {
        "id": key.id,
        "tenant": tenant,
        "name": key.name,
        "operator": Scope.OPERATE in key.rights.scopes,
        "scopes": sorted(key.rights.scopes),
        "allow": [str(network) for network in key.rights.allow],
        "expires_at": key.rights.expires_at,
        "made_by": made_by,
        "master": key.master,
    }
    return _key((await connection.execute(insert(keys).values(values).returning(keys))).one())


async def _revoke(connection: AsyncConnection, which: ColumnElement[bool]) -> list[str]:
    """End those of these keys that were not ended before; their ids."""
    ending = update(keys).where(which, keys.c.revoked_at.is_(None)).values(revoked_at=func.cogmill_now())
    ended = (await connection.execute(ending.returning(keys))).all()
    for key in map(_key, ended):
        after = {"revoked_at": key.revoked_at}
        await record(
            connection, Change(action=Action.KEY_REVOKE, object=f"key:{key.id}", tenant=key.tenant, after=after)
        )
    return [row.id for row in ended]


def _made(action: Action, key: ApiKey) -> Change:
    return Change(action=action, object=f"key:{key.id}", tenant=key.tenant, after=_told(key))


def _replaced(old: ApiKey, new: ApiKey, successor: Successor) -> Change:
    """The entry of the old key; of the new one, which `replaced_by` names, it says all."""
    ends = min(filter(None, (old.rights.expires_at, successor.until)))
    return Change(
        action=Action.KEY_ROTATE,
        object=f"key:{old.id}",
        tenant=old.tenant,
        before={"expires_at": old.rights.expires_at},
        after={"expires_at": ends, "replaced_by": new.id, "new": _told(new)},
    )


def _told(key: ApiKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "scopes": sorted(key.rights.scopes),
        "allow": [str(network) for network in key.rights.allow],
        "expires_at": key.rights.expires_at,
        "made_by": key.made_by,
    }


def _key(row: Row[Any]) -> ApiKey:
    scopes = with_operators(USUAL, operator=row.operator) if row.scopes is None else known_scopes(row.scopes)
    return ApiKey(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        rights=Rights(
            scopes=scopes, allow=tuple(ip_network(network) for network in row.allow), expires_at=row.expires_at
        ),
        last_used_at=row.last_used_at,
        made_by=row.made_by,
        replaced_by=row.replaced_by,
        master=row.master,
    )
