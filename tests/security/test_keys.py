"""Attacks on keys: by one that may little, has expired, was revoked, is used from elsewhere, or is another tenant's."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import asyncpg
import httpx
import jwt
import pytest
import pytest_asyncio
from fastapi import FastAPI

from orchestrator.config import Settings
from orchestrator.domain.errors import StoreUnavailable
from orchestrator.domain.rights import USUAL, Scope
from tests.support.api import Api, api_settings, id_of, in_process, listening, serving
from tests.support.postgres import Server
from tests.support.s3 import S3Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

OFFICE, ELSEWHERE, PROXY = "203.0.113.7", "198.51.100.1", "192.0.2.10"
ALLOWED = (ip_network("203.0.113.0/24"),)
NARROW = frozenset({Scope.READ, Scope.KEYS})
SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
VIDEOS, TASK = "/v1/videos", "/api/paas/v4/async-result/video_0"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api_app(
    postgres_server: Server, migrated_template: str, s3_server: S3Server
) -> AsyncIterator[tuple[FastAPI, Settings]]:
    """As every test's, but behind a proxy, and slow to hear of what happens elsewhere."""
    database = postgres_server.new_database(migrated_template)
    url = postgres_server.url(database)
    settings = api_settings(url, s3_server.new_bucket(), key_cache_s=60, trusted_proxies=[PROXY])
    async with serving(settings) as app:
        yield app, settings
    postgres_server.drop_database(database)


def token(key: str) -> str:
    """What the bigmodel SDKs make of a key. Source: zhipuai and zai-sdk, `core/_jwt_token.py`."""
    key_id, secret = key.split(".")
    now = int(time.time() * 1000)
    return jwt.encode({"api_key": key_id, "exp": now + 210_000, "timestamp": now}, secret, algorithm="HS256")


async def refused(api: Api, key: str, path: str, body: dict[str, Any], *, status: int = 403) -> dict[str, Any]:
    async with in_process(api.app, key) as http:
        answer = await http.post(path, json=body)
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


async def good(api: Api, key: str) -> int:
    async with in_process(api.app, key) as http:
        return (await http.get(VIDEOS)).status_code


class TestScopes:
    @pytest.mark.parametrize("credential", [str, token], ids=["key", "token"])
    async def test_a_key_to_read_makes_nothing_in_either_dialect(self, api: Api, credential: Any) -> None:
        key = await api.key(scopes=NARROW)
        error = await refused(api, credential(key), VIDEOS, {"prompt": "a mill"})
        assert (error["code"], error["type"]) == ("missing_scope", "invalid_request_error")
        assert "Missing scopes: submit." in error["message"]
        generations = "/api/paas/v4/videos/generations"
        error = await refused(api, credential(key), generations, {"model": "cogvideox-3", "prompt": "a mill"})
        assert error["code"] == "1220"
        assert "Missing scopes: submit." in error["message"]
        assert await api.rows() == 0

    async def test_the_secrets_of_webhooks_are_not_read_with_the_scope_to_read(self, api: Api) -> None:
        async with in_process(api.app, await api.key(scopes=NARROW)) as http:
            assert (await http.get("/v1/webhook_secret")).status_code == 403
            assert (await http.get("/v1/webhook_deliveries")).status_code == 403

    async def test_what_other_tenants_used_is_for_operators(self, api: Api) -> None:
        async with in_process(api.app, await api.key(scopes=NARROW)) as http:
            assert (await http.get("/v1/usage", params={"tenant": "*"})).status_code == 403
            assert (await http.get("/v1/usage", params={"tenant": api.tenant})).status_code == 200


