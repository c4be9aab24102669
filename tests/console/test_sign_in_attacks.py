"""Signing in, in a real browser: with an issuer of another site; and what pages of other sites try."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote
from uuid import uuid4

import pytest
import pytest_asyncio
from playwright.async_api import expect

from orchestrator.config import Settings
from tests.support.api import Api, api_settings, in_process, listening, serving
from tests.support.console import NARROW, Console, at_rest, findings, overflow, shot
from tests.support.issuer import AUDIENCE, CLIENT, Issuer, issuing
from tests.support.postgres import Server
from tests.support.s3 import S3Server
from tests.support.web import Web

pytestmark = pytest.mark.asyncio(loop_scope="session")

# To browsers another site than 127.0.0.1; two ports of one host would be the same.
ELSEWHERE = "localhost"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing(host=ELSEWHERE) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def console_server(
    postgres_server: Server, migrated_template: str, s3_server: S3Server, issuer: Issuer
) -> AsyncIterator[tuple[Api, int]]:
    """As every module's, with an issuer."""
    database = postgres_server.new_database(migrated_template)
    usual = api_settings(postgres_server.url(database), s3_server.new_bucket())
    tenant = uuid4().hex[:12]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        corp = {
            "issuer": issuer.url, "client_id": CLIENT, "audience": [AUDIENCE], "tenant": tenant,
            "everybody": ["usual"], "title": "Example accounts",
        }  # fmt: skip
        settings = Settings.model_validate(usual.model_dump() | {"oidc": {"corp": corp}, "console": {"url": url}})
        async with serving(settings) as app, listening(app, listener=listener) as port:
            api = Api(app, settings, tenant=tenant, http=in_process(app))
            api.http.headers["authorization"] = f"Bearer {await api.key()}"
            async with api.http:
                yield api, port
    postgres_server.drop_database(database)


async def test_somebody_comes_back_from_another_site_signed_in(console: Console, issuer: Issuer) -> None:
    """The strict cookie is not sent with the way back, and the console is there with it all the same."""
    issuer.person = {"name": "Ada Lovelace"}
    page = await console.page("/webhooks?tab=deliveries", signed_in=False)
    link = page.get_by_role("link", name="Sign in with Example accounts")
    await link.wait_for()
    await shot(page, "sign-in-issuer")
    assert await findings(page) == []
    await link.click()
    await page.get_by_role("heading", name="Webhooks").wait_for()
    assert page.url == f"{console.url}/webhooks?tab=deliveries"
    await page.get_by_text("Ada Lovelace").first.wait_for()
    (cookie,) = [each for each in await page.context.cookies() if each["name"] == "cogmill_session"]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert cookie["value"] not in await page.evaluate("document.cookie + JSON.stringify(localStorage)")
    await page.get_by_role("button", name="Account").click()
    await page.get_by_role("menuitem", name="Sign out").click()
    await page.get_by_label("API key").wait_for()
    assert [each["name"] for each in await page.context.cookies()] == []


async def test_an_issuer_that_refuses_is_said_in_words(console: Console, issuer: Issuer) -> None:
    issuer.answers = {"code": None, "error": "access_denied", "error_description": "<img src=x onerror=alert(1)>"}
    try:
        page = await console.page("", signed_in=False, width=NARROW)
        await page.get_by_role("link", name="Sign in with Example accounts").click()
        await page.get_by_role("alert").get_by_text("you have no access here").wait_for()
        assert "onerror" not in await page.content()
        await shot(page, "sign-in-refused")
        assert await findings(page) == []
        assert await overflow(page) <= 0
    finally:
        issuer.answers = {}


