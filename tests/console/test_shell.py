"""The console's shell: signing in, finding the way by hand and by keys, and going on when a session or the API ends."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from orchestrator.domain.rights import ROLES, USUAL, Role
from orchestrator.tenants import keys
from tests.support.api import MASTER_KEY
from tests.support.console import LOOKS, NARROW, WIDE, Console, at_rest, away, findings, overflow, shot

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Shapes that become markup, or a script, wherever a text is taken for one.
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>${document.title}"\'>'


def key_of(console: Console) -> str:
    return str(console.api.http.headers["authorization"]).removeprefix("Bearer ")


async def sign_in(page: Page, key: str) -> None:
    await page.get_by_label("API key").fill(key)
    await page.get_by_role("button", name="Sign in", exact=True).click()


async def sign_out(page: Page) -> None:
    await page.get_by_role("button", name="Account").click()
    await page.get_by_role("menuitem", name="Sign out").click()


async def test_a_key_signs_in_and_out_a_wrong_one_is_told_so_and_none_is_kept_in_the_browser(console: Console) -> None:
    page = await console.page("/parts?tab=empty", signed_in=False)
    await sign_in(page, "cgm_wrong.key")
    await expect(page.get_by_role("alert")).to_contain_text("has been revoked or has expired")
    assert await findings(page) == []
    await shot(page, "sign-in")
    await sign_in(page, key_of(console))
    await expect(page.get_by_role("heading", name="Parts")).to_be_visible()
    assert page.url.endswith("/console/parts?tab=empty"), "what was asked for is not where one is led"
    kept = await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert key_of(console) not in kept
    async with away(page):
        await sign_out(page)
        await page.get_by_text("You are still signed in").wait_for()
    await console.sign_in(page.context)  # anew, in another tab: that is what ends, too
    await sign_out(page)
    await expect(page.get_by_label("API key")).to_be_visible()


@pytest.mark.parametrize(("width", "theme", "language"), LOOKS)
async def test_the_parts_are_for_everybody_at_every_width_and_break_no_rule(
    console: Console, width: int, theme: str, language: str
) -> None:
    page = await console.page("/parts", width=width, theme=theme, language=language)
    await expect(page.locator(".chart canvas")).to_be_visible()
    assert await page.evaluate("document.documentElement.dataset.theme") == theme
    await shot(page, f"parts-{width}-{theme}", whole=True)
    assert await findings(page) == []
    assert await overflow(page) <= 0
    assert console.errors == []


async def test_everything_is_reached_by_keys_alone(console: Console) -> None:
    page = await console.page("/parts?rows=500")
    table = page.get_by_role("region", name="Rows")
    await expect(table).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()

    await page.keyboard.type("jjjk")  # down three rows and up again
    await expect(table.locator("[aria-selected=true]")).to_contain_text("video_1")
    await table.focus()
    await page.keyboard.press("End")
    await expect(table.locator("[aria-selected=true]")).to_contain_text("video_499")
    assert await table.locator("tbody tr").count() < 100, "rows out of sight are drawn"
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(r"opened=video_499"))

    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_contain_text("Jobs")
    assert await findings(page) == []
    await shot(page, "keys")
    await page.keyboard.press("Escape")
    await page.keyboard.type("gw")
    await expect(page).to_have_url(re.compile(r"/console/webhooks$"))


async def test_on_a_phone_a_row_is_a_card_and_still_a_row_for_keys_and_for_who_listens(console: Console) -> None:
    page = await console.page("/parts?rows=200", width=NARROW)
    table = page.get_by_role("table").first
    row = table.get_by_role("row", name=re.compile("^video_1 Queued"))
    await row.wait_for()
    # Its heads are out of sight and there, and a value's label is read once, as its column's name.
    heads = ["Id", "State", "Progress", "Took"]
    assert await table.get_by_role("columnheader").all_inner_texts() == heads
    assert await row.get_by_role("cell").count() == len(heads)
    labels = "row => [...row.cells].map((cell) => getComputedStyle(cell, '::before').content.split('\"')[1])"
    assert await row.evaluate(labels) == heads
    box = await row.bounding_box()
    assert box is not None
    assert box["width"] <= NARROW
    assert box["height"] > 60, "the values are beside each other"
    assert await overflow(page) <= 0

    await page.keyboard.type("jjjk")
    chosen = table.locator("[aria-selected=true]")
    await expect(chosen).to_contain_text("video_1")
    await expect(chosen).to_be_in_viewport(ratio=1)
    await shot(page, "table-cards")
    await page.get_by_role("region", name="Rows").focus()
    await page.keyboard.press("End")
    await expect(chosen).to_contain_text("video_199")
    await expect(chosen).to_be_in_viewport(ratio=1)
    assert await findings(page) == []
    # The same table, once there is room.
    await page.set_viewport_size({"width": WIDE, "height": 900})
    await expect(page.locator(".table.cards")).to_have_count(0)
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(r"opened=video_199"))


async def test_on_a_phone_more_rows_come_only_as_one_gets_near_their_end(console: Console) -> None:
    for n in range(120):
        await console.video(f"mill {n}")
    page = await console.page("/jobs", width=NARROW)
    cards = page.get_by_role("region", name="Jobs").locator("tbody tr")
    await expect(cards).to_have_count(50)
    await at_rest(page)
    await page.keyboard.type("jj")
    await expect(page.locator("[aria-selected=true]")).to_have_count(1)
    await expect(cards).to_have_count(50)
    await cards.last.scroll_into_view_if_needed()
    await expect(cards).to_have_count(100)
    assert console.errors == []


async def test_a_window_keeps_the_focus_and_gives_it_back_and_what_destroys_asks_for_the_name(console: Console) -> None:
    page = await console.page("/parts")
    opener = page.get_by_role("button", name="Delete…")
    await opener.click()
    window = page.get_by_role("dialog", name="Delete autumn?")
    confirm = window.get_by_role("button", name="Delete")
    await expect(window.get_by_label("Type autumn to confirm")).to_be_focused()
    await expect(confirm).to_be_disabled()
    for _ in range(8):
        await page.keyboard.press("Tab")
        # Behind the last control comes the browser's own bar, where nothing of the page has the focus.
        assert await page.evaluate("document.activeElement.matches('body, dialog, dialog *')")
    await shot(page, "confirm")
    await window.get_by_label("Type autumn to confirm").fill("autumn")
    await confirm.click()
    await expect(page.get_by_text("Deleted", exact=True)).to_be_visible()
    await expect(opener).to_be_focused()


async def test_what_is_done_later_can_be_undone(console: Console) -> None:
    page = await console.page("/parts", spoilt=True)
    await page.clock.install()
    await page.get_by_role("button", name="Undo").click()
    await page.get_by_role("status").get_by_role("button", name="Undo").click()
    await expect(page.get_by_text("Undone")).to_be_visible()
    await page.clock.fast_forward(20_000)
    assert await page.get_by_text("Really done").count() == 0
    await page.get_by_role("button", name="Undo").click()
    await page.clock.fast_forward(7_000)
    await expect(page.get_by_text("Really done")).to_be_visible()


async def test_the_palette_finds_pages_jobs_and_actions(console: Console) -> None:
    page = await console.page("/parts")
    await expect(page.get_by_role("heading", name="Parts")).to_be_visible()
    await page.keyboard.press("Control+k")
    ask = page.get_by_role("combobox", name="Find")
    await expect(ask).to_be_focused()
    await shot(page, "palette")
    assert await findings(page) == []
    await ask.fill("nothing of the kind")
    await expect(page.get_by_text("Nothing fits")).to_be_visible()
    await ask.fill("theme")
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
    await page.keyboard.press("Control+k")
    await ask.fill("0198c5a7e3b97d6f8a0c1f2e3d4c5b6a")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile(r"/jobs/video_0198c5a7e3b97d6f8a0c1f2e3d4c5b6a$"))


async def test_the_language_is_chosen_and_kept(console: Console) -> None:
    page = await console.page("/parts")
    await page.get_by_role("button", name="Language").click()
    await page.get_by_role("menuitemradio", name="中文").click()
    await expect(page.get_by_role("heading", name="组件")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("navigation", name="页面")).to_contain_text("任务")
    assert await page.evaluate("document.documentElement.lang") == "zh-CN"
    await shot(page, "chinese")


async def test_filters_and_tabs_live_in_the_address(console: Console) -> None:
    page = await console.page("/parts?state=running&tab=empty&rows=18")
    await expect(page.get_by_role("tab", name="Empty")).to_have_attribute("aria-selected", "true")
    rows = page.get_by_role("region", name="Rows").locator("tbody tr")
    await expect(rows).to_have_count(2)
    await page.get_by_label("Prompt").first.fill(HOSTILE)
    await expect(page).to_have_url(re.compile("text=%3Cimg"))
    await page.reload()
    await expect(page.get_by_label("Prompt").first).to_have_value(HOSTILE)
    await page.get_by_role("button", name="Clear filters").click()
    await expect(rows).to_have_count(18)


async def test_a_session_that_ends_leaves_the_page_and_what_was_typed(console: Console) -> None:
    page = await console.page("/parts")
    await page.get_by_label("Name").fill("half a thou")
    await page.context.clear_cookies()
    await page.keyboard.press("Control+k")  # reads campaigns: the first that hears of it
    window = page.get_by_role("dialog", name="Sign in again")
    await expect(window).to_be_visible()
    await page.keyboard.press("Escape")
    await page.keyboard.press("Escape")
    await expect(window).to_be_visible()
    await shot(page, "signed-out")
    await sign_in(page, key_of(console))
    await expect(window).to_have_count(0)
    await page.keyboard.press("Escape")
    await expect(page.get_by_label("Name")).to_have_value("half a thou")


async def test_an_api_that_is_away_is_told_and_asked_again_until_it_is_back(console: Console) -> None:
    page = await console.page("/parts")
    await page.get_by_label("Name").fill("half a thou")
    banner = page.get_by_text("Cogmill cannot be reached")
    async with away(page):
        await page.keyboard.press("Control+k")
        await expect(banner).to_be_visible()
        await page.keyboard.press("Escape")
        await shot(page, "away")
    await expect(banner).to_have_count(0)
    await expect(page.get_by_label("Name")).to_have_value("half a thou")


async def test_a_text_of_any_shape_is_a_text(console: Console) -> None:
    key = await console.api.services.store.add_key("k-hostile", HOSTILE[:60], HOSTILE, master=1)
    page = await console.page("/parts", key=keys.issue(MASTER_KEY, key.id))
    await expect(page.locator(".who")).to_contain_text("<script>")
    await expect(page).to_have_title("Parts · Cogmill")
    assert await page.locator("img[src=x]").count() == 0
    assert console.errors == []


async def test_who_asks_is_told_by_the_browser_when_something_is_done(console: Console) -> None:
    page = await console.page("/parts")
    await page.context.grant_permissions(["notifications"])
    await page.evaluate(
        "window.Notification = class { static requestPermission() { return Promise.resolve('granted'); } "
        "constructor(_, { body }) { document.documentElement.dataset.told = body; } }; undefined"
    )
    await page.get_by_role("button", name="Tell me when it is done").click()
    await expect(page.get_by_text("You will be told")).to_be_visible()
    await page.get_by_role("button", name="End it").click()
    await expect(page.locator("html")).to_have_attribute("data-told", "The video is ready")


async def test_every_page_of_the_navigation_opens(console: Console) -> None:
    page = await console.page("/parts", key=await console.api.key(scopes=ROLES[Role.ADMIN] | USUAL))
    navigation = page.get_by_role("navigation", name="Pages")
    entries = navigation.locator("a.entry")
    await expect(entries).to_have_count(10)
    for name in await entries.all_inner_texts():
        await navigation.get_by_role("link", name=name, exact=True).click()
        await expect(navigation.locator("[aria-current=page]")).to_have_text(name)
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await at_rest(page)
        assert await page.locator("main .problem").count() == 0, name
    assert console.errors == []


async def test_a_page_that_cannot_be_loaded_or_is_not_there_leaves_the_rest_whole(console: Console) -> None:
    page = await console.page("/no/such/page")
    await expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    await page.route("**/pages/Parts.js", lambda route: route.abort())
    await page.goto(f"{console.url}/parts")
    await expect(page.get_by_role("alert")).to_contain_text("could not be loaded")
    await expect(page.get_by_role("navigation", name="Pages")).to_be_visible()
