"""The console as a whole: by keys alone, with hostile texts, with streams that break and an API that is restarted."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
from playwright.async_api import Locator, Page, Request, Route, expect
from playwright.async_api import TimeoutError as PlaywrightTimeout

from orchestrator.config import Settings
from orchestrator.domain.job import Artifact, Claim, Failure
from orchestrator.domain.protocol import Broke
from orchestrator.domain.rights import ROLES, USUAL, Role
from orchestrator.ports import Progress
from tests.support.api import POOL, listening, serving
from tests.support.builders import prefix_of
from tests.support.console import Console, drop
from tests.support.desks import Desks
from tests.support.machines import Machines
from tests.support.pngs import RGB, png
from tests.support.proxy import Proxy

pytestmark = pytest.mark.asyncio(loop_scope="session")

# No slash: a browser lets no file be called so.
HOSTILE = "<img src=x onerror='window.ran=1'><svg onload=window.ran=1>{{7*7}}"
NOTE = "A note for everybody of your team"


async def reach(page: Page, wanted: Locator) -> None:
    """Go there by Tab, as who has no mouse."""
    for _ in range(100):
        if await wanted.evaluate("element => element === document.activeElement"):
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"Tab leads nowhere near {wanted}")


async def press(page: Page, button: Locator) -> None:
    await reach(page, button)
    await page.keyboard.press("Enter")


async def write(page: Page, label: str, text: str) -> None:
    await reach(page, page.get_by_label(label, exact=True))
    await page.keyboard.type(text)


async def note(page: Page, text: str) -> None:
    await write(page, NOTE, text)
    await press(page, page.get_by_role("button", name="Write"))
    await page.get_by_role("article").get_by_text(text).wait_for()


async def test_a_tenants_work_is_done_by_keys_alone(console: Console) -> None:
    desks = Desks.of(console.api)
    campaign = await desks.create(3)
    await desks.some(campaign, 1)
    page = await console.page("/new/video")
    await page.get_by_label("Prompt", exact=True).wait_for()
    await write(page, "Prompt", "by keys alone")
    await press(page, page.get_by_role("button", name="Make it"))
    await page.get_by_role("heading", name="by keys alone").wait_for()
    await note(page, "from the keyboard")
    await page.keyboard.press("Escape")
    await page.evaluate("document.activeElement.blur()")  # Escape leaves no field of a form
    await page.keyboard.press("c")
    await press(page, page.get_by_role("dialog").get_by_role("button", name="Cancel the job"))
    await page.get_by_text("Cancelled").first.wait_for()

    await page.keyboard.press("Control+k")
    await page.keyboard.type("mugs autumn")
    await page.get_by_role("option", name="autumn mugs").wait_for()
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{console.url}/campaigns/{campaign}")
    await press(page, page.get_by_role("button", name="Pause", exact=True))
    await press(page, page.get_by_role("dialog").get_by_role("button", name="Pause", exact=True))
    await page.get_by_text("Paused: somebody asked for it.").wait_for()
    await page.goto(f"{console.url}/campaigns/{campaign}?tab=about")
    await page.get_by_label(NOTE).wait_for()
    await note(page, "the <b>third</b> is odd")
    kept = (await console.api.http.get("/v1/notes", params={"about": campaign})).json()["data"]
    assert [each["body"] for each in kept] == ["the <b>third</b> is odd"]
    await page.goto(f"{console.url}/campaigns")
    await page.get_by_role("link", name="autumn mugs").wait_for()
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{console.url}/campaigns/{campaign}")

    await page.goto(f"{console.url}/webhooks")
    await press(page, page.get_by_role("button", name="New endpoint").first)
    await expect(page.get_by_role("dialog").locator("[autofocus]")).to_be_focused()  # the window is open
    await page.keyboard.type("production")
    await write(page, "URL", "https://hooks.example.com/cogmill")
    await page.keyboard.press("Enter")
    await page.locator("[data-secret]").wait_for()
    assert console.errors == []


async def test_an_operators_work_is_done_by_keys_alone(console: Console) -> None:
    await (await Machines.none(console.api)).workers(2)
    page = await console.page("/fleet", key=await console.api.key("platform", scopes=ROLES[Role.ADMIN] | USUAL))
    row = page.get_by_role("region", name="Pools").get_by_role("row", name=re.compile(POOL))
    await press(page, page.get_by_role("button", name=f"Pause {POOL}"))
    await page.get_by_role("dialog").wait_for()
    await page.keyboard.type("the storage moves")
    await page.keyboard.press("Enter")
    await expect(row).to_contain_text("the storage moves")
    await press(page, page.get_by_role("button", name=f"Resume {POOL}"))
    await expect(row).not_to_contain_text("storage")
    await page.goto(f"{console.url}/audit")
    await page.get_by_role("row").filter(has_text="the storage moves").first.wait_for()
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_contain_text("pool")
    for path, label in (("/usage", "Told apart by"), ("", "Time")):
        await page.goto(f"{console.url}{path}")
        await reach(page, page.get_by_label(label).first)
        await page.keyboard.press("ArrowDown")
        await expect(page).to_have_url(re.compile(r"\?\w+="))
    assert console.errors == []


async def test_file_names_metadata_and_errors_of_workers_are_shown_as_text(console: Console) -> None:
    job = await console.video(HOSTILE, metadata={"<b onclick=ran=1>": HOSTILE})
    failure = Failure(code="out_of_memory", message=f"worker: {HOSTILE}", retryable=False)
    await console.api.end(await console.api.claim(job), Broke(failure=failure))
    page = await console.page(f"/jobs/{job}")
    await expect(page.get_by_role("heading", level=1)).to_contain_text(HOSTILE)
    await expect(page.get_by_text(f"worker: {HOSTILE}").first).to_be_visible()
    await expect(page.locator("main li", has_text="<b onclick=ran=1>")).to_contain_text(HOSTILE)
    await is_text(page)
    await page.goto(f"{console.url}/new/campaign")
    await page.locator(".drop").wait_for()
    await drop(page, f"{HOSTILE}.csv", f'custom_id,"{HOSTILE}"\nclip-1,"{HOSTILE}"\n')
    await expect(page.locator(".drop")).to_contain_text(f"{HOSTILE}.csv")
    await page.get_by_role("cell", name=HOSTILE).first.wait_for()
    await is_text(page)
    assert console.errors == []


async def is_text(page: Page) -> None:
    assert await page.evaluate("window.ran") is None
    assert await page.locator("main img[src=x], main svg[onload], main b[onclick]").count() == 0


async def test_a_stream_that_breaks_goes_on_behind_the_last_event(console: Console) -> None:
    job = await console.video()
    claim = await console.api.claim(job)

    def of_events(sent: Request) -> bool:
        return sent.url.endswith(f"/v1/videos/{job}/events")

    with Proxy(console.port).running() as proxy:
        page = await replace(console, port=proxy.port).page(f"/jobs/{job}")
        await page.get_by_role("status").get_by_text("Loading").wait_for()  # the page is all there
        told = ""
        while not told:  # it broke before it had told anything, or before it was there: then nobody asks again
            with suppress(PlaywrightTimeout):
                async with page.expect_request(of_events, timeout=5_000) as again:
                    proxy.break_off()
                told = (await again.value).headers.get("last-event-id", "")
        assert told.startswith("1."), "not of its first claim"
        await show(console, claim)
        await page.locator(".player img").wait_for()  # which only the stream brings


async def show(console: Console, claim: Claim) -> None:
    """There is a picture of what is coming."""
    picture = png(RGB, 8, [(200, 90, 40)] * 16)
    put = console.api.services.objects.put(f"{prefix_of(claim)}preview.png", picture, "image/png")
    preview = Artifact(key=put.key, size=put.size, sha256=put.sha256, content_type="image/png")
    told = Progress(job_id=claim.job_id, token=claim.token, stage="denoising", step=9, preview=preview)
    await console.api.dispatching.record_progress([told])


@asynccontextmanager
async def started(settings: Settings, port: int) -> AsyncIterator[None]:
    """An API of its own at this port: it shares with the one before what the database keeps, and nothing else."""
    async with serving(settings) as app, listening(app, listener=socket.create_server(("127.0.0.1", port))):
        yield


async def test_an_api_that_is_stopped_and_started_again_loses_no_half_filled_form(console: Console) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    settings = console.api.settings
    async with started(settings, port):
        page = await replace(console, port=port).page("/tenants")
        await page.get_by_role("button", name="New key").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Name").fill("half a thou")
    await dialog.get_by_role("button", name="Make the key").click()
    await page.get_by_text("Cogmill cannot be reached").first.wait_for()
    await expect(dialog.get_by_label("Name")).to_have_value("half a thou")
    async with started(settings, port):
        await expect(page.locator(".banner")).to_have_count(0)
        await expect(dialog.get_by_label("Name")).to_have_value("half a thou")
        await dialog.get_by_role("button", name="Make the key").click()
        await page.locator("[data-secret]").wait_for()
    names = [each["name"] for each in (await console.api.http.get("/v1/keys")).json()["data"]]
    assert names.count("half a thou") == 1


KEEPS_NOTHING = """
    for (const name of ["localStorage", "sessionStorage"])
        Object.defineProperty(window, name, { get() { throw new DOMException("kept nothing", "SecurityError"); } });
