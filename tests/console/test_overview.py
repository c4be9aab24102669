"""The pages Overview, Fleet and Usage: what they show of nothing, of little and of much, and what one does there."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from orchestrator.domain.rights import ROLES, USUAL, Role
from tests.support.api import POOL
from tests.support.console import LOOKS, NARROW, WIDE, Console, findings, overflow, shot
from tests.support.machines import Machines

pytestmark = pytest.mark.asyncio(loop_scope="session")

# A machine that does much else is slow.
expect.set_options(timeout=20_000)


async def admin(console: Console, path: str, role: Role = Role.ADMIN, **how: Any) -> Page:
    """A page as an administrator sees it."""
    key = await console.api.key("platform", scopes=ROLES[role] | USUAL)
    return await console.page(path, key=key, **how)


async def much(console: Console) -> Machines:
    """A fleet at work, with hours behind it."""
    there = await Machines.none(console.api)
    await there.waiting(400, tenants=12)
    await there.workers(40)
    await there.hours(700)
    await there.used(3_000)
    await there.given_up()
    return there


async def looks_right(page: Page, console: Console, name: str) -> None:
    """Readable by everybody, no wider than its window, without an error."""
    await expect(page.locator(".loading")).to_have_count(0)
    await shot(page, name, whole=True)
    assert await findings(page) == []
    assert await overflow(page) <= 0
    assert console.errors == []


@pytest.mark.parametrize(("width", "theme", "language"), LOOKS)
async def test_a_busy_deployment_can_be_read(console: Console, width: int, theme: str, language: str) -> None:
    await much(console)
    page = await admin(console, "", width=width, theme=theme, language=language)
    for path, name in (("", "overview"), ("/fleet", "fleet"), ("/usage", "usage")):
        await page.goto(f"{console.url}{path}")
        await page.get_by_role("table").first.wait_for()
        await looks_right(page, console, f"many-{name}-{width}-{theme}-{language}")


async def test_where_nothing_is_yet_the_page_says_what_will_be(console: Console) -> None:
    await Machines.none(console.api)
    words = {"": "Nothing was asked for yet", "/fleet": "No workers", "/usage": "Nothing was used in this time"}
    for key, who in ((None, "own"), (await console.api.key("platform", scopes=ROLES[Role.ADMIN] | USUAL), "all")):
        page = await console.page("", key=key, width=NARROW if who == "own" else WIDE)
        for path, told in words.items():
            await page.goto(f"{console.url}{path}")
            told = told if path != "/fleet" or who == "all" else "The fleet is for operators"
            await page.get_by_role("heading", name=told).wait_for()
            await looks_right(page, console, f"none{path.replace('/', '-') or '-overview'}-{who}")


async def test_the_overview_tells_how_it_stands_and_goes_on_by_itself(console: Console) -> None:
    there = await much(console)
    page = await admin(console, "")
    await expect(page.get_by_text("400", exact=True).first).to_be_visible()
    await page.get_by_role("figure").filter(has_text="Cumulative flow: ").wait_for()
    await page.get_by_role("figure").filter(has_text="GPU-busy share: ").wait_for()
    await shot(page, "readme", down_to=page.locator(".flow"))  # api/console/overview.png
    alerts = page.get_by_role("list", name=re.compile("Alerts"))
    await alerts.get_by_text("Workers cannot load their model").wait_for()
    pools = page.get_by_role("region", name="By pool")
    await expect(pools.get_by_role("row", name=re.compile(POOL))).to_contain_text("400")
    assert await page.get_by_role("region", name="By tenant").get_by_role("link").count() >= 12
    tiles = page.get_by_role("listitem").filter(has_text=f"{POOL}-0")
    await expect(tiles.first).to_contain_text("Denoising")
    # What stays is not drawn anew: the same elements go on, and only their texts change.
    await page.evaluate("window.before = document.querySelector('.figures')")
    await there.waiting(100, tenants=2)
    await expect(page.get_by_text("500", exact=True).first).to_be_visible()
    assert await page.evaluate("window.before === document.querySelector('.figures')")
    await page.get_by_role("search").get_by_label("Time").select_option("24")
    await page.wait_for_url("**hours=24")
    assert console.errors == []


async def test_alerts_are_told_in_the_readers_language_and_new_ones_as_the_api_words_them(console: Console) -> None:
    await much(console)

    async def one_more(route: Route) -> None:
        answer = await route.fetch()
        told = await answer.json()
        newer = {"name": "Newer", "severity": "warning", "subject": "", "summary": "It is <b>new</b>.", "values": {}}
        await route.fulfill(response=answer, json={**told, "alerts": [*told["alerts"], newer]})

    page = await admin(console, "/fleet", language="zh")
    await page.route("**/v1/admin/overview", one_more)
    await page.goto(console.url)
    alerts = page.get_by_role("list", name=re.compile("告警"))
    await alerts.get_by_text("1 个工作进程无法加载模型。").wait_for()
    await expect(alerts).to_contain_text("there is not enough memory for it")
    await expect(alerts).to_contain_text("It is <b>new</b>.")
    await expect(alerts).not_to_contain_text("cannot load the model")
    await shot(page, "overview-alerts-zh")


async def test_a_tenant_sees_its_own_and_nobody_elses(console: Console) -> None:
    await much(console)
    page = await console.page("")
    await page.get_by_role("region", name="By priority").wait_for()
    await page.get_by_role("figure").filter(has_text="Cumulative flow: ").wait_for()
    await looks_right(page, console, "own-overview")
    assert "tenant-1" not in await page.inner_text("main")
    assert await page.get_by_role("region", name="By tenant").count() == 0
    await page.goto(f"{console.url}/usage")
    await page.get_by_role("region", name="By model").wait_for()
    assert "tenant-1" not in await page.inner_text("main")
    assert await page.get_by_text("Workers' hours").count() == 0


async def test_a_pool_and_the_whole_queue_are_paused_with_a_reason_and_resumed(console: Console) -> None:
    await much(console)
    page = await admin(console, "/fleet")
    await page.get_by_role("button", name=f"Pause {POOL}").click()
    window = page.get_by_role("dialog")
    await window.get_by_role("button", name="Pause", exact=True).click()
    await window.get_by_text("must say why").wait_for()  # beside the field, and the window stays
    await window.get_by_label("Reason").fill("the storage <b>moves</b>")
    await shot(page, "fleet-pausing")
    await window.get_by_role("button", name="Pause", exact=True).click()
    row = page.get_by_role("region", name="Pools").get_by_role("row", name=re.compile(POOL))
    await expect(row).to_contain_text("the storage <b>moves</b>")
    await page.get_by_role("button", name=f"Resume {POOL}").click()
    await expect(row).not_to_contain_text("storage")
    await page.get_by_role("button", name="Pause the queue").click()
    await page.get_by_role("dialog").get_by_label("Reason").fill("we are closed")
    await page.keyboard.press("Enter")
    await expect(row).to_contain_text("we are closed")
    await page.get_by_role("button", name="Resume the queue").click()
    await expect(row).not_to_contain_text("closed")


async def test_a_worker_is_drained_replaced_and_called_back(console: Console) -> None:
    await much(console)
    page = await admin(console, "/fleet")
    row = page.get_by_role("region", name="Workers").get_by_role("row", name=re.compile(rf"^{POOL}-0 "))
    await expect(row).to_contain_text("noir")
    for action, asked in (("Drain", "is drained · 600 s left"), ("Replace", "is replaced")):
        await row.get_by_role("button", name=f"{action} {POOL}-0").click()
        window = page.get_by_role("dialog", name=f"{action} {POOL}-0?")
        await expect(window).to_contain_text("It holds one job.")
        if action == "Drain":
            await window.get_by_label("What it renders").select_option("600")
            await shot(page, "fleet-draining")
        await window.get_by_role("button", name=action, exact=True).click()
        await expect(row).to_contain_text(re.compile(asked.replace("600", r"(600|59\d)")))
        await expect(row).to_contain_text("Draining")
    await row.get_by_role("button", name=f"Call {POOL}-0 back").click()
    await expect(row).not_to_contain_text("is replaced")


async def test_workers_are_chosen_and_kinds_decisions_and_quarantines_are_shown_with_their_evidence(
    console: Console,
) -> None:
    await much(console)
    page = await admin(console, "/fleet", role=Role.VIEWER)
    workers = page.get_by_role("region", name="Workers")
    await workers.wait_for()
    await page.get_by_label("Does").select_option("broken")
    await expect(workers.get_by_role("row")).to_have_count(2)
    await expect(workers).to_contain_text("there is not enough memory for it (3×)")
    # Who may only look finds nothing to press.
    assert await page.get_by_role("button", name=re.compile("^(Pause|Resume|Drain|Replace)")).count() == 0
    await page.get_by_role("tab", name="Kinds").click()
    await expect(page.get_by_role("region", name="Kinds")).to_contain_text("workers = 1")
    await page.get_by_role("tab", name="Decisions").click()
    await page.get_by_role("heading", name="No decision was taken yet").wait_for()
    await page.get_by_role("tab", name="Quarantines (1)").click()
    await expect(page.get_by_role("main")).to_contain_text("frame 1 has values that are no numbers")
    await looks_right(page, console, "fleet-quarantines")


async def test_use_is_told_apart_and_saved_as_csv(console: Console, tmp_path: Path) -> None:
    await much(console)
    page = await admin(console, "/usage")
    lines = page.get_by_role("region", name="By tenant")
    await expect(lines.get_by_role("row")).to_have_count(4)
    await page.get_by_role("figure").filter(has_text="GPU time: ").wait_for()
    await expect(page.get_by_role("group", name="What came to nothing, by cause")).to_contain_text(
        "Lost with their worker"
    )
    await expect(page.get_by_role("region", name="Workers' hours")).to_contain_text("%")
    await page.get_by_label("Told apart by").select_option("outcome")
    await expect(page.get_by_role("region", name="By outcome").get_by_role("row")).to_have_count(5)
    await page.get_by_role("search").get_by_label("Time").select_option("7")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="CSV", exact=True).click()
    saved = tmp_path / "usage.csv"
    await (await download.value).save_as(saved)
    with saved.open(newline="") as file:
        told = list(csv.DictReader(file))
    assert {line["outcome"] for line in told} == {"succeeded", "failed", "lost", "cancelled"}
    assert console.errors == []
