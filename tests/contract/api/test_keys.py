"""`/v1/keys`: what a tenant is told of its keys, and when they were last used."""

from __future__ import annotations

import time

import asyncpg
import pytest

from orchestrator.domain.errors import Unauthenticated
from orchestrator.tenants import keys
from orchestrator.tenants.issuing import MAX_KEYS, Wanted
from tests.support.api import MASTER_KEY, Api, id_of, in_process

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_key_is_told_as_it_was_asked_for_and_opens_what_it_says(api: Api) -> None:
    until = int(time.time()) + 3600
    asked = {"name": "exports", "scopes": ["submit", "read"], "allow": ["127.0.0.1", "::1/128"], "expires_at": until}
    made = (await api.http.post("/v1/keys", json=asked)).raise_for_status().json()
    key = made.pop("key")
    assert made == {
        **asked,
        "id": key.split(".")[0],
        "object": "key",
        "created_at": made["created_at"],
        "revoked_at": None,
        "last_used_at": None,
        "scopes": ["read", "submit"],
        "allow": ["127.0.0.1/32", "::1/128"],
        "made_by": api.http.headers["authorization"].removeprefix("Bearer ").split(".")[0],
        "replaced_by": None,
    }
    async with in_process(api.app, key) as http:
        assert (await http.post("/v1/videos", json={"prompt": "a mill"})).status_code == 200
        assert (await http.get("/v1/keys")).status_code == 403
    assert (await api.http.get(f"/v1/keys/{made['id']}")).json() == made


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"scopes": ["root"]}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"scopes": "read"}, "scopes"),
        ({"allow": ["example.org"]}, "allow"),
        ({"allow": []}, "allow"),
        ({"expires_at": 1}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"owner": "me"}, "owner"),
    ],
)
async def test_what_is_wrong_is_named(api: Api, body: dict[str, object], param: str) -> None:
    answer = await api.http.post("/v1/keys", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("overlap_s", [-1, 90 * 86400 + 1, "long"])
async def test_an_overlap_has_its_bounds(api: Api, overlap_s: object) -> None:
    made = (await api.http.post("/v1/keys")).json()
    answer = await api.http.post(f"/v1/keys/{made['id']}/rotate", json={"overlap_s": overlap_s})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "overlap_s")


async def test_a_use_is_told_once_it_was_written_and_costs_its_request_no_write(api: Api) -> None:
    made = (await api.http.post("/v1/keys")).json()
    async with in_process(api.app, made["key"]) as http:
        for _ in range(3):
            assert (await http.get("/v1/videos")).status_code == 200
    assert (await api.http.get(f"/v1/keys/{made['id']}")).json()["last_used_at"] is None
    await api.services.uses.flush()
    told = (await api.http.get(f"/v1/keys/{made['id']}")).json()["last_used_at"]
    assert abs(time.time() - told) < 60


async def test_one_key_too_many_is_a_limit_by_name(api: Api) -> None:
    store = api.services.store
    for number in range(MAX_KEYS - len(await store.list_keys(api.tenant))):
        await store.add_key(f"{api.tenant}-{number}", api.tenant, "", master=1)
    answer = await api.http.post("/v1/keys")
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "limit_keys")
    assert str(MAX_KEYS) in answer.json()["error"]["message"]
    # Nor is one more made in the place of another, which goes on beside it; and that one stays as it is.
    own = f"/v1/keys/{id_of(api.http.headers['authorization'].removeprefix('Bearer '))}"
    answer = await api.http.post(f"{own}/rotate", json={"overlap_s": 60})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "limit_keys")
    kept = (await api.http.get(own)).raise_for_status().json()
    assert (kept["replaced_by"], kept["expires_at"]) == (None, None)


async def test_a_key_that_has_gone_with_its_tenant_makes_and_replaces_none(api: Api) -> None:
    """As where the erasure ends between a request and what it asks of the database."""
    gone, own = id_of(await api.key(f"{api.tenant[:50]}-gone")), id_of(await api.key())
    by = await api.services.store.find_key(gone)
    assert by is not None
    connection = await asyncpg.connect(api.settings.database_url)
    try:
        await connection.execute("DELETE FROM keys WHERE id = $1", gone)
    finally:
        await connection.close()
    with pytest.raises(Unauthenticated):
        await api.services.keys.create(by, name="", wanted=Wanted())
    with pytest.raises(Unauthenticated):
        await api.services.administration.keys.rotate(by, own, overlap_s=60)


async def test_keys_of_the_release_before_open_all_that_they_did(api: Api) -> None:
    """As that release wrote them: without scopes, under ids without a prefix, with secrets without a checksum."""
    usual, operators = f"{api.tenant[:15]}u", f"{api.tenant[:15]}o"
    connection = await asyncpg.connect(api.settings.database_url)
    try:
        await connection.executemany(
            "INSERT INTO keys (id, tenant, name, operator) VALUES ($1, $2, '', $3)",
            [(usual, api.tenant, False), (operators, api.tenant, True)],
        )
    finally:
        await connection.close()
    for key_id, pools in ((usual, 403), (operators, 200)):
        whole = keys.issue(MASTER_KEY, key_id)
        assert len(whole) == 16 + 1 + 43
        async with in_process(api.app, whole) as http:
            assert (await http.post("/v1/videos", json={"prompt": "a mill"})).status_code == 200
            for path in ("/v1/videos", "/v1/campaigns", "/v1/webhook_secret", "/v1/keys"):
                assert (await http.get(path)).status_code == 200
            assert (await http.get("/v1/pools")).status_code == pools