"""


async def test_a_browser_that_keeps_nothing_shows_the_console_and_says_what_it_lacks(console: Console) -> None:
    page = await console.page("/new/video", spoilt=True)
    await page.context.add_init_script(KEEPS_NOTHING)
    await page.reload()
    await page.get_by_label("Prompt", exact=True).fill("not kept")
    await page.get_by_role("button", name="Make it").click()
    await page.get_by_role("heading", name="not kept").wait_for()
    await page.goto(f"{console.url}/review?campaign={await Desks.of(console.api).done(1)}&view=queue")
    await page.get_by_role("option").first.wait_for()
    await page.context.clear_cookies()
    await page.context.add_init_script("Object.defineProperty(navigator, 'cookieEnabled', { value: false })")
    await page.reload()
    await page.get_by_label("API key").fill("cgm_any.key")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("keeps no cookies")


async def test_by_plain_http_videos_are_made_and_jobs_acted_on(console: Console) -> None:
    """What a browser has by https and on its own machine alone: https://www.w3.org/TR/secure-contexts/."""
    page = await console.page("/new/video", spoilt=True)
    await page.context.add_init_script(
        "delete Crypto.prototype.randomUUID; delete Navigator.prototype.clipboard; delete window.Notification;"
    )
    await page.reload()
    await page.get_by_label("Prompt", exact=True).fill("by plain http")
    await page.get_by_role("button", name="Make it").click()
    await page.get_by_role("heading", name="by plain http").wait_for()
    await page.goto(f"{console.url}/jobs?text=by+plain+http")
    await page.get_by_role("button", name="Act on all that match").click()
    await page.get_by_role("dialog").locator(".expected").wait_for()
    await page.goto(f"{console.url}/review?campaign={await Desks.of(console.api).done(1)}")
    await page.get_by_role("option").first.wait_for()
    assert console.errors == []