async def test_a_page_of_another_site_changes_nothing(console: Console, web: Web) -> None:
    """By a form, by fetch, by a picture and by a frame, with the browser signed in."""
    site = f"http://127.0.0.1:{console.port}"
    web.pages["/evil"] = f"""<!doctype html><body>
        <form id=form method=post action="{site}/v1/keys" enctype=text/plain>
        <input name='{{"name":"evil","x":"' value='"}}'></form>
        <form id=out method=post action="{site}/console/session"></form>
        <img src="{site}/v1/videos"><iframe id=frame src="{site}/console"></iframe></body>""".encode()
    page = await console.page()
    await page.get_by_role("navigation", name="Pages").wait_for()
    elsewhere = web.url.replace("127.0.0.1", ELSEWHERE)
    tried = """async (site) => {
        const told = [];
        for (const [path, method] of [["/v1/keys", "POST"], ["/console/session", "DELETE"], ["/v1/videos", "GET"]]) {
            for (const mode of ["cors", "no-cors"]) {
                const how = { method, mode, credentials: "include", body: method === "POST" ? "{}" : undefined };
                const answer = await fetch(site + path, how).catch((error) => null);
                told.push(answer ? answer.type : "refused");
            }
        }
        return told;
    }"""
    before = len((await console.api.http.get("/v1/keys")).json()["data"])
    evil = await page.context.new_page()
    await evil.goto(f"{elsewhere}/evil")
    told = await evil.evaluate(f"({tried})({site!r})")
    assert set(told) <= {"refused", "opaque"}
    frame = await (await evil.query_selector("#frame")).content_frame()  # type: ignore[union-attr]
    assert frame is not None
    assert await frame.locator("#console").count() == 0
    await evil.evaluate("document.getElementById('form').submit()")
    await evil.wait_for_url(f"{site}/v1/keys")
    assert "error" in await evil.content()
    assert len((await console.api.http.get("/v1/keys")).json()["data"]) == before
    # The session is still there, and nobody's but its own.
    await page.reload()
    await page.get_by_role("navigation", name="Pages").wait_for()


async def test_a_page_of_another_port_of_this_host_which_is_the_same_site_changes_nothing(
    console: Console, web: Web
) -> None:
    """There the strict cookie is sent: what stands against it is the token, and where it comes from."""
    site = f"http://127.0.0.1:{console.port}"
    web.pages["/sibling"] = f"""<!doctype html><body>
        <form method=post action="{site}/v1/keys" enctype=text/plain><input name='{{"name":"' value='evil"}}'></form>
        """.encode()
    page = await console.page()
    await page.get_by_role("navigation", name="Pages").wait_for()
    before = len((await console.api.http.get("/v1/keys")).json()["data"])
    evil = await page.context.new_page()
    await evil.goto(f"{web.url}/sibling")
    await evil.evaluate("document.forms[0].submit()")
    await evil.get_by_text("another site").wait_for()
    assert len((await console.api.http.get("/v1/keys")).json()["data"]) == before


async def test_no_page_frames_it_and_no_script_but_its_own_runs(console: Console) -> None:
    page = await console.page()
    await page.get_by_role("navigation", name="Pages").wait_for()
    answer = await page.context.request.get(console.url)
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    await page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.body.append(script);
        const image = document.createElement("div");
        image.innerHTML = "<img src=x onerror='window.ran = true'>";
        document.body.append(image);
    }""")
    await expect(page.locator("body img[src=x]")).to_have_count(1)
    assert await page.evaluate("window.ran") is None


async def test_what_people_wrote_is_shown_as_text(console: Console) -> None:
    """In names of keys and endpoints, in prompts, metadata, and what the address names."""
    attack = "<img src=x onerror='window.ran=1'><script>window.ran=1</script>{{7*7}}${7*7}"
    http = console.api.http
    (await http.post("/v1/keys", json={"name": attack})).raise_for_status()
    url = f"https://hooks.example.com/{'a' * 40}?x=javascript:window.ran=1"
    hook = {"name": attack, "url": url, "event_types": ["video.failed"]}
    (await http.post("/v1/webhook_endpoints", json=hook)).raise_for_status()
    video = await console.video(attack, metadata={"campaign": attack})
    (await http.delete(f"/v1/videos/{video}")).raise_for_status()
    for path in ("/tenants", "/webhooks", "/webhooks?tab=deliveries", f"/tenants/{quote(attack, safe='')}", "/audit"):
        page = await console.page(path)
        await page.locator("h1").wait_for()
        await at_rest(page)
        if path in ("/tenants", "/webhooks"):
            await page.get_by_text(attack).first.wait_for()
        assert await page.evaluate("window.ran") is None, path
        assert await page.locator("main img[src=x], main script").count() == 0, path


async def test_a_session_that_ends_meanwhile_asks_again_and_keeps_what_was_typed(console: Console) -> None:
    key = await console.api.key()
    page = await console.page("/tenants", key=key)
    await page.get_by_role("button", name="New key").click()
    await page.get_by_role("dialog").get_by_label("Name").fill("typed before")
    await console.api.services.store.revoke_key(key.split(".")[0])
    await page.get_by_role("dialog").get_by_role("button", name="Make the key").click()
    again = page.get_by_role("dialog", name="Sign in again")
    await again.get_by_label("API key").fill(await console.api.key())
    await again.get_by_role("button", name="Sign in").click()
    await page.locator("[data-secret]").wait_for()
    names = [each["name"] for each in (await console.api.http.get("/v1/keys")).json()["data"]]
    assert "typed before" in names
