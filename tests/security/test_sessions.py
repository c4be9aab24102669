"""Attacks on the console's sessions: forged, stolen, fixed, old, of revoked keys, and requests of other sites."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from api.native import events
from orchestrator.domain.masters import Ring
from orchestrator.domain.rights import USUAL, Scope
from orchestrator.tenants import cookies
from orchestrator.tenants.cookies import Purpose
from tests.support.api import MASTER_KEY, Api, id_of, in_process, listening, reaching
from tests.support.signing_in import COOKIE, SESSION, sign_in, signed_in

pytestmark = pytest.mark.asyncio(loop_scope="module")

VIDEOS = "/v1/videos"
PAUSE = {"reason": "a test"}


async def stands(api: Api, cookie: str, address: str = "127.0.0.1") -> int:
    """How a request with this cookie is answered."""
    async with in_process(api.app, address=address) as http:
        return (await http.get(VIDEOS, headers=[(b"cookie", f"{COOKIE}={cookie}".encode())])).status_code


async def sql(api: Api, statement: str, *values: object) -> None:
    connection = await asyncpg.connect(api.settings.database_url)
    try:
        await connection.execute(statement, *values)
    finally:
        await connection.close()


class TestWhatASessionIs:
    async def test_it_is_the_key_that_signed_in_and_may_what_that_may(self, api: Api) -> None:
        key = await api.key(scopes=frozenset({Scope.READ, Scope.SUBMIT}))
        async with in_process(api.app) as http:
            body = await sign_in(http, key)
            assert body == (await http.get(SESSION)).raise_for_status().json()
            assert (body["tenant"], body["key_id"], body["person"]) == (api.tenant, id_of(key), None)
            assert (body["rights"], body["role"], body["all_tenants"]) == (["read", "submit"], None, False)
            made = await http.post(VIDEOS, json={"prompt": "a mill"})
            assert made.status_code == 200
            assert (await http.get(f"{VIDEOS}/{made.json()['id']}")).status_code == 200
            assert (await http.get("/v1/keys")).status_code == 403
            assert (await http.get("/v1/admin/tenants")).status_code == 403

    @pytest.mark.parametrize(
        ("scopes", "role", "all_tenants"),
        [
            ({"view"}, "viewer", True),
            ({"view", "operate"}, "operator", True),
            ({"admin", "view", "operate"}, "admin", True),
        ],
    )
    async def test_an_administrators_says_so(self, api: Api, scopes: set[str], role: str, all_tenants: bool) -> None:
        async with in_process(api.app) as http:
            body = await sign_in(http, await api.key(scopes=frozenset(map(Scope, scopes))))
            assert (body["role"], body["all_tenants"]) == (role, all_tenants)
            assert (await http.get("/v1/admin/tenants")).status_code == 200

    async def test_the_cookie_is_for_this_site_alone_and_for_no_script(self, api: Api) -> None:
        key = await api.key()
        async with in_process(api.app) as http:
            plain = await http.post(SESSION, json={"key": key})
            behind_tls = await http.post(SESSION, json={"key": key}, headers={"x-forwarded-proto": "https"})
        said = [part.strip().lower() for part in plain.headers["set-cookie"].split(";")]
        assert said[0].startswith(f"{COOKIE}=")
        assert {"httponly", "samesite=strict", "path=/", "max-age=43200"} <= set(said)
        assert not any(part.startswith("domain") for part in said)
        assert "secure" not in said
        # With this prefix no other host of the domain can set it.
        said = [part.strip().lower() for part in behind_tls.headers["set-cookie"].split(";")]
        assert said[0].startswith(f"__host-{COOKIE}=")
        assert {"secure", "httponly", "samesite=strict", "path=/"} <= set(said)
        assert plain.headers["cache-control"] == "no-store"

    async def test_nothing_of_it_is_in_the_database_or_a_log(self, api: Api) -> None:
        key = await api.key()
        with capture_logs() as logged:
            async with signed_in(api.app, key) as http:
                cookie, csrf = http.cookies[COOKIE], http.headers["x-csrf-token"]
                assert (await http.get(VIDEOS)).status_code == 200
        connection = await asyncpg.connect(api.settings.database_url)
        rows = await connection.fetch("SELECT * FROM console_sessions WHERE tenant = $1", api.tenant)
        trail = await connection.fetch("SELECT * FROM audit WHERE tenant = $1", api.tenant)
        await connection.close()
        assert len(rows) == 1
        everything = f"{[dict(row) for row in (*rows, *trail)]} {logged}"
        for secret in (key.split(".")[1], csrf, *cookie.split(".")):
            assert secret not in everything

    async def test_signing_in_and_out_is_in_the_audit_log_with_who_and_from_where(self, api: Api) -> None:
        key = await api.key()
        async with signed_in(api.app, key, address="192.0.2.7") as http:
            assert (await http.delete(SESSION)).status_code == 204
        admin = await api.key(scopes=frozenset({Scope.VIEW}))
        async with in_process(api.app, admin) as http:
            told = (await http.get("/v1/admin/audit", params={"actor": f"key:{id_of(key)}"})).json()["data"]
        assert [entry["action"] for entry in told] == ["session.end", "session.begin"]
        assert {entry["address"] for entry in told} == {"192.0.2.7"}
        assert len({entry["subject"] for entry in told}) == 1

    async def test_what_is_done_in_it_is_recorded_as_that_keys(self, api: Api) -> None:
        key = await api.key(scopes=frozenset({Scope.OPERATE, Scope.VIEW}))
        async with signed_in(api.app, key) as http:
            (await http.post("/v1/admin/pools/small/pause", json=PAUSE)).raise_for_status()
            (await http.post("/v1/admin/pools/small/resume")).raise_for_status()
            told = (await http.get("/v1/admin/audit", params={"actor": f"key:{id_of(key)}"})).json()["data"]
        assert [entry["action"] for entry in told] == ["pool.resume", "pool.pause", "session.begin"]


class TestForged:
    async def test_what_the_server_did_not_sign_is_none(self, api: Api) -> None:
        async with signed_in(api.app, await api.key()) as http:
            cookie = http.cookies[COOKIE]
        secret, _, signature = cookie.rpartition(".")
        other = cookies.new_secret()
        forged = [
            "", ".", "x", secret, f"{secret}.", f".{signature}", cookie[:-1], cookie + "A", cookie * 20,
            f"{other}.{signature}", f"{secret}.{cookies.derive('another master key', Purpose.SESSION, secret)}",
            cookies.sign(MASTER_KEY, Purpose.CSRF, secret), cookies.sign(MASTER_KEY, Purpose.SIGN_IN, secret),
            cookies.sign(MASTER_KEY, Purpose.SESSION, other), cookie.upper(), "%00", "é",
        ]  # fmt: skip
        for each in forged:
            assert await stands(api, each) == 401, each
        assert await stands(api, cookie) == 200

    async def test_the_purposes_keep_apart_and_none_is_a_keys_secret(self) -> None:
        text = "cgm_0123456789abcdef"
        made = {cookies.derive(MASTER_KEY, purpose, text) for purpose in Purpose}
        assert len(made) == len(Purpose)
        signed = cookies.sign(MASTER_KEY, Purpose.SESSION, text)
        assert cookies.verify(Ring.of(MASTER_KEY), Purpose.SESSION, signed) == (text, 1)
        assert all(cookies.verify(Ring.of(MASTER_KEY), it, signed) is None for it in Purpose if it != Purpose.SESSION)
        assert all(":" in purpose for purpose in Purpose)  # no id of a key has one (`tenants/keys.py`)

    async def test_a_signature_of_another_generation_than_the_rows_opens_nothing(self, api: Api) -> None:
        async with signed_in(api.app, await api.key()) as http:
            await sql(api, "UPDATE console_sessions SET master = 2 WHERE tenant = $1", api.tenant)
            assert (await http.get(VIDEOS)).status_code == 401

    async def test_a_key_or_a_token_in_the_cookie_is_no_session_and_no_token_begins_one(self, api: Api) -> None:
        key = await api.key()
        assert await stands(api, key) == 401
        now = datetime.now(UTC).timestamp() * 1000
        import jwt

        token = jwt.encode(
            {"api_key": id_of(key), "exp": now + 60_000, "timestamp": now}, key.split(".")[1], algorithm="HS256"
        )
        async with in_process(api.app) as http:
            for whole in (token, "", "x", f"{id_of(key)}.", f"{key}x", f"Bearer {token}", "cgm_nobodys.0000"):
                answer = await http.post(SESSION, json={"key": whole})
                assert answer.status_code in (400, 401), whole
                assert not answer.headers.get("set-cookie")
                assert whole not in answer.text or len(whole) < 2
            assert (await http.post(SESSION, json={"key": key, "session": "mine"})).status_code == 400
            assert (await http.post(SESSION, content=b"x" * 5000)).status_code == 413


class TestItsEnd:
    async def test_a_stolen_cookie_is_worth_nothing_after_the_sign_out(self, api: Api) -> None:
        async with signed_in(api.app, await api.key()) as http:
            cookie = http.cookies[COOKIE]
            answer = await http.delete(SESSION)
            assert answer.status_code == 204
            assert "max-age=0" in answer.headers["set-cookie"].lower()
            assert COOKIE not in http.cookies
        assert await stands(api, cookie) == 401

    async def test_a_revoked_keys_ends_at_the_next_request(self, api: Api) -> None:
        """Also where another replica has revoked it: nothing of it is kept here."""
        key = await api.key()
        async with signed_in(api.app, key) as http:
            assert (await http.get(VIDEOS)).status_code == 200
            await api.services.store.revoke_key(id_of(key))
            for path in (VIDEOS, SESSION):
                answer = await http.get(path)
                assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
                assert "revoked" in answer.text

    async def test_an_expired_keys_ends_with_it(self, api: Api) -> None:
        key = await api.key(expires_at=datetime.now(UTC) + timedelta(hours=1))
        async with signed_in(api.app, key) as http:
            assert (await http.get(VIDEOS)).status_code == 200
            await sql(api, "UPDATE keys SET expires_at = now() WHERE id = $1", id_of(key))
            assert (await http.get(VIDEOS)).status_code == 401

    async def test_scopes_and_networks_hold_as_the_keys_row_says_them_now(self, api: Api) -> None:
        key = await api.key(scopes=USUAL, allow=(ipaddress.ip_network("192.0.2.0/24"),))
        async with in_process(api.app) as http:
            assert (await http.post(SESSION, json={"key": key})).status_code == 403
        async with signed_in(api.app, key, address="192.0.2.7") as http:
            assert (await http.get(VIDEOS)).status_code == 200
            assert await stands(api, http.cookies[COOKIE], address="198.51.100.1") == 403
            await sql(api, "UPDATE keys SET scopes = '{keys}' WHERE id = $1", id_of(key))
            assert (await http.get(VIDEOS)).status_code == 403

    @pytest.mark.parametrize("late", ["expires_at = now()", "used_at = now() - interval '121 minutes'"])
    async def test_it_ends_when_it_is_old_and_when_nobody_used_it(self, api: Api, late: str) -> None:
        async with signed_in(api.app, await api.key()) as http:
            await sql(api, f"UPDATE console_sessions SET {late} WHERE tenant = $1", api.tenant)
            assert (await http.get(VIDEOS)).status_code == 401

    async def test_using_it_keeps_it(self, api: Api) -> None:
        async with signed_in(api.app, await api.key()) as http:
            for _ in range(2):
                old = "UPDATE console_sessions SET used_at = used_at - interval '119 minutes' WHERE tenant = $1"
                await sql(api, old, api.tenant)
                assert (await http.get(VIDEOS)).status_code == 200

    async def test_of_one_key_there_are_so_many_and_the_first_go(self, api: Api) -> None:
        key, made = await api.key(), []
        for _ in range(21):
            async with signed_in(api.app, key) as http:
                made.append(http.cookies[COOKIE])
        assert [await stands(api, cookie) for cookie in made] == [401, *[200] * 20]
        # As after a clock that ran an hour fast: those that were begun then are the younger ones for ever.
        later = "SET created_at = created_at + interval '1 hour', used_at = used_at + interval '1 hour'"
        await sql(api, f"UPDATE console_sessions {later} WHERE tenant = $1", api.tenant)
        async with signed_in(api.app, key) as http:
            assert await stands(api, http.cookies[COOKIE]) == 200

    async def test_nor_are_there_more_where_all_sign_in_at_once(self, api: Api) -> None:
        key = await api.key()

        async def begun() -> str:
            async with signed_in(api.app, key) as http:
                return http.cookies[COOKIE]

        made = await asyncio.gather(*(begun() for _ in range(50)))
        assert [await stands(api, cookie) for cookie in made].count(200) == 20

    async def test_what_is_long_over_leaves_the_database_with_the_next_sign_in(self, api: Api) -> None:
        async with signed_in(api.app, await api.key()):
            old = "UPDATE console_sessions SET expires_at = now() - interval '1 hour' WHERE tenant = $1"
            await sql(api, old, api.tenant)
        async with signed_in(api.app, await api.key()):
            pass
        connection = await asyncpg.connect(api.settings.database_url)
        rows = await connection.fetchval("SELECT count(*) FROM console_sessions WHERE tenant = $1", api.tenant)
        await connection.close()
        assert rows == 1

    async def test_a_stream_of_events_ends_with_it(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
        video = (await api.http.post(VIDEOS, json={"prompt": "a mill"})).raise_for_status().json()
        async with listening(api.app) as port, reaching(f"http://127.0.0.1:{port}") as http:
            await sign_in(http, await api.key())
            async with http.stream("GET", f"{VIDEOS}/{video['id']}/events") as answer:
                lines = answer.aiter_lines()
                async for line in lines:
                    if line.startswith(":"):  # all that there is to tell is told
                        break
                assert (await http.delete(SESSION)).status_code == 204
                rest = [line async for line in lines if line and not line.startswith(":")]
        assert rest[0] == "event: revoked"


class TestFixation:
    async def test_each_sign_in_has_a_session_of_its_own_and_ends_the_one_before(self, api: Api) -> None:
        mallory, alice = await api.key(), await api.key()
        async with signed_in(api.app, mallory) as http:
            fixed = http.cookies[COOKIE]
            # What a thief has planted is what the browser has when somebody else signs in.
            await sign_in(http, alice)
            assert http.cookies[COOKIE] != fixed
            assert (await http.get(SESSION)).json()["key_id"] == id_of(alice)
        assert await stands(api, fixed) == 401

    async def test_an_id_that_was_made_up_is_never_taken_over(self, api: Api) -> None:
        planted = cookies.sign("another master key", Purpose.SESSION, cookies.new_secret())
        async with in_process(api.app, headers={"cookie": f"{COOKIE}={planted}"}) as http:
            answer = await http.post(SESSION, json={"key": await api.key()})
        assert answer.status_code == 201
        assert planted not in answer.headers["set-cookie"]
        assert await stands(api, planted) == 401

    async def test_it_is_in_no_url(self, api: Api) -> None:
        async with signed_in(api.app, await api.key()) as http:
            cookie = http.cookies[COOKIE]
        async with in_process(api.app) as http:
            for name in (COOKIE, "session", "key", "csrf"):
                assert (await http.get(VIDEOS, params={name: cookie})).status_code == 401
            for header in ("x-session", "x-csrf-token", "authorization"):
                assert (await http.get(VIDEOS, headers={header: cookie})).status_code == 401


class TestCrossSite:
    @pytest_asyncio.fixture(loop_scope="module")
    async def http(self, api: Api) -> AsyncIterator[httpx.AsyncClient]:
        async with signed_in(api.app, await api.key()) as http:
            yield http

    async def refused(self, http: httpx.AsyncClient, *, drop: bool = False, **headers: str) -> None:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        for method, path in (("POST", VIDEOS), ("DELETE", SESSION), ("POST", "/v1/keys"), ("DELETE", f"{VIDEOS}/x")):
            request = http.build_request(method, path, headers=sent)
            if drop:
                del request.headers["x-csrf-token"]
            answer = await http.send(request)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "csrf")

    async def test_without_the_token_nothing_is_changed(self, http: httpx.AsyncClient) -> None:
        await self.refused(http, drop=True)
        assert (await http.get(SESSION)).status_code == 200

    async def test_another_sessions_token_is_none(self, api: Api, http: httpx.AsyncClient) -> None:
        async with signed_in(api.app, await api.key()) as other:
            await self.refused(http, x_csrf_token=other.headers["x-csrf-token"])
        for wrong in ("", "x", http.headers["x-csrf-token"][:-1], http.headers["x-csrf-token"] + "x", "é"):
            answer = await http.post(VIDEOS, headers=[(b"x-csrf-token", wrong.encode())])
            assert answer.status_code == 403

    async def test_with_the_token_from_another_origin_it_is_refused_all_the_same(self, http: httpx.AsyncClient) -> None:
        for site in ("cross-site", "same-site", "nonsense"):
            await self.refused(http, sec_fetch_site=site)
        for origin in ("https://evil.example", "null", "http://api.evil.example", "http://evil.example/http://api"):
            await self.refused(http, origin=origin)
        for fine in ({"sec-fetch-site": "same-origin"}, {"origin": "http://api"}, {}):
            assert (await http.post(VIDEOS, json={"prompt": "a mill"}, headers=fine)).status_code == 200

    async def test_what_a_page_of_a_sibling_domain_reads_is_refused_and_a_link_is_followed(
        self, http: httpx.AsyncClient
    ) -> None:
        read = {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}
        assert (await http.get(VIDEOS, headers=read)).status_code == 403
        followed = {"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate"}
        assert (await http.get(VIDEOS, headers=followed)).status_code == 200

    async def test_nobody_is_signed_in_by_another_sites_page(self, api: Api) -> None:
        key = await api.key()
        async with in_process(api.app) as http:
            for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
                assert (await http.post(SESSION, json={"key": key}, headers=headers)).status_code == 403
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
                body = f'{{"key": "{key}"}}'.encode()
                answer = await http.post(SESSION, content=body, headers={"content-type": kind})
                assert answer.status_code == 400, kind
                assert "set-cookie" not in answer.headers

    async def test_a_header_comes_before_the_cookie_and_needs_no_token(self, api: Api, http: httpx.AsyncClient) -> None:
        key = await api.key(f"other-{api.tenant}")
        request = http.build_request(
            "POST", VIDEOS, json={"prompt": "a mill"}, headers={"authorization": f"Bearer {key}"}
        )
        del request.headers["x-csrf-token"]
        assert (await http.send(request)).status_code == 200
        assert await api.rows() == 0
        wrong = {"authorization": "Bearer nonsense"}
        assert (await http.get(VIDEOS, headers=wrong)).status_code == 401

    async def test_refusals_are_counted_with_their_reason(self, api: Api, http: httpx.AsyncClient) -> None:
        with capture_logs() as logged:
            await self.refused(http, drop=True)
        assert [line["reason"] for line in logged if line["event"] == "refused"] in (["csrf"], [])
        await api.services.refusals.flush()
        admin = await api.key(scopes=frozenset({Scope.VIEW}))
        async with in_process(api.app, admin) as other:
            told = (await other.get("/v1/admin/audit", params={"action": "authentication.fail"})).json()["data"]
        assert "csrf" in {entry["after"]["reason"] for entry in told}
