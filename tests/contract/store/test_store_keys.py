"""API keys: known by id, revoked for good, and never a secret among them."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError

from orchestrator.store import Store


async def test_a_key_is_found_listed_and_revoked_once(store: Store) -> None:
    added = await store.add_key("k1", "acme", "ci")
    other = await store.add_key("k2", "other", "laptop")
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
    await store.add_key("k1", "acme", "ci")
    operators = await store.add_key("k2", "acme", "on call", operator=True)
    assert [key.operator for key in await store.list_keys()] == [False, True]
    assert await store.find_key("k2") == operators


async def test_a_tenant_has_many_keys_and_an_id_is_used_once(store: Store) -> None:
    await store.add_key("k1", "acme", "ci")
    await store.add_key("k2", "acme", "laptop")
    with pytest.raises(IntegrityError):
        await store.add_key("k1", "other", "ci")
    assert len(await store.list_keys("acme")) == 2
