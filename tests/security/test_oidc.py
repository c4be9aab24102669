"""Attacks with tokens of people, against a real issuer over HTTP: forged, of others, for others, old, large, many."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI
from structlog.testing import capture_logs

from api.native import events
from orchestrator.adapters.issuers import fetch_of
from orchestrator.config import OidcSettings, Settings
from orchestrator.domain.errors import ConfigError, IssuerUnavailable
from orchestrator.domain.rights import ROLES, USUAL, Role, Scope
from tests.support.api import POOL, Api, api_settings, id_of, in_process, listening, reaching, serving
from tests.support.certificates import certificate
from tests.support.issuer import AUDIENCE, DISCOVERY, JWKS, Issuer, issuing, secret_key
from tests.support.postgres import Server
from tests.support.s3 import S3Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

VIDEOS, KEYS = "/v1/videos", "/v1/keys"
GIVES = {"admins": ["admin"], "ops": ["operator"], "lookers": ["viewer"], "makers": ["usual"], "readers": ["read"]}
LONG_AGO = 1_000_000_000


@pytest.fixture(scope="module")
def issuers() -> Iterator[dict[str, Issuer]]:
    """Each with the name that the settings have for it; nobody answers where `gone` was."""
    with ExitStack() as stack:
        kinds = {"corp": "RS256", "home": "EdDSA", "flood": "ES256", "slow": "ES256", "moving": "ES256"}
        found = {name: stack.enter_context(issuing(algorithm=kind)) for name, kind in kinds.items()}
        with socket.create_server(("127.0.0.1", 0)) as closed:
            found["gone"] = Issuer(url=f"http://127.0.0.1:{closed.getsockname()[1]}")
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api_app(
    postgres_server: Server, migrated_template: str, s3_server: S3Server, issuers: dict[str, Issuer]
) -> AsyncIterator[tuple[FastAPI, Settings]]:
    """As every test's, with these issuers."""
    database = postgres_server.new_database(migrated_template)
    settings = api_settings(postgres_server.url(database), s3_server.new_bucket())
    usual = {"audience": [AUDIENCE], "tenant_claim": "tenant", "roles": GIVES, "leeway_s": 0}
    own: dict[str, dict[str, Any]] = {
        "corp": {"role_claim": "/realm_access/roles"},
        "home": {"algorithms": ["EdDSA"], "everybody": ["usual"], "made_keys_s": 3600},
        "flood": {"keys_again_s": 3600},
        "slow": {"timeout_s": 0.2},
        "moving": {"keys_again_s": 1},
        "gone": {},
    }
    oidc = {name: usual | {"issuer": issuers[name].url} | own[name] for name in own}
    async with serving(Settings.model_validate(settings.model_dump() | {"oidc": oidc})) as app:
        yield app, settings
    postgres_server.drop_database(database)


@pytest.fixture
def corp(issuers: dict[str, Issuer]) -> Issuer:
    return issuers["corp"]


