"""Attacks on signing in with an issuer: other states, nonces, codes, issuers and clients, and ways out."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from pydantic import ValidationError
from structlog.testing import capture_logs

from orchestrator.adapters.providers import provider_of
from orchestrator.config import OidcSettings, Settings
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.masters import Ring
from orchestrator.domain.rights import USUAL, Scope
from orchestrator.tenants import cookies
from orchestrator.tenants.cookies import Purpose
from orchestrator.tenants.signing_in import SigningIn, place_of
from tests.support.api import MASTER_KEY, Api, api_settings, in_process, serving
from tests.support.issuer import AUDIENCE, CLIENT, TOKEN, Issuer, issuing
from tests.support.postgres import Server
from tests.support.s3 import S3Server
from tests.support.signing_in import COOKIE, SESSION, sign_in

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEPT = "cogmill_sign_in"
URL = "http://127.0.0.1:4711/under"


@pytest.fixture(scope="module")
def issuers() -> Iterator[dict[str, Issuer]]:
    with ExitStack() as stack:
        found = {name: stack.enter_context(issuing()) for name in ("corp", "home", "strict")}
        with socket.create_server(("127.0.0.1", 0)) as closed:
            found["gone"] = Issuer(url=f"http://127.0.0.1:{closed.getsockname()[1]}")
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api_app(
    postgres_server: Server,
    migrated_template: str,
    s3_server: S3Server,
    issuers: dict[str, Issuer],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[FastAPI, Settings]]:
    """As every test's, below a path, with these issuers; `home` knows the client by a secret."""
    secret = tmp_path_factory.mktemp("secrets") / "client"
    secret.write_text("the client's own secret\n")
    issuers["home"].secret = "the client's own secret"
    issuers["strict"].document = {"authorization_response_iss_parameter_supported": True}
    database = postgres_server.new_database(migrated_template)
    settings = api_settings(postgres_server.url(database), s3_server.new_bucket(), base_path="/under")
    usual = {"audience": [AUDIENCE], "tenant_claim": "tenant", "roles": {"makers": ["usual"], "ops": ["operator"]}}
    own: dict[str, dict[str, Any]] = {"corp": {"title": "Corp"}, "home": {"client_secret_file": secret}}
    oidc = {name: usual | {"issuer": it.url, "client_id": CLIENT} | own.get(name, {}) for name, it in issuers.items()}
    more = {"oidc": oidc, "console": {"url": URL}}
    async with serving(Settings.model_validate(settings.model_dump() | more)) as app:
        yield app, settings
    postgres_server.drop_database(database)


@pytest.fixture
def corp(api: Api, issuers: dict[str, Issuer]) -> Iterator[Issuer]:
    """With somebody of the test's tenant before its page."""
    for each in issuers.values():
        each.person = {"tenant": api.tenant, "roles": ["makers"], "sub": "ada", "name": "Ada Lovelace"}
    yield issuers["corp"]
    for each in issuers.values():
        each.answers = {}


