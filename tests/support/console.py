"""The console in a real Chromium, on a real API with PostgreSQL and S3: pages signed in, at widths and in themes.

Its tests run in one event loop for the whole process, which has one browser:
`pytestmark = pytest.mark.asyncio(loop_scope="session")`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    Error,
    FloatRect,
    Locator,
    Page,
    Playwright,
    ViewportSize,
    async_playwright,
    expect,
)

from tests.support.api import Api, api_settings, in_process, listening, serving
from tests.support.tools import CACHE, need_chromium

if TYPE_CHECKING:
    from tests.support.postgres import Server as PostgresServer
    from tests.support.s3 import S3Server

WIDE, NARROW = 1440, 390
# How each page is looked at: every width, theme and language, in two looks.
LOOKS = [(WIDE, "light", "en"), (NARROW, "dark", "zh")]
_HEIGHTS = {WIDE: 900, NARROW: 844}
# Where `shot` puts pictures; without it, it takes none.
_SHOTS = os.environ.get("COGMILL_SHOTS")
# For what appears in a moment, on a machine that has others' work to do.
_PATIENCE_MS = 60_000
_SERIOUS = {"serious", "critical"}


@dataclass
class Console:
    """`api` speaks for the tenant whose pages these are; `url` is the console's root."""

    api: Api
    browser: Browser
    port: int
    # Profiles that no page uses, by their language: with the console's files in their cache.
    idle: dict[str, list[BrowserContext]] = field(default_factory=dict)
    opened: list[tuple[str, BrowserContext]] = field(default_factory=list)
    # What pages wrote into the browser's console as errors, violations of the policy among them.
    errors: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.api.settings.api.base_path}/console"

    async def page(
        self, path: str = "", *, width: int = WIDE, theme: str = "light", language: str = "en", key: str | None = None,
        signed_in: bool = True, height: int | None = None, spoilt: bool = False,
    ) -> Page:  # fmt: skip
        """A page of the console in a browser profile of its own; `key` signs in as somebody else.

        `spoilt`: what is done to the profile cannot be undone, and no other test gets it.
        """
        context = await self._profile(language)
        if spoilt:
            self.opened[-1] = ("", context)
        if signed_in:
            await self.sign_in(context, key)
        page = await context.new_page()
        await page.set_viewport_size(ViewportSize(width=width, height=height or _HEIGHTS.get(width, 900)))
        # Without motion, or a page is looked at while it still fades in.
        await page.emulate_media(color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce")
        page.set_default_timeout(_PATIENCE_MS)
        expect.set_options(timeout=_PATIENCE_MS)
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        await page.goto(f"{self.url}{path}")
        return page

    async def _profile(self, language: str) -> BrowserContext:
        """One that remembers nothing but the console's files, which a new one would ask for again."""
        idle = self.idle.setdefault(language, [])
        if idle:
            context = idle.pop()
        else:
            locale = {"en": "en-GB", "zh": "zh-CN"}[language]
            context = await self.browser.new_context(locale=locale, timezone_id="Europe/Berlin")
        self.opened.append((language, context))
        return context

    async def sign_in(self, context: BrowserContext, key: str | None = None) -> None:
        """Give a profile the cookie that signing in gives."""
        key = key or self.api.http.headers["authorization"].removeprefix("Bearer ")
        async with httpx.AsyncClient(timeout=_PATIENCE_MS / 1000) as http:
            answer = await http.post(f"{self.url}/session", json={"key": key})
        assert answer.status_code == 201, answer.text
        for cookie in answer.cookies.jar:
            await context.add_cookies([{"name": cookie.name, "value": cookie.value or "", "url": self.url}])

    async def video(self, prompt: str = "a mill on a river", **fields: Any) -> str:
        """A queued video of the tenant; its id."""
        body = {"model": "tiny-2b", "prompt": prompt, "size": "96x64", "num_frames": 33, "fps": 8, **fields}
        answer = await self.api.http.post("/v1/videos", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def close(self) -> None:
        for language, context in self.opened:
            try:
                await forget(context)
            except Error:  # some page of it hangs: the next test gets a new one
                await context.close()
            else:
                self.idle.setdefault(language, []).append(context)
        self.opened.clear()
        self.errors.clear()


async def forget(context: BrowserContext) -> None:
    """Close a profile's pages and take from it what they left: cookies, permissions, and what they stored."""
    for page in context.pages:
        await page.close()
    await context.set_storage_state({"cookies": [], "origins": []})
    await context.clear_permissions()
    await context.set_offline(False)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for the process."""
    async with async_playwright() as playwright, launch(playwright) as opened:
        yield opened


@asynccontextmanager
async def launch(playwright: Playwright) -> AsyncIterator[Browser]:
    """The system's own Chromium."""
    opened = await playwright.chromium.launch(
        executable_path=need_chromium(), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    )
    yield opened
    await opened.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def console_server(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, migrated_template: str, s3_server: S3Server
) -> AsyncIterator[tuple[Api, int]]:
    """One API for a module's tests, for a tenant of its own; and its port. A module may have `settings` of its own."""
    database = postgres_server.new_database(migrated_template)
    settings = getattr(request.module, "settings", api_settings)(postgres_server.url(database), s3_server.new_bucket())
    async with serving(settings) as app, listening(app) as port:
        api = Api(app, settings, tenant=uuid4().hex[:12], http=in_process(app))
        api.http.headers["authorization"] = f"Bearer {await api.key()}"
        async with api.http:
            yield api, port
    postgres_server.drop_database(database)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def profiles() -> AsyncIterator[dict[str, list[BrowserContext]]]:
    """Those of a module's tests, none of which is used by two at once."""
    idle: dict[str, list[BrowserContext]] = {}
    yield idle
    for context in [each for contexts in idle.values() for each in contexts]:
        await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def console(
    console_server: tuple[Api, int], browser: Browser, profiles: dict[str, list[BrowserContext]]
) -> AsyncIterator[Console]:
    """The console for one test; its pages are closed behind it."""
    opened = Console(console_server[0], browser, console_server[1], profiles)
    yield opened
    await opened.close()


# ------------------------------------------------------------ looking at a page


async def shot(page: Page, name: str, *, whole: bool = False, down_to: Locator | None = None) -> None:
    """A picture of the page into the folder that COGMILL_SHOTS names, for people to look at.

    It ends with the window; with the page where it is to be `whole`; or below `down_to`.
    """
    if not _SHOTS:
        return
    clip: FloatRect | None = None
    if down_to and page.viewport_size and (box := await down_to.bounding_box()):
        clip = {"x": 0, "y": 0, "width": page.viewport_size["width"], "height": box["y"] + box["height"] + 16}
    full = whole or clip is not None
    await page.screenshot(path=f"{_SHOTS}/{name}.png", full_page=full, animations="disabled", clip=clip)


async def findings(page: Page) -> list[str]:
    """What axe finds on the page that is serious: each with its rule, its place and what is wrong."""
    script = need_axe()
    # By the debugger's way: the page's policy forbids any other.
    if not await page.evaluate("typeof axe !== 'undefined'"):
        await page.evaluate(script.read_text())
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']} ({each['impact']}): {node['target']} {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
        if each["impact"] in _SERIOUS
    ]


async def overflow(page: Page) -> int:
    """By how many pixels the page is wider than its window, or what is in a table larger than its place.

    In a wide window a table has all its columns in sight; on a phone it has cards, and their values are whole.
    """
    return int(
        await page.evaluate(
            """Math.max(document.documentElement.scrollWidth - innerWidth,
                ...[...document.querySelectorAll(".table")].map((each) =>
                    innerWidth < 1400 ? 0 : each.scrollWidth - each.clientWidth),
                ...[...document.querySelectorAll(".table.cards, .table.cards td")].map((each) =>
                    Math.max(each.scrollWidth - each.clientWidth, each.scrollHeight - each.clientHeight - 1)))"""
        )
    )


async def at_rest(page: Page) -> None:
    """Once nothing on the page is loading."""
    await expect(page.locator("main .loading")).to_have_count(0)


def need_axe() -> Path:
    """axe-core's script; skips the test where .ci/run has not fetched it."""
    script = CACHE / "console/axe.min.js"
    if not script.exists():
        pytest.skip("axe-core is not installed (.ci/run installs it)")
    return script


@asynccontextmanager
async def away(page: Page) -> AsyncIterator[None]:
    """While the browser cannot reach the API."""
    await page.context.set_offline(True)
    yield
    await page.context.set_offline(False)


async def drop(page: Page, name: str, text: str) -> None:
    """Drag a file onto the page, as a person does."""
    data = await page.evaluate_handle(
        "([name, text]) => { const data = new DataTransfer(); data.items.add(new File([text], name)); return data; }",
        [name, text],
    )
    await page.dispatch_event(".drop", "drop", {"dataTransfer": data})