async def test_what_was_typed_as_one_tenant_is_not_sent_as_another_who_signed_in_in_another_tab(
    console: Console,
) -> None:
    page = await console.page("/new/video")
    await page.get_by_label("Prompt", exact=True).fill("of this tenant alone")
    # The page's policy forbids Playwright's own waiting for a function.
    kept = "new Promise((go) => setInterval(() => JSON.stringify(localStorage).includes('of this') && go(), 50))"
    await page.evaluate(kept)
    other = await console.api.key(f"{console.api.tenant}-other")
    await console.sign_in(page.context, other)
    await page.get_by_role("button", name="Make it").click()
    await expect(page.locator(".who")).to_contain_text(f"{console.api.tenant}-other")
    await expect(page.get_by_label("Prompt", exact=True)).to_have_value("")
    async with await console.api.client(f"{console.api.tenant}-other") as theirs:
        assert (await theirs.get("/v1/jobs")).json()["data"] == []
    await console.sign_in(page.context)
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.locator(".who")).not_to_contain_text("-other")
    await expect(page.get_by_label("Prompt", exact=True)).to_have_value("of this tenant alone")


async def test_a_page_of_the_network_in_the_apis_place_is_an_api_that_is_away(console: Console) -> None:
    page = await console.page("/new/video", spoilt=True)

    async def instead(route: Route) -> None:
        await route.fulfill(status=200, content_type="text/html", body="<title>Sign in to this network</title>")

    await page.get_by_label("Prompt", exact=True).fill("not lost")
    for path in ("**/v1/**", "**/console/session"):
        await page.context.route(path, instead)
    await page.get_by_role("button", name="Make it").click()
    await expect(page.get_by_role("alert").first).to_contain_text("Cogmill cannot be reached")
    await page.reload()
    await page.locator(".banner").wait_for()
    await page.context.unroute_all()
    await page.get_by_role("button", name="Make it").wait_for()
    await expect(page.locator(".banner")).to_have_count(0)