class TestSelfService:
    """A key makes, replaces and revokes nothing that may more than itself."""

    @pytest.mark.parametrize(
        ("asked", "param"),
        [
            ({"scopes": ["submit"]}, "scopes"),
            ({"scopes": ["read", "operate"]}, "scopes"),
            ({"expires_at": int(SOON.timestamp()) + 1}, "expires_at"),
            ({"allow": ["0.0.0.0/0"]}, "allow"),
            ({"allow": ["126.0.0.0/7"]}, "allow"),
            ({"allow": ["127.0.0.1/32", "::/0"]}, "allow"),
        ],
    )
    async def test_it_makes_no_key_that_may_more(self, api: Api, asked: dict[str, Any], param: str) -> None:
        key = await api.key(scopes=NARROW, allow=(ip_network("127.0.0.0/8"),), expires_at=SOON)
        error = await refused(api, key, "/v1/keys", asked)
        assert (error["code"], error["param"]) == ("beyond_own_rights", param)
        assert [known.id for known in await api.services.store.list_keys(api.tenant)][1:] == [id_of(key)]

    async def test_what_it_leaves_unsaid_is_no_more_than_it_has(self, api: Api) -> None:
        key = await api.key(scopes=NARROW, allow=(ip_network("127.0.0.0/8"),), expires_at=SOON)
        async with in_process(api.app, key) as http:
            made = (await http.post("/v1/keys")).raise_for_status().json()
        assert (made["scopes"], made["allow"]) == (["keys", "read"], ["127.0.0.0/8"])
        assert (made["expires_at"], made["made_by"]) == (int(SOON.timestamp()), id_of(key))
        error = await refused(api, made["key"], "/v1/keys", {"scopes": ["submit"]})
        assert error["param"] == "scopes"  # nor does its child

    async def test_it_replaces_no_key_that_may_more_for_that_would_hand_it_over(self, api: Api) -> None:
        key, wide = await api.key(scopes=NARROW), await api.key()
        error = await refused(api, key, f"/v1/keys/{id_of(wide)}/rotate", {})
        assert (error["code"], error["param"]) == ("beyond_own_rights", "scopes")
        assert await good(api, wide) == 200

    @pytest.mark.parametrize("asked", [{}, {"expires_at": int(SOON.timestamp()) + 99}, {"overlap_s": 9999}])
    async def test_it_does_not_outlive_itself_by_replacing_itself(self, api: Api, asked: dict[str, Any]) -> None:
        key = await api.key(scopes=NARROW, expires_at=SOON)
        async with in_process(api.app, key) as http:
            answer = await http.post(f"/v1/keys/{id_of(key)}/rotate", json=asked)
        if "expires_at" in asked:
            assert (answer.status_code, answer.json()["error"]["param"]) == (403, "expires_at")
        else:
            assert answer.raise_for_status().json()["expires_at"] == int(SOON.timestamp())

    async def test_it_revokes_no_key_that_may_more(self, api: Api) -> None:
        key, operators = await api.key(scopes=USUAL), await api.key(scopes=USUAL | {Scope.OPERATE})
        error = await refused(api, key, f"/v1/keys/{id_of(operators)}/revoke", {})
        assert error["code"] == "beyond_own_rights"
        assert await good(api, operators) == 200

    async def test_without_the_scope_for_keys_none_is_made_seen_replaced_or_revoked(self, api: Api) -> None:
        key = await api.key(scopes=frozenset(Scope) - {Scope.KEYS})
        async with in_process(api.app, key) as http:
            for method, path in (
                ("POST", ""), ("GET", ""), ("GET", f"/{id_of(key)}"), ("POST", f"/{id_of(key)}/rotate"),
                ("POST", f"/{id_of(key)}/revoke"),
            ):  # fmt: skip
                assert (await http.request(method, f"/v1/keys{path}")).status_code == 403
        assert await good(api, key) == 200

    async def test_another_tenants_keys_are_not_there(self, api: Api) -> None:
        mine, theirs = await api.key(), await api.key(tenant=f"another-{api.tenant}")
        for act in ("rotate", "revoke"):
            await refused(api, mine, f"/v1/keys/{id_of(theirs)}/{act}", {}, status=404)
        async with in_process(api.app, mine) as http:
            assert (await http.get(f"/v1/keys/{id_of(theirs)}")).status_code == 404
            assert id_of(theirs) not in (await http.get("/v1/keys")).text
        assert await good(api, theirs) == 200

    async def test_a_secret_is_told_once_and_kept_by_nobody_on_the_way(self, api: Api) -> None:
        async with in_process(api.app, await api.key()) as http:
            made = (await http.post("/v1/keys", json={"name": "told once"})).raise_for_status()
            whole = made.json()["key"]
            assert made.headers["cache-control"] == "no-store"
            secret = whole.split(".")[1]
            assert secret not in (await http.get(f"/v1/keys/{id_of(whole)}")).text
            assert secret not in (await http.get("/v1/keys", params={"limit": 100})).text
        connection = await asyncpg.connect(api.settings.database_url)
        try:
            rows = await connection.fetch("SELECT k::text AS row FROM keys AS k")
        finally:
            await connection.close()
        assert not any(secret in row["row"] for row in rows)