def of_corp(corp: Issuer, api: Api, headers: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token of somebody who makes videos for the test's tenant."""
    return corp.token(headers, **{"tenant": api.tenant, "realm_access": {"roles": ["makers"]}, **claims})


async def asked(api: Api, token: str, path: str = VIDEOS) -> httpx.Response:
    async with in_process(api.app, token) as http:
        return await http.get(path)


async def refused(api: Api, token: str, status: int = 401) -> str:
    """What is said to whoever sends it; in which nothing of it is."""
    with capture_logs() as logged:
        answer = await asked(api, token)
    assert answer.status_code == status, answer.text
    secrets = [part for part in token.split(".") if len(part) > 20]
    assert not any(part in answer.text or part in json.dumps(logged, default=str) for part in secrets)
    message: str = answer.json()["error"]["message"]
    return message


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def by_hand(head: dict[str, Any], claims: dict[str, Any], secret: bytes | None = None) -> str:
    """A token that no library would make."""
    text = f"{part(head)}.{part(claims)}"
    seal = b"" if secret is None else hmac.digest(secret, text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(seal).rstrip(b'=').decode()}"


class TestWhoSomebodyIs:
    @pytest.mark.parametrize(
        ("roles", "scopes"),
        [
            (["makers"], USUAL),
            (["lookers"], ROLES[Role.VIEWER]),
            (["ops"], ROLES[Role.OPERATOR]),
            (["admins"], ROLES[Role.ADMIN]),
            (["readers", "ops", "strangers"], ROLES[Role.OPERATOR] | {Scope.READ}),
        ],
    )
    async def test_roles_give_what_the_settings_say(
        self, api: Api, corp: Issuer, roles: list[str], scopes: frozenset[Scope]
    ) -> None:
        token = of_corp(corp, api, realm_access={"roles": roles})
        key = await api.services.keyring.key(f"Bearer {token}")
        assert (key.id, key.tenant, key.rights.scopes) == ("oidc:corp#ada", api.tenant, scopes)
        assert (await asked(api, token)).status_code == (200 if Scope.READ in scopes else 403)
        assert (await asked(api, token, "/v1/pools")).status_code == (200 if Scope.OPERATE in scopes else 403)

    async def test_what_somebody_does_is_told_by_the_name_that_the_issuer_gives(self, api: Api, corp: Issuer) -> None:
        async with in_process(api.app, of_corp(corp, api, realm_access={"roles": ["admins"]})) as http:
            paused = (await http.post(f"/v1/admin/pools/{POOL}/pause", json={"reason": "a test"})).raise_for_status()
            (await http.post(f"/v1/admin/pools/{POOL}/resume")).raise_for_status()
            named = {"confirm": f"{api.tenant}-gone"}
            (await http.put(f"/v1/admin/tenants/{named['confirm']}")).raise_for_status()
            erased = await http.post(f"/v1/admin/tenants/{named['confirm']}/erasure", json=named)
        assert paused.json()["pauses"][0]["paused_by"] == f"{api.tenant} (oidc:corp#ada)"
        assert erased.raise_for_status().json()["requested_by"] == "oidc:corp#ada"

    async def test_somebody_makes_and_sees_the_tenants_videos_alone(self, api: Api, corp: Issuer) -> None:
        made = (await api.http.post(VIDEOS, json={"prompt": "a mill"})).raise_for_status().json()
        path = f"{VIDEOS}/{made['id']}"
        assert (await asked(api, of_corp(corp, api), path)).json()["id"] == made["id"]
        other = f"other-{api.tenant}"
        await api.key(other)
        assert (await asked(api, of_corp(corp, api, tenant=other), path)).status_code == 404
        async with in_process(api.app, of_corp(corp, api)) as http:
            assert (await http.post(VIDEOS, json={"prompt": "a mill"})).status_code == 200
        assert await api.rows() == 2

    @pytest.mark.parametrize("tenant", [None, 7, True, ["acme"], {"acme": 1}, "", "nobody's"])
    async def test_a_tenant_that_there_is_not_is_none(self, api: Api, corp: Issuer, tenant: object) -> None:
        assert "tenant" in await refused(api, of_corp(corp, api, tenant=tenant), status=403)

    @pytest.mark.parametrize("access", [None, {}, {"roles": []}, {"roles": "admin"}, ["admins"], {"roles": {"ops": 1}}])
    async def test_without_a_role_somebody_may_nothing(self, api: Api, corp: Issuer, access: object) -> None:
        assert "gives no role" in await refused(api, of_corp(corp, api, realm_access=access), status=403)

    async def test_the_other_dialect_refuses_in_its_own_words(
        self, api: Api, corp: Issuer, issuers: dict[str, Issuer]
    ) -> None:
        path = "/api/paas/v4/async-result/video_0"
        nobody, gone = of_corp(corp, api, realm_access={}), issuers["gone"].token(tenant=api.tenant, roles="makers")
        other = of_corp(corp, api, aud="another")
        for token, status, code in ((other, 401, "1004"), (nobody, 403, "1220"), (gone, 503, "1234")):
            answer = await asked(api, token, path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)

    async def test_an_administrator_does_what_a_key_does_and_is_in_the_audit_log_by_name(
        self, api: Api, corp: Issuer
    ) -> None:
        """Whoever has the role `admin`; an operator of the same issuer may not, which is in there, too."""
        path = f"/v1/admin/tenants/{api.tenant}"
        admin, operator = (of_corp(corp, api, realm_access={"roles": [role]}) for role in ("admins", "ops"))
        async with in_process(api.app, admin, headers={"x-request-id": "trace-7"}) as http:
            assert (await http.patch(path, json={"weight": 4})).raise_for_status().json()["weight"] == 4
            async with in_process(api.app, operator) as other:
                assert (await other.patch(path, json={"weight": 9})).status_code == 403
            trail = (await http.get("/v1/admin/audit", params={"actor": "oidc:corp#ada"})).raise_for_status().json()
        (entry,) = [each for each in trail["data"] if each["tenant"] == api.tenant]
        assert (entry["action"], entry["subject"]) == ("tenant.weight", f"tenant:{api.tenant}")
        assert (entry["before"], entry["after"]) == ({"weight": 1.0}, {"weight": 4.0})
        assert (entry["actor_tenant"], entry["request_id"]) == (api.tenant, "trace-7")

    async def test_scopes_and_ids_of_keys_in_a_token_mean_nothing(self, api: Api, corp: Issuer) -> None:
        key = id_of(await api.key(scopes=frozenset(Scope)))
        token = of_corp(corp, api, scope="operate admin", scopes=["admin"], api_key=key, timestamp=time.time() * 1000)
        assert (await asked(api, token, "/v1/pools")).status_code == 403


class TestForged:
    @pytest.mark.parametrize(
        ("claims", "said"),
        [
            ({"aud": "another"}, "somebody else"),
            ({"aud": ["another", "third"]}, "somebody else"),
            ({"aud": None}, "lacks"),
            ({"aud": []}, "lacks"),
            ({"aud": {AUDIENCE: 1}}, "somebody else"),
            ({"exp": LONG_AGO}, "expired"),
            ({"exp": None}, "lacks"),
            ({"exp": "soon"}, "not valid"),
            ({"exp": 1e300}, "'exp'"),
            ({"exp": True}, "expired"),
            ({"nbf": int(time.time()) + 3000}, "not valid yet"),
            ({"iat": int(time.time()) + 3000}, "not valid yet"),
            ({"sub": None}, "lacks"),
            ({"sub": "a\nb"}, "'sub'"),
            ({"sub": ""}, "'sub'"),
            ({"sub": "a" * 256}, "'sub'"),
        ],
    )
    async def test_what_is_for_others_old_early_or_nobodys_is_refused(
        self, api: Api, corp: Issuer, claims: dict[str, Any], said: str
    ) -> None:
        assert said in await refused(api, of_corp(corp, api, **claims))

    async def test_without_a_signature_or_by_a_shared_secret_it_is_refused(self, api: Api, corp: Issuer) -> None:
        """The public key is everybody's: whoever takes HS256 lets everybody sign with it (RFC 8725, section 2.1)."""
        claims = corp.claims(tenant=api.tenant, realm_access={"roles": ["admins"]})
        public = corp.key.public_key()
        secrets = [
            public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            json.dumps(corp.jwks["keys"][0]).encode(),
        ]
        for secret in secrets:
            token = by_hand({"alg": "HS256", "typ": "JWT", "kid": corp.kid}, claims, secret)
            assert "not signed by one of" in await refused(api, token)
        for none in ("none", "None", "", None, 7, ["RS256"]):
            assert await refused(api, by_hand({"alg": none, "kid": corp.kid}, claims))
            assert await refused(api, by_hand({"alg": none, "kid": corp.kid}, claims, b"x"))
        assert await refused(api, by_hand({"alg": "RS256", "kid": corp.kid}, claims))

    async def test_an_algorithm_that_is_not_set_is_refused_and_so_is_another_kinds_key(
        self, api: Api, corp: Issuer
    ) -> None:
        assert "not signed by one of" in await refused(api, of_corp(corp, api, {"alg": "PS256"}))
        assert await refused(api, of_corp(corp, api, {"alg": "ES256"}, key=secret_key("ES256")))

    async def test_a_head_says_neither_where_keys_lie_nor_what_they_are(self, api: Api, corp: Issuer) -> None:
        mine = secret_key("RS256")
        with issuing(algorithm="RS256") as own:
            heads: list[dict[str, Any]] = [
                {"jku": own.url + JWKS},
                {"x5u": own.url + JWKS},
                {"jwk": own.jwks["keys"][0]},
                {"x5c": ["MIIB"]},
                {"kid": own.url + JWKS},
                {"kid": "../../../../dev/null"},
                {"kid": "' OR 1=1 --"},
                {"kid": "k" * 256},
                {"crit": ["exp"]},
                {"typ": "logout+jwt"},
                {"typ": 7},
            ]
            for head in heads:
                assert await refused(api, of_corp(corp, api, head, key=mine))
                assert await refused(api, of_corp(corp, api, head, key=own.key))
            assert not own.asked

    async def test_somebody_elses_issuer_makes_none_of_ours(
        self, api: Api, corp: Issuer, issuers: dict[str, Issuer]
    ) -> None:
        with issuing(algorithm="RS256") as other:
            assert await refused(api, of_corp(other, api))  # no issuer of ours: an SDK's, or nobody's
            assert await refused(api, of_corp(other, api, iss=corp.url))
            assert not other.asked
        for near in (corp.url + "/", corp.url.upper(), None):
            assert await refused(api, of_corp(corp, api, iss=near))
        for strange in ([corp.url], {corp.url: 1}, 7):
            assert await refused(api, by_hand({"alg": "RS256", "kid": corp.kid}, corp.claims(iss=strange), b"x"))
        mixed = of_corp(issuers["home"], api, iss=corp.url)  # one of ours for another of ours
        assert await refused(api, mixed)

    async def test_what_is_no_token_is_refused_however_it_is_broken(self, api: Api, corp: Issuer) -> None:
        head, claims, seal = of_corp(corp, api).split(".")
        bare = part({"iss": corp.url})
        nested = base64.urlsafe_b64encode(b"[" * 3000).decode()
        for token in (
            f"{head}.{claims}", f"{head}.{claims}.", f"{head}..{seal}", f".{claims}.{seal}", f"x.{claims}.{seal}",
            f"{claims}.{claims}.{seal}", f"{part([corp.url])}.{claims}.{seal}", f"{nested}.{claims}.{seal}",
            f"{head}.{bare}.{seal}", f"{head}.{claims}.{seal[:-8]}", f"{head}.{nested}.{seal}",
        ):  # fmt: skip
            assert await refused(api, token)

    async def test_up_to_8_kib_are_taken_by_the_server_and_no_more(self, api: Api, corp: Issuer) -> None:
        lacks = 8 * 1024 - len(of_corp(corp, api, groups=""))
        largest = of_corp(corp, api, groups="g" * (lacks * 3 // 4 - 3))
        assert 8180 < len(largest) <= 8192
        async with listening(api.app) as port, reaching(f"http://127.0.0.1:{port}", largest) as http:
            assert (await http.get(VIDEOS)).status_code == 200
        assert "8192 bytes" in await refused(api, of_corp(corp, api, groups="g" * lacks))

    async def test_tokens_of_the_bigmodel_clients_and_keys_go_on(self, api: Api) -> None:
        key = await api.key()
        now = int(time.time() * 1000)
        claims = {"api_key": id_of(key), "exp": now + 210_000, "timestamp": now}
        token = by_hand({"alg": "HS256", "sign_type": "SIGN"}, claims, key.split(".")[1].encode())
        assert [(await asked(api, each)).status_code for each in (key, token)] == [200, 200]


class TestKeysOfIssuers:
    async def test_made_up_ids_of_keys_are_one_question_however_many_there_are(
        self, api: Api, issuers: dict[str, Issuer]
    ) -> None:
        flood = issuers["flood"]
        good = flood.token(tenant=api.tenant, roles="makers")
        tokens = [flood.token({"kid": f"made up {n}"}, tenant=api.tenant, roles="makers") for n in range(60)]
        async with in_process(api.app) as http:
            headers = [{"authorization": f"Bearer {token}"} for token in [good, *tokens]]
            answers = await asyncio.gather(*(http.get(VIDEOS, headers=each) for each in headers))
        assert [answer.status_code for answer in answers] == [200, *[401] * 60]
        assert (await asked(api, good)).status_code == 200
        assert flood.asked == {DISCOVERY: 1, JWKS: 1}

    async def test_a_new_key_is_found_and_one_taken_back_is_good_no_more(
        self, api: Api, issuers: dict[str, Issuer]
    ) -> None:
        moving = issuers["moving"]
        old = moving.token(tenant=api.tenant, roles="makers")
        assert (await asked(api, old)).status_code == 200
        moving.rotate("second")
        new = moving.token(tenant=api.tenant, roles="makers")
        answer = await asked(api, new)
        while answer.status_code == 401:  # it is asked at most once a second
            await asyncio.sleep(0.1)
            answer = await asked(api, new)
        assert answer.status_code == 200
        assert (await asked(api, old)).status_code == 401

    async def test_an_issuer_that_is_away_or_hangs_is_a_503_for_its_own_people_alone(
        self, api: Api, corp: Issuer, issuers: dict[str, Issuer]
    ) -> None:
        gone, slow = issuers["gone"], issuers["slow"]
        assert "issuer 'gone'" in await refused(api, gone.token(tenant=api.tenant, roles="makers"), status=503)
        slow.open.clear()
        token = slow.token(tenant=api.tenant, roles="makers")
        answers = await asyncio.gather(*(asked(api, token) for _ in range(20)), asked(api, of_corp(corp, api)))
        assert [answer.status_code for answer in answers] == [*[503] * 20, 200]
        assert answers[0].headers["retry-after"]
        assert slow.asked == {DISCOVERY: 1}

    @pytest.mark.parametrize(
        ("path", "shown", "said"),
        [
            (JWKS, (200, b'{"keys": [' + b" " * 300_000 + b"]}"), "more than"),
            (JWKS, (200, b"[" * 5_000), "no object"),
            (JWKS, (200, b"[]"), "no object"),
            (JWKS, (302, b""), "status 302"),
            (JWKS, (500, b""), "status 500"),
            (DISCOVERY, (302, b""), "status 302"),
            (DISCOVERY, (200, b"{}"), "another issuer"),
            (DISCOVERY, "file:///etc/passwd", "https"),
            (DISCOVERY, "http://198.51.100.1/keys", "https"),
            (DISCOVERY, "https://127.0.0.1:{port}/keys", "not public"),
            (DISCOVERY, "https://169.254.169.254/latest/meta-data", "not public"),
            (DISCOVERY, 7, "jwks_uri"),
        ],
    )
    async def test_what_it_answers_is_bounded_and_leads_nowhere_inside(self, path: str, shown: Any, said: str) -> None:
        with issuing() as hostile, issuing() as inside:
            if not isinstance(shown, tuple):
                place = shown.format(port=inside.url.rsplit(":")[-1]) if isinstance(shown, str) else shown
                shown = (200, json.dumps({"issuer": hostile.url, "jwks_uri": place}).encode())
            hostile.instead[path] = shown
            hostile.headers["location"] = inside.url + JWKS
            settings = OidcSettings(issuer=hostile.url, audience=(AUDIENCE,), tenant="acme", everybody=("usual",))
            with pytest.raises(IssuerUnavailable, match=said):
                await fetch_of("hostile", settings)()
            assert not inside.asked

    async def test_over_https_its_certificate_must_be_vouched_for(self, tmp_path: Path) -> None:
        made = certificate(tmp_path / "tls")
        with issuing(certificate=made) as issuer:
            settings = OidcSettings(issuer=issuer.url, audience=(AUDIENCE,), tenant="acme", everybody=("usual",))
            with pytest.raises(IssuerUnavailable, match="ConnectError"):
                await fetch_of("corp", settings)()
            assert not issuer.asked
            told = settings.model_copy(update={"ca_file": made[0]})
            assert await fetch_of("corp", told)() == issuer.jwks
        with pytest.raises(ConfigError, match=r"oidc\.corp\.ca_file"):
            fetch_of("corp", settings.model_copy(update={"ca_file": tmp_path / "none"}))


class TestWhatGoesOn:
    async def test_a_stream_of_events_ends_with_the_token_that_opened_it(
        self, api: Api, corp: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
        video = (await api.http.post(VIDEOS, json={"prompt": "sea"})).raise_for_status().json()
        short = of_corp(corp, api, exp=int(time.time()) + 2)
        async with (
            listening(api.app) as port,
            reaching(f"http://127.0.0.1:{port}", short) as http,
            http.stream("GET", f"{VIDEOS}/{video['id']}/events") as answer,
        ):
            assert answer.status_code == 200
            heard = [line async for line in answer.aiter_lines() if line and not line.startswith(":")]
        assert heard[-2] == "event: revoked"
        assert "the token expired at" in heard[-1]

    async def test_a_tenant_that_is_gone_ends_what_goes_on(self, api: Api, corp: Issuer) -> None:
        key = await api.services.keyring.key(of_corp(corp, api))
        gone = replace(key, tenant=f"gone-{api.tenant}")

        async def pieces() -> AsyncIterator[bytes]:
            yield b"signed"

        assert [piece async for piece in api.services.keyring.while_good(key, pieces())] == [b"signed"]
        with pytest.raises(Exception, match="there is no tenant"):
            await anext(api.services.keyring.while_good(gone, pieces()))

    async def test_somebody_makes_keys_only_where_the_settings_say_for_how_long(
        self, api: Api, corp: Issuer, issuers: dict[str, Issuer]
    ) -> None:
        old = id_of(await api.key())
        async with in_process(api.app, of_corp(corp, api)) as http:
            for path in (KEYS, f"{KEYS}/{old}/rotate"):
                error = (await http.post(path, json={})).json()["error"]
                assert (error["code"], "make no keys" in error["message"]) == ("beyond_own_rights", True)
            assert (await http.get(f"{KEYS}/{old}")).json()["replaced_by"] is None
        home = issuers["home"]
        async with in_process(api.app, home.token(tenant=api.tenant)) as http:
            made = (await http.post(KEYS, json={"scopes": ["read"]})).raise_for_status().json()
            assert (made["made_by"], made["scopes"]) == ("oidc:home#ada", ["read"])
            assert 0 < made["expires_at"] - time.time() <= 3600
            for asked_for in ({"scopes": ["operate"]}, {"expires_at": int(time.time()) + 9999}):
                assert (await http.post(KEYS, json=asked_for)).json()["error"]["code"] == "beyond_own_rights"
            rotated = await http.post(f"{KEYS}/{made['id']}/rotate", json={})
            assert rotated.raise_for_status().json()["made_by"] == "oidc:home#ada"
            other = id_of(await api.key(f"other-{api.tenant}"))
            assert (await http.post(f"{KEYS}/{other}/rotate", json={})).status_code == 404
        assert (await asked(api, made["key"])).status_code == 200
        assert len(await api.services.store.revoke_made_by("oidc:home#ada")) >= 2
