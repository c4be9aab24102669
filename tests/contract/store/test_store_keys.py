"""API keys: known by id, revoked for good, and never a secret among them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_network

import asyncpg
import pytest
from sqlalchemy.exc import IntegrityError

from orchestrator.domain.errors import BeyondOwn
from orchestrator.domain.rights import USUAL, Rights, Scope
from orchestrator.ports import ApiKey, NewKey, Successor
from orchestrator.store import Store


async def test_a_key_is_found_listed_and_revoked_once(store: Store) -> None:
    added = await store.add_key("k1", "acme", "ci", master=1)
    other = await store.add_key("k2", "other", "laptop", master=1)
    assert await store.find_key("k1") == added
    assert await store.find_key("k3") is None
    assert await store.list_keys() == [added, other]
    assert await store.list_keys("other") == [other]
    assert await store.revoke_key("k1") is True
    assert await store.revoke_key("k1") is False
    assert await store.revoke_key("k3") is False
    revoked = await store.find_key("k1")
    assert revoked is not None
    assert revoked.revoked_at is not None


async def test_only_a_key_that_was_made_for_an_operator_is_one(store: Store) -> None:
    await store.add_key("k1", "acme", "ci", master=1)
    operators = await store.add_key("k2", "acme", "on call", rights=Rights(scopes=USUAL | {Scope.OPERATE}), master=1)
    assert [key.operator for key in await store.list_keys()] == [False, True]
    assert await store.find_key("k2") == operators


async def test_a_tenant_has_many_keys_and_an_id_is_used_once(store: Store) -> None:
    await store.add_key("k1", "acme", "ci", master=1)
    await store.add_key("k2", "acme", "laptop", master=1)
    with pytest.raises(IntegrityError):
        await store.add_key("k1", "other", "ci", master=1)
    assert len(await store.list_keys("acme")) == 2


NARROW = Rights(
    scopes=frozenset({Scope.READ, Scope.KEYS}),
    allow=(ip_network("203.0.113.0/24"), ip_network("2001:db8::/32")),
    expires_at=datetime(2100, 1, 1, tzinfo=UTC),
)


def drafted(key_id: str, rights: Rights = NARROW) -> Callable[[ApiKey], NewKey]:
    return lambda maker: NewKey(id=key_id, name=f"of {maker.id}", rights=rights, master=1)


async def minted(store: Store, by: str, key_id: str) -> ApiKey:
    made = await store.mint_key(by, drafted(key_id), at_most=100)
    assert made is not None
    return made


async def test_rights_are_kept_as_they_were_given(store: Store) -> None:
    added = await store.add_key("k1", "acme", "ci", rights=NARROW, master=1)
    assert added.rights == NARROW
    assert await store.find_key("k1") == added
    made = await minted(store, "k1", "k2")
    assert (made.tenant, made.name, made.made_by, made.rights) == ("acme", "of k1", "k1", NARROW)
    assert await store.find_key("k2") == made


async def test_keys_of_the_release_before_may_what_they_always_might(
    store: Store, database: asyncpg.Connection
) -> None:
    await database.execute(
        "INSERT INTO keys (id, tenant, name, operator) VALUES ('k1', 'acme', '', false), ('k2', 'acme', '', true)"
    )
    first, second = await store.list_keys("acme")
    assert first.rights == Rights(scopes=USUAL)
    assert second.rights == Rights(scopes=USUAL | {Scope.OPERATE})


async def test_a_scope_of_a_newer_release_is_no_right_here(store: Store, database: asyncpg.Connection) -> None:
    await store.add_key("k1", "acme", "ci", rights=NARROW, master=1)
    await database.execute("UPDATE keys SET scopes = '{read,everything}'")
    found = await store.find_key("k1")
    assert found is not None
    assert found.rights.scopes == {Scope.READ}


async def test_pages_hold_a_tenants_keys_newest_first(store: Store) -> None:
    for number in range(5):
        await store.add_key(f"k{number}", "acme", "", master=1)
    await store.add_key("theirs", "other", "", master=1)
    seen, after = [], None
    while True:
        page = await store.page_keys("acme", limit=2, after=after)
        seen += [key.id for key in page.keys]
        if not page.has_more:
            break
        after = seen[-1]
    assert seen == ["k4", "k3", "k2", "k1", "k0"]
    assert (await store.page_keys("other", limit=2, after="k4")).keys == []


async def test_a_tenant_has_so_many_keys_and_no_more_however_many_are_asked_for_at_once(store: Store) -> None:
    await store.add_key("k0", "acme", "", master=1)
    made = await asyncio.gather(*(store.mint_key("k0", drafted(f"m{n}"), at_most=4) for n in range(8)))
    assert sum(key is not None for key in made) == 3
    for key in made:
        if key is not None:
            await store.revoke_key(key.id)
    assert await store.mint_key("k0", drafted("again"), at_most=4) is None, "who makes and revokes in turn is bounded"


async def test_keys_that_replace_each_other_count_like_any_however_many_are_asked_for_at_once(store: Store) -> None:
    """Each goes on for its overlap beside the one that took its place, which can be replaced, too."""
    await store.add_key("k0", "acme", "", master=1)
    await store.add_key("theirs", "other", "", master=1)
    late = datetime(2100, 1, 1, tzinfo=UTC)

    async def replaced(key_id: str, by: str) -> ApiKey | None:
        successor = Successor(key=NewKey(id=by, name="", rights=Rights(), master=1), until=late)
        return await store.replace_key(key_id, lambda old, maker: successor, by=key_id, at_most=4)

    chain = [await replaced(f"k{n}", f"k{n + 1}") is not None for n in range(2)]
    assert chain == [True, True]
    made = await asyncio.gather(*(replaced(f"k{n}", f"next-{n}") for n in range(3)))
    assert sum(key is not None for key in made) == 1
    assert len(await store.list_keys("acme")) == 4
    (last,) = [key for key in made if key is not None]
    assert await replaced(last.id, "k5") is None
    standing = await store.find_key(last.id)
    assert standing is not None
    assert (standing.replaced_by, standing.rights.expires_at) == (None, None), "it goes on"
    assert await store.mint_key("k0", drafted("m"), at_most=4) is None
    assert await replaced("theirs", "new") is not None


async def test_old_keys_that_are_good_no_more_count_no_more(store: Store, database: asyncpg.Connection) -> None:
    for key_id in ("good", "revoked", "expired", "ending"):
        await store.add_key(key_id, "acme", "", master=1)
    await store.revoke_key("revoked")
    await database.execute("UPDATE keys SET created_at = now() - interval '25 hours'")
    await database.execute("UPDATE keys SET expires_at = now() WHERE id = 'expired'")
    await database.execute("UPDATE keys SET expires_at = now() + interval '1 day' WHERE id = 'ending'")
    assert await store.mint_key("good", drafted("m"), at_most=2) is None
    assert await store.mint_key("good", drafted("m"), at_most=3) is not None


async def test_what_is_refused_makes_nothing(store: Store) -> None:
    await store.add_key("k0", "acme", "", master=1)

    def refuse(maker: ApiKey) -> NewKey:
        raise BeyondOwn("no", param="scopes")

    with pytest.raises(BeyondOwn):
        await store.mint_key("k0", refuse, at_most=4)
    assert [key.id for key in await store.list_keys()] == ["k0"]


_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_a_revocation_waits_for_what_is_being_made_and_takes_it_along(
    store: Store, database_url: str, database: asyncpg.Connection
) -> None:
    """Whoever holds a key that leaked makes no other one that outlives it."""
    await store.add_key("k0", "acme", "", master=1)
    drafting, loop = asyncio.Event(), asyncio.get_running_loop()

    def draft(maker: ApiKey) -> NewKey:
        loop.call_soon(drafting.set)
        return drafted("child")(maker)

    async def revoke() -> None:
        await store.revoke_key("k0")
        await store.revoke_made_by("k0")

    other = await asyncpg.connect(database_url)
    try:
        async with other.transaction():  # the child is drafted, and not yet there
            await other.execute("SELECT FROM tenants FOR UPDATE")
            made = asyncio.create_task(store.mint_key("k0", draft, at_most=100))
            await drafting.wait()
            revoked = asyncio.create_task(revoke())
            while not revoked.done():
                if await database.fetchval(_WAITING) == 2:
                    break
    finally:
        await other.close()
    assert await made is not None
    await revoked
    assert [key.id for key in await store.list_keys() if key.revoked_at is None] == []


async def test_a_family_of_keys_is_revoked_to_the_last_and_nobody_beside_it(store: Store) -> None:
    for key_id in ("root", "stranger"):
        await store.add_key(key_id, "acme", "", master=1)
    for by, key_id in (("root", "a"), ("root", "b"), ("a", "aa"), ("aa", "aaa"), ("stranger", "s")):
        await minted(store, by, key_id)
    await store.revoke_key("a")
    assert sorted(await store.revoke_made_by("root")) == ["aa", "aaa", "b"]
    assert await store.revoke_made_by("root") == []
    good = {key.id for key in await store.list_keys() if key.revoked_at is None}
    assert good == {"root", "stranger", "s"}


async def test_a_key_that_is_replaced_ends_when_it_was_told_to_and_no_later_than_it_would_have(store: Store) -> None:
    soon, late = datetime(2050, 1, 1, tzinfo=UTC), datetime(2150, 1, 1, tzinfo=UTC)
    for key_id in ("k1", "k2"):
        await store.add_key(key_id, "acme", "ci", rights=NARROW, master=1)
    for key_id, until, ends in (("k1", soon, soon), ("k2", late, NARROW.expires_at)):
        new = NewKey(id=f"new-{key_id}", name="ci", rights=NARROW, master=1)
        successor = Successor(key=new, until=until)
        made = await store.replace_key(key_id, lambda old, maker, successor=successor: successor)  # type: ignore[misc]
        assert made is not None
        assert (made.rights, made.tenant) == (NARROW, "acme")
        old = await store.find_key(key_id)
        assert old is not None
        assert (old.rights.expires_at, old.replaced_by, old.revoked_at) == (ends, f"new-{key_id}", None)
    assert await store.replace_key("k9", lambda old, maker: successor) is None


async def test_uses_are_kept_and_an_earlier_one_takes_none_back(store: Store, database: asyncpg.Connection) -> None:
    for key_id in ("k1", "k2"):
        await store.add_key(key_id, "acme", "", master=1)
    await store.record_uses({"k1": 10.0, "nobody": 1.0})
    await store.record_uses({"k1": 500.0})
    ages = {
        row["id"]: row["age"]
        for row in await database.fetch("SELECT id, extract(epoch FROM now() - last_used_at) AS age FROM keys")
    }
    assert ages["k2"] is None
    assert 10 <= ages["k1"] < 400
    found = await store.find_key("k1")
    assert found is not None
    assert found.last_used_at is not None