@asynccontextmanager
async def browser(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """Without redirects: the test is who follows them."""
    async with in_process(api.app) as http:
        http.base_url = httpx.URL("http://api/under")
        yield http


async def leave(http: httpx.AsyncClient, issuer: str = "corp", **query: str) -> dict[str, str]:
    """Begin a sign-in; what the issuer is asked."""
    answer = await http.get(f"/console/oidc/{issuer}", params=query)
    assert answer.status_code == 303
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


async def arrive(http: httpx.AsyncClient, back: str, **other: str) -> httpx.Response:
    """Follow the issuer's way back, with some of its query changed."""
    parts = urlsplit(back)
    path = parts.path.removeprefix("/under")
    return await http.get(path, params=dict(parse_qsl(parts.query)) | other)


async def refused(http: httpx.AsyncClient, answer: httpx.Response, code: str = "api_key_unverified") -> None:
    """Nobody is signed in, and the browser is led to the console's own page, with a word of ours."""
    assert answer.status_code == 303
    place = urlsplit(answer.headers["location"])
    assert (place.scheme, place.netloc, place.path) == ("", "", "/under/console/sign-in")
    assert dict(parse_qsl(place.query))["error"] == code
    assert COOKIE not in http.cookies
    assert (await http.get(SESSION)).status_code == 401


class TestSigningIn:
    @pytest.mark.parametrize("name", ["corp", "home", "strict"])
    async def test_somebody_signs_in_and_out(
        self, api: Api, issuers: dict[str, Issuer], corp: Issuer, name: str
    ) -> None:
        issuer = issuers[name]
        issuer.answers = {"iss": issuer.url}
        async with browser(api) as http:
            asked = await leave(http, name, next="/console/jobs?state=failed&page=2")
            assert asked["redirect_uri"] == f"{URL}/console/oidc/{name}/callback"
            assert (asked["response_type"], asked["scope"]) == ("code", "openid")
            assert asked["code_challenge_method"] == "S256"
            answer = await arrive(http, issuer.back(asked))
            assert answer.headers["location"] == "/under/console/jobs?state=failed&page=2"
            assert KEPT not in http.cookies
            body = (await http.get(SESSION)).raise_for_status().json()
            assert (body["tenant"], body["person"], body["key_id"]) == (api.tenant, f"oidc:{name}#ada", None)
            assert (body["name"], body["rights"]) == ("Ada Lovelace", sorted(USUAL))
            http.headers["x-csrf-token"] = body["csrf"]
            assert (await http.post("/v1/videos", json={"prompt": "a mill"})).status_code == 200
            assert (await http.delete(SESSION)).status_code == 204
            assert (await http.get("/v1/videos")).status_code == 401

    async def test_its_cookies_are_for_this_site_and_for_no_script(self, api: Api, corp: Issuer) -> None:
        async with browser(api) as http:
            left = await http.get("/console/oidc/corp")
            asked = dict(parse_qsl(urlsplit(left.headers["location"]).query))
            back = await arrive(http, corp.back(asked))
        kept, (session, dropped) = left.headers["set-cookie"], back.headers.get_list("set-cookie")
        assert {"HttpOnly", "SameSite=lax", "Path=/under", "Max-Age=600"} <= set(kept.split("; "))
        assert {"HttpOnly", "SameSite=strict", "Path=/under"} <= set(session.split("; "))
        assert {f'{KEPT}=""', "Max-Age=0", "Path=/under"} <= set(dropped.split("; "))
        for answer in (left, back):
            assert (answer.headers["cache-control"], answer.headers["referrer-policy"]) == ("no-store", "no-referrer")

    async def test_what_is_asked_is_new_each_time_and_told_nobody(self, api: Api, corp: Issuer) -> None:
        async with browser(api) as one, browser(api) as other:
            asked, again = await leave(one), await leave(other)
            for name in ("state", "nonce", "code_challenge"):
                assert asked[name] != again[name]
            with capture_logs() as logged:
                answer = await arrive(one, corp.back(asked))
            assert (await arrive(one, corp.back(asked))).status_code == 303
        verifier = corp.redeemed[-1]["code_verifier"]
        assert 43 <= len(verifier) <= 128
        for secret in (verifier, asked["nonce"], corp.redeemed[-1]["code"]):
            assert secret not in f"{logged} {answer.headers}"

    async def test_about_says_what_there_is_to_sign_in_with(self, api: Api, corp: Issuer) -> None:
        async with browser(api) as http:
            about = (await http.get("/console/about")).raise_for_status().json()
        titles = {each["name"]: each["title"] for each in about["issuers"]}
        assert titles == {"corp": "Corp", "gone": "gone", "home": "home", "strict": "strict"}
        assert about["version"]

    async def test_a_person_that_is_taken_off_the_settings_or_whose_tenant_is_gone_is_out(
        self, api: Api, corp: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with browser(api) as http:
            await arrive(http, corp.back(await leave(http)))
            assert (await http.get("/v1/videos")).status_code == 200
            people = api.services.keyring._people
            assert people is not None
            monkeypatch.delitem(people._named, "corp")
            assert (await http.get("/v1/videos")).status_code == 401

    async def test_an_old_session_of_the_browser_ends(self, api: Api, corp: Issuer) -> None:
        async with browser(api) as http:
            await sign_in(http, await api.key())
            old = http.cookies[COOKIE]
            await arrive(http, corp.back(await leave(http)))
            assert (await http.get(SESSION)).json()["person"] == "oidc:corp#ada"
        async with browser(api) as http:
            assert (await http.get(SESSION, headers={"cookie": f"{COOKIE}={old}"})).status_code == 401


class TestForged:
    async def test_another_state_than_the_browsers_is_none(self, api: Api, corp: Issuer) -> None:
        """Mallory sends Alice her own way back: Alice would go on as Mallory, and tell her everything."""
        async with browser(api) as mallory, browser(api) as alice:
            back = corp.back(await leave(mallory))
            await refused(alice, await arrive(alice, back), "api_key_missing")
            asked = await leave(alice)
            await refused(alice, await arrive(alice, back))
            for state in ("", "x", asked["state"][:-1], asked["nonce"], asked["code_challenge"]):
                await leave(alice)
                await refused(alice, await arrive(alice, back, state=state))

    async def test_a_way_back_is_good_once(self, api: Api, corp: Issuer) -> None:
        async with browser(api) as http:
            asked = await leave(http)
            kept = http.cookies[KEPT]
            back = corp.back(asked)
            assert (await arrive(http, back)).headers["location"] == "/under/console"
            assert (await arrive(http, back)).headers["location"].startswith("/under/console/sign-in?")
        async with browser(api) as thief:  # who has the cookie, and sees the code go by
            thief.cookies.set(KEPT, kept)
            await refused(thief, await arrive(thief, back))
            # Also with a code that the issuer takes.
            thief.cookies.set(KEPT, kept)
            await refused(thief, await arrive(thief, corp.back(asked)))

    async def test_another_nonce_in_the_token_is_none(self, api: Api, corp: Issuer) -> None:
        for nonce in ("another", "", None, 7, ["x"]):
            async with browser(api) as http:
                corp.person["nonce"] = nonce
                await refused(http, await arrive(http, corp.back(await leave(http))))

    async def test_a_token_for_somebody_else_expired_or_of_another_key_is_none(self, api: Api, corp: Issuer) -> None:
        cases: list[tuple[dict[str, Any], str]] = [
            ({"aud": AUDIENCE}, "api_key_unverified"),
            ({"aud": [CLIENT, "another"]}, "api_key_unverified"),
            ({"aud": [CLIENT, "another"], "azp": "another"}, "api_key_unverified"),
            ({"azp": "another"}, "api_key_unverified"),
            ({"iss": "https://another.example"}, "api_key_unverified"),
            ({"exp": 1_000_000_000}, "api_key_expired"),
            ({"sub": None}, "api_key_unverified"),
            ({"roles": ["strangers"]}, "no_access"),
            ({"tenant": "nobody's"}, "no_access"),
        ]
        usual = dict(corp.person)
        for claims, code in cases:
            async with browser(api) as http:
                corp.person = usual | claims
                await refused(http, await arrive(http, corp.back(await leave(http))), code)

    async def test_a_code_for_another_verifier_is_none(self, api: Api, corp: Issuer) -> None:
        """Somebody's code, put into one's own way back (RFC 9700, section 4.5)."""
        async with browser(api) as alice, browser(api) as mallory:
            code = corp.code_for(await leave(alice))
            await refused(mallory, await arrive(mallory, corp.back(await leave(mallory)), code=code))
            for wrong in ("", "x" * 5000):
                code_of = "api_key_malformed"
                await refused(mallory, await arrive(mallory, corp.back(await leave(mallory)), code=wrong), code_of)

    async def test_issuers_are_not_mixed_up(self, api: Api, corp: Issuer, issuers: dict[str, Issuer]) -> None:
        """What one has sent back is not taken to another, which would then have its code (RFC 9207)."""
        async with browser(api) as http:
            back = corp.back(await leave(http)).replace("/oidc/corp/", "/oidc/home/")
            asked_before = issuers["home"].asked[TOKEN]
            await refused(http, await arrive(http, back))
            assert issuers["home"].asked[TOKEN] == asked_before
            for said in (issuers["home"].url, "", corp.url + "/"):
                await refused(http, await arrive(http, corp.back(await leave(http)), iss=said))
            # This one says that it always tells who it is.
            await refused(http, await arrive(http, issuers["strict"].back(await leave(http, "strict"))))

    async def test_what_a_browser_keeps_is_signed_and_does_not_last(self, api: Api, corp: Issuer) -> None:
        async with browser(api) as http:
            asked = await leave(http)
            kept = http.cookies[KEPT]
            text, _, signature = kept.rpartition(".")
            for forged in (text, f"{text}x.{signature}", cookies.sign("another master key", Purpose.SIGN_IN, text),
                           cookies.sign(MASTER_KEY, Purpose.SESSION, text), kept[:-1]):  # fmt: skip
                http.cookies.clear()
                http.cookies.set(KEPT, forged)
                await refused(http, await arrive(http, corp.back(asked)), "api_key_missing")
        services, now = api.services, [1_000.0]
        people = services.keyring._people
        assert people is not None
        flow = SigningIn(services.settings.oidc, people, Ring.of(MASTER_KEY), provider_of, url=URL, wall=lambda: now[0])
        left = await flow.begin("corp", place=None, instead_of=None)
        now[0] += 601
        said = {"state": dict(parse_qsl(urlsplit(left.location).query))["state"], "code": "x"}
        with pytest.raises(Exception, match="too long"):
            await flow.end("corp", said, left.cookie)

    async def test_a_parameter_that_comes_twice_is_none(self, api: Api, corp: Issuer) -> None:
        async with browser(api) as http:
            asked = await leave(http)
            query = f"code={corp.code_for(asked)}&state={asked['state']}&state=x"
            await refused(http, await http.get(f"/console/oidc/corp/callback?{query}"))

    async def test_what_an_issuer_says_is_not_repeated(self, api: Api, corp: Issuer) -> None:
        async with browser(api) as http:
            asked = await leave(http)
            said = {
                "error": "<script>alert(1)</script>",
                "error_description": "<b>call 555</b>",
                "state": asked["state"],
            }
            answer = await http.get("/console/oidc/corp/callback", params=said)
            await refused(http, answer, "no_access")
            for word in ("script", "555"):
                assert word not in f"{answer.headers} {answer.text}"


class TestWaysOut:
    @pytest.mark.parametrize(
        "place",
        [
            "https://evil.example", "//evil.example", "/\\evil.example", "/console//evil.example", "\\\\evil.example",
            "/console\\evil", "javascript:alert(1)", "/v1/keys", "/consoles", "/console/../v1/keys", "console",
            "/console/%2e%2e/v1", "/console/..", "/console#@evil.example", "/console\r\nx: y", "/console/\tx",
            " /console",
            "/console@evil.example", "/console?x=\n", "/console/" + "x" * 1000, "",
        ],
    )  # fmt: skip
    async def test_nobody_is_led_to_another_site(self, api: Api, corp: Issuer, place: str) -> None:
        assert place_of(place) == "/console"
        async with browser(api) as http:
            answer = await arrive(http, corp.back(await leave(http, next=place)))
        assert answer.headers["location"] == "/under/console"

    async def test_an_issuer_that_there_is_not_leads_nowhere(self, api: Api) -> None:
        async with browser(api) as http:
            for path in ("/console/oidc/nobody", "/console/oidc/nobody/callback?code=x&state=y"):
                answer = await http.get(path)
                assert answer.headers["location"].startswith("/under/console/sign-in?error=not_found")

    async def test_endpoints_that_lie_elsewhere_inside_are_not_asked(
        self, api: Api, corp: Issuer, issuers: dict[str, Issuer]
    ) -> None:
        """Its document may name only public addresses beyond its own server."""
        with issuing() as inside, issuing() as issuer:
            issuer.document = {"token_endpoint": inside.url + TOKEN}
            settings = api.services.settings.oidc["corp"].model_copy(update={"issuer": issuer.url})
            people = api.services.keyring._people
            assert people is not None
            flow = SigningIn({"corp": settings}, people, Ring.of(MASTER_KEY), provider_of, url=URL)
            left = await flow.begin("corp", place=None, instead_of=None)
            said = {"state": dict(parse_qsl(urlsplit(left.location).query))["state"], "code": "x"}
            with pytest.raises(Exception, match="not public"):
                await flow.end("corp", said, left.cookie)
            assert not inside.asked

    async def test_an_issuer_that_is_away_leads_to_the_consoles_own_page(self, api: Api) -> None:
        async with browser(api) as http:
            answer = await http.get("/console/oidc/gone")
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/under/console/sign-in?error=unavailable&request=")


USUAL_SETTINGS = {"issuer": "https://id.example", "audience": ["x"], "tenant": "acme", "everybody": ["read"]}


class TestSettings:
    @pytest.mark.parametrize(
        ("own", "console", "said"),
        [
            ({"client_id": "x"}, {}, "needs console.url"),
            ({"client_secret_file": "/x"}, {}, "needs client_id"),
            ({"client_id": "x", "scopes": ["profile"]}, {"url": "https://x.example"}, "must have 'openid'"),
            ({"client_id": "x"}, {"url": "http://x.example"}, "https"),
            ({}, {"url": "https://x.example?x=y"}, "no query"),
            ({}, {"idle_s": 7200, "session_s": 3600}, "idle_s must not be more"),
        ],
    )
    async def test_what_could_not_work_is_refused_by_name(
        self, own: dict[str, Any], console: dict[str, Any], said: str
    ) -> None:
        dumped = api_settings("postgresql://nowhere/none").model_dump()
        with pytest.raises(ValidationError, match=said):
            Settings.model_validate(dumped | {"oidc": {"corp": USUAL_SETTINGS | own}, "console": console})

    async def test_a_secret_that_cannot_be_read_is_named_at_the_start(self, tmp_path: Path) -> None:
        settings = OidcSettings.model_validate(
            USUAL_SETTINGS | {"client_id": "x", "client_secret_file": tmp_path / "none"}
        )
        with pytest.raises(ConfigError, match=r"oidc\.corp\.client_secret_file"):
            provider_of("corp", settings)

    async def test_an_operator_that_signs_in_by_an_issuer_is_one(self, api: Api, corp: Issuer) -> None:
        corp.person["roles"] = ["ops"]
        async with browser(api) as http:
            await arrive(http, corp.back(await leave(http)))
            body = (await http.get(SESSION)).json()
            assert (body["role"], body["all_tenants"], body["rights"]) == (
                "operator", True, sorted([Scope.OPERATE, Scope.VIEW])
            )  # fmt: skip
            assert (await http.get("/v1/admin/tenants")).status_code == 200