class TestTimes:
    @pytest.mark.parametrize("credential", [str, token], ids=["key", "token"])
    async def test_an_expired_key_opens_nothing_in_either_dialect(self, api: Api, credential: Any) -> None:
        key = credential(await api.key(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
        async with in_process(api.app, key) as http:
            answer = await http.get(VIDEOS)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
            assert "expired" in answer.json()["error"]["message"]
            answer = await http.get(TASK)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "1003")

    async def test_an_expired_key_is_not_brought_back_by_another(self, api: Api) -> None:
        gone = await api.key(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        error = await refused(api, await api.key(), f"/v1/keys/{id_of(gone)}/rotate", {}, status=400)
        assert "has expired" in error["message"]

    @pytest.mark.parametrize("credential", [str, token], ids=["key", "token"])
    async def test_a_revoked_key_opens_nothing_at_once_where_it_was_revoked(self, api: Api, credential: Any) -> None:
        """Its rows are read every `api.key_cache_s` elsewhere: a minute here, so the cache would tell."""
        key = await api.key()
        assert await good(api, credential(key)) == 200
        async with in_process(api.app, await api.key()) as http:
            shown = (await http.post(f"/v1/keys/{id_of(key)}/revoke")).raise_for_status().json()
            assert shown["revoked_at"] is not None
            (await http.post(f"/v1/keys/{id_of(key)}/revoke")).raise_for_status()  # again, without effect
        assert await good(api, credential(key)) == 401

    async def test_a_revoked_key_makes_none_that_outlives_it_while_a_replica_has_not_heard(self, api: Api) -> None:
        key = await api.key()
        assert await good(api, key) == 200
        await api.services.store.revoke_key(id_of(key))  # elsewhere
        assert await good(api, key) == 200, "this one knows it for a minute"
        await refused(api, key, "/v1/keys", {}, status=401)
        await refused(api, key, f"/v1/keys/{id_of(key)}/rotate", {}, status=401)
        assert not [known for known in await api.services.store.list_keys(api.tenant) if known.made_by == id_of(key)]

    async def test_what_a_leaked_key_has_made_goes_with_it(self, api: Api) -> None:
        leaked, owners = await api.key(), await api.key()
        async with in_process(api.app, leaked) as http:
            child = (await http.post("/v1/keys")).json()["key"]
        async with in_process(api.app, child) as http:
            grandchild = (await http.post("/v1/keys")).json()["key"]
        async with in_process(api.app, owners) as http:
            await http.post(f"/v1/keys/{id_of(leaked)}/revoke", json={"descendants": True})
            for key in (leaked, child, grandchild):
                assert (await http.get(f"/v1/keys/{id_of(key)}")).json()["revoked_at"] is not None
        assert await good(api, owners) == 200

    async def test_the_replica_that_revokes_a_family_lets_none_of_it_in_from_then_on(self, api: Api) -> None:
        leaked, owners = await api.key(), await api.key()
        async with in_process(api.app, leaked) as http:
            child = (await http.post("/v1/keys")).json()["key"]
        assert await good(api, leaked) == await good(api, child) == 200
        async with in_process(api.app, owners) as http:
            (await http.post(f"/v1/keys/{id_of(leaked)}/revoke", json={"descendants": True})).raise_for_status()
        assert await good(api, leaked) == await good(api, child) == 401

    async def test_a_revoked_key_opens_nothing_at_once_even_if_the_database_is_lost_before_its_descendants(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        leaked, owners = await api.key(), await api.key()
        assert await good(api, leaked) == 200

        async def lost(key_id: str) -> list[str]:
            raise StoreUnavailable("lost")

        monkeypatch.setattr(api.services.store, "revoke_made_by", lost)
        async with in_process(api.app, owners) as http:
            answer = await http.post(f"/v1/keys/{id_of(leaked)}/revoke", json={"descendants": True})
        assert answer.status_code == 503
        assert await good(api, leaked) == 401

    async def test_a_replaced_key_goes_on_for_the_overlap_and_no_longer(self, api: Api) -> None:
        keeper, old, at_once = await api.key(), await api.key(), await api.key()
        async with in_process(api.app, keeper) as http:
            new = (await http.post(f"/v1/keys/{id_of(old)}/rotate", json={"overlap_s": 3600})).json()
            shown = (await http.get(f"/v1/keys/{id_of(old)}")).json()
            await http.post(f"/v1/keys/{id_of(at_once)}/rotate", json={"overlap_s": 0})
        assert shown["replaced_by"] == new["id"]
        assert 3500 < shown["expires_at"] - time.time() <= 3600
        assert await good(api, old) == await good(api, new["key"]) == 200
        assert await good(api, at_once) == 401
        error = await refused(api, keeper, f"/v1/keys/{id_of(old)}/rotate", {}, status=400)
        assert new["id"] in error["message"]


class TestAddresses:
    """Which address counts: of strangers the connection's, of the proxy what it says, never what a caller says."""

    @pytest.mark.parametrize("credential", [str, token], ids=["key", "token"])
    async def test_a_key_is_refused_from_elsewhere_whatever_its_headers_say(self, api: Api, credential: Any) -> None:
        key = credential(await api.key(allow=ALLOWED))
        for name in ("x-forwarded-for", "x-real-ip", "forwarded", "cf-connecting-ip", "true-client-ip", "client-ip"):
            said = f"for={OFFICE}" if name == "forwarded" else OFFICE
            async with in_process(api.app, key, address=ELSEWHERE, headers={name: said}) as http:
                answer = await http.get(VIDEOS)
                assert (answer.status_code, answer.json()["error"]["code"]) == (403, "address_not_allowed")
                answer = await http.get(TASK)
                assert (answer.status_code, answer.json()["error"]["code"]) == (403, "1220")
        async with in_process(api.app, key, address=OFFICE) as http:
            assert (await http.get(VIDEOS)).status_code == 200

    @pytest.mark.parametrize(
        ("forwarded", "status"),
        [
            (OFFICE, 200),
            (f"{OFFICE}, {ELSEWHERE}", 403),  # the caller wrote the first one, the proxy the second
            (f"{ELSEWHERE}, {OFFICE}", 200),
            (f"{OFFICE}, {PROXY}, {ELSEWHERE}", 403),
            (f"{OFFICE},", 403),
            (f"{OFFICE}, nobody", 403),
            ("", 403),
        ],
    )
    async def test_behind_the_proxy_its_own_word_counts_and_not_the_callers(
        self, api: Api, forwarded: str, status: int
    ) -> None:
        key, headers = await api.key(allow=ALLOWED), {"x-forwarded-for": forwarded}
        async with in_process(api.app, key, address=PROXY, headers=headers) as http:
            assert (await http.get(VIDEOS)).status_code == status

    async def test_the_server_itself_believes_nobody_on_its_own_machine(self, api: Api) -> None:
        """uvicorn does so by default: who reaches 127.0.0.1 would be wherever they say."""
        key, local = await api.key(allow=ALLOWED), await api.key(allow=(ip_network("127.0.0.0/8"),))
        async with listening(api.app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            headers = {"authorization": f"Bearer {key}", "x-forwarded-for": OFFICE}
            assert (await http.get(VIDEOS, headers=headers)).status_code == 403
            headers["authorization"] = f"Bearer {local}"
            assert (await http.get(VIDEOS, headers=headers)).status_code == 200
