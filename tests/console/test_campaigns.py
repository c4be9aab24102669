"""The console's campaigns: the list, one with its burn-up, failures and rows, and everything that is done to it."""

from __future__ import annotations

import re

import asyncpg
import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from orchestrator.domain.campaign import CampaignState
from orchestrator.domain.rights import ROLES, USUAL, Role
from tests.support.console import NARROW, WIDE, Console, at_rest, findings, overflow, shot
from tests.support.desks import Desks

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Each page is looked at twice: wide, light, in English; narrow, dark, in Chinese.
LOOKS = [(WIDE, "light", "en"), (NARROW, "dark", "zh")]
BUDGET = {
    "amount": 120_000, "unit": "gpu_seconds",
    "actions": [{"percent": 50, "do": "tell"}, {"percent": 80, "do": "tell"}, {"percent": 100, "do": "finish"}],
}  # fmt: skip


@pytest_asyncio.fixture(loop_scope="session")
async def desks(console: Console) -> Desks:
    return Desks.of(console.api)


async def confirm(page: Page, action: str) -> None:
    """Press the button of the window that asks."""
    await page.get_by_role("dialog").get_by_role("button", name=action, exact=True).click()
    await page.get_by_role("dialog").wait_for(state="detached")


async def more(page: Page, item: str) -> None:
    await page.get_by_role("button", name="More", exact=True).click()
    await page.get_by_role("menuitem", name=item).click()


async def looked_at(page: Page, name: str, width: int, theme: str) -> None:
    await at_rest(page)
    await shot(page, f"{name}-{width}-{theme}", whole=True)
    assert await findings(page) == []
    assert await overflow(page) <= 0


async def test_without_campaigns_the_list_says_what_one_is(console: Console) -> None:
    page = await console.page("/campaigns")
    await page.get_by_role("heading", name="No campaigns").wait_for()
    await looked_at(page, "campaigns-none", WIDE, "light")
    await page.get_by_role("main").get_by_role("link", name="New campaign").first.click()
    await page.get_by_label("Prompt template").wait_for()


async def test_campaigns_are_listed_filtered_and_opened(console: Console, desks: Desks) -> None:
    done = await desks.done(5, fails=2, name="spring kettles")
    running = await desks.create(40, name="autumn mugs", budget=BUDGET)
    await desks.some(running, 9)
    await desks.hours(running)
    (await console.api.http.post("/v1/campaigns", json={"prompt": "a {product}"})).raise_for_status()
    for width, theme, language in LOOKS:
        page = await console.page("/campaigns", width=width, theme=theme, language=language)
        await page.get_by_role("link", name="spring kettles").wait_for()
        await looked_at(page, "campaigns", width, theme)
        await page.get_by_role("link", name="autumn mugs").click()
        await page.locator(".chart canvas").wait_for()
        if language == "en":
            await expect(page.get_by_text("95,000 GPU s of 120,000 GPU s")).to_be_visible()
            await expect(page.get_by_text(re.compile("Done about .* eight times in ten"))).to_be_visible()
        await looked_at(page, "campaign", width, theme)
    page = await console.page("/campaigns")
    await page.get_by_label("State").select_option("completed")
    await expect(page.get_by_role("link", name="autumn mugs")).to_have_count(0)
    await page.get_by_role("link", name="spring kettles").click()
    await page.wait_for_url(f"**/campaigns/{done}")
    assert console.errors == []


async def test_failures_are_grouped_and_all_of_a_reason_is_retried_or_waived(console: Console, desks: Desks) -> None:
    campaign_id = await desks.done(6, fails=3)
    page = await console.page(f"/campaigns/{campaign_id}?tab=failures")
    await page.get_by_text("out_of_memory").wait_for()
    await expect(page.get_by_text("it did not fit")).to_have_count(3)
    await looked_at(page, "campaign-failures", WIDE, "light")
    await page.get_by_role("link", name="Show all").click()
    await expect(page.get_by_role("row")).to_have_count(4)
    await page.get_by_role("button", name="Waive clip-0003").click()
    await page.get_by_text("clip-0003 stays without a video").wait_for()
    await page.get_by_role("tab", name=re.compile("Failures")).click()
    await page.get_by_role("button", name="Retry", exact=True).click()
    await confirm(page, "Retry")
    await page.get_by_text("Running", exact=True).first.wait_for()
    found = (await console.api.http.get(f"/v1/campaigns/{campaign_id}")).json()
    assert (found["state"], found["counts"]["waived"]) == ("running", 1)
    assert console.errors == []


async def test_rows_are_filtered_and_led_to_their_videos(console: Console, desks: Desks) -> None:
    campaign_id = await desks.done(130, fails=1)
    page = await console.page(f"/campaigns/{campaign_id}?tab=rows", width=NARROW)
    await page.get_by_role("link", name="clip-0000").wait_for()
    await looked_at(page, "campaign-rows", NARROW, "light")
    await page.get_by_label("Custom id").fill("clip-0100")
    await expect(page.get_by_role("row")).to_have_count(2)
    await page.get_by_label("Custom id").fill("nobody")
    await page.get_by_text("No row fits these filters.").wait_for()


async def test_a_plan_is_looked_at_with_its_sample_and_approved(console: Console, desks: Desks) -> None:
    campaign_id = await desks.create(8, approval="required", sample=3)
    await desks.until(campaign_id, CampaignState.AWAITING_APPROVAL)
    for width, theme, language in reversed(LOOKS):
        page = await console.page(f"/campaigns/{campaign_id}", width=width, theme=theme, language=language)
        await expect(page.locator(".plan .sample img")).to_have_count(3)
        await looked_at(page, "campaign-plan", width, theme)
    await page.get_by_role("heading", name="The plan").wait_for()
    await page.get_by_role("button", name="Approve", exact=True).click()
    await page.get_by_role("heading", name="The plan").wait_for(state="detached")
    assert (await console.api.http.get(f"/v1/campaigns/{campaign_id}")).json()["state"] == "running"
    # Paused and going on; what is steered elsewhere is seen without a reload.
    await page.get_by_role("button", name="Pause").click()
    await confirm(page, "Pause")
    await page.get_by_text("Paused: somebody asked for it.").wait_for()
    (await console.api.http.post(f"/v1/campaigns/{campaign_id}/resume")).raise_for_status()
    await page.get_by_role("button", name="Pause").wait_for()
    await more(page, "Cancel campaign")
    button = page.get_by_role("dialog").get_by_role("button", name="Cancel campaign")
    await expect(button).to_be_disabled()
    await page.get_by_label("Type autumn mugs to confirm").fill("autumn mugs")
    await shot(page, "campaign-cancel")
    await button.click()
    await page.get_by_text("Cancelled", exact=True).first.wait_for()
    await desks.until(campaign_id, CampaignState.CANCELLED)
    await page.reload()
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Manifest", exact=True).click()
        await page.get_by_role("menuitem", name="Manifest as CSV").click()
    assert (await download.value).suggested_filename.endswith(".csv")
    await more(page, "Delete campaign")
    await page.get_by_label("Type autumn mugs to confirm").fill("autumn mugs")
    await confirm(page, "Delete campaign")
    await page.wait_for_url("**/console/campaigns")
    assert (await console.api.http.get(f"/v1/campaigns/{campaign_id}")).status_code == 404
    assert console.errors == []


async def test_videos_are_rendered_in_full_and_what_failed_is_waived_at_once(console: Console, desks: Desks) -> None:
    campaign_id = await desks.done(3, fails=1, defaults={"profile": "draft"})
    page = await console.page(f"/campaigns/{campaign_id}")
    await page.get_by_role("tab", name=re.compile("About")).click()
    await page.get_by_text("profile: draft").wait_for()
    await page.get_by_label("A note for everybody of your team").fill("the client wants warmer light")
    await page.get_by_role("button", name="Write", exact=True).click()
    await page.get_by_role("article").get_by_text("the client wants warmer light").wait_for()
    await looked_at(page, "campaign-about", WIDE, "light")
    notes = (await console.api.http.get("/v1/notes", params={"about": campaign_id})).json()["data"]
    assert [note["body"] for note in notes] == ["the client wants warmer light"]
    await more(page, "Waive what failed")
    await confirm(page, "Waive")
    await desks.until(campaign_id, CampaignState.COMPLETED)
    await page.reload()
    await more(page, "Render in full")
    await confirm(page, "Render in full")
    await page.get_by_text("Running", exact=True).first.wait_for()
    await desks.until(campaign_id, CampaignState.COMPLETED)
    sheet = (await console.api.http.get(f"/v1/campaigns/{campaign_id}/reviews?promoted=true")).json()["data"]
    assert len(sheet) == 2


async def test_an_administrator_sees_all_tenants_campaigns_and_steers_none_of_them(
    console: Console, desks: Desks
) -> None:
    campaign_id = await desks.done(5, fails=2, name="winter kettles")
    key = await console.api.key("staff", scopes=ROLES[Role.ADMIN] | USUAL)
    for width, theme, language in LOOKS:
        page = await console.page("/campaigns", key=key, width=width, theme=theme, language=language)
        await page.get_by_role("cell", name=console.api.tenant).first.wait_for()
        await looked_at(page, "campaigns-admin", width, theme)
        await page.get_by_role("link", name="winter kettles").click()
        await page.get_by_text("out_of_memory").wait_for()
        await looked_at(page, "campaign-foreign", width, theme)
        assert "morning light" not in await page.inner_text("main")
    page = await console.page(f"/campaigns?tenant={console.api.tenant}&name=WINTER", key=key)
    await page.get_by_role("link", name="winter kettles").click()
    await page.wait_for_url(f"**/campaigns/{campaign_id}")
    await page.get_by_text(f"A campaign of {console.api.tenant}").wait_for()
    await page.get_by_text("The render did not fit into the GPU's memory").wait_for()
    for name in ("More", "Retry", "Waive", "Pause"):
        await expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)
    await page.goto(f"{console.url}/campaigns?name=teapots")
    await page.get_by_role("heading", name="No campaign fits these filters").wait_for()
    assert console.errors == []


async def test_texts_of_rows_never_become_markup_and_a_reader_steers_nothing(console: Console, desks: Desks) -> None:
    evil = "<img src=x onerror=alert(1)>"
    campaign_id = await desks.done(2, name=evil)
    key = await console.api.key(scopes=("read",))
    page = await console.page(f"/campaigns/{campaign_id}", key=key)
    await page.get_by_role("heading", name=evil).wait_for()
    await expect(page.get_by_role("button", name="More", exact=True)).to_have_count(0)
    assert console.errors == []


async def test_a_campaign_that_is_not_there_is_said_in_words_with_the_way_back(console: Console) -> None:
    page = await console.page("/campaigns/campaign_01a22bc2029770f194741fd44f222a09", width=NARROW, theme="dark")
    await page.get_by_role("heading", name="There is no such campaign").wait_for()
    await looked_at(page, "campaign-404", NARROW, "dark")
    await page.get_by_role("link", name="All campaigns").click()
    await page.wait_for_url("**/console/campaigns")


async def test_the_palette_finds_a_campaign_that_is_not_among_the_newest(console: Console, desks: Desks) -> None:
    old = await desks.done(1, name="forgotten teapots")
    connection = await asyncpg.connect(console.api.settings.database_url)
    try:
        await connection.execute(
            """INSERT INTO campaigns (id, kind, tenant, state, ask, templates, priority)
               SELECT 'campaign_f' || lpad(n::text, 31, '0'), kind, tenant, 'draft',
                      jsonb_build_object('name', 'new ' || n), templates, priority
               FROM campaigns, generate_series(0, 100) AS n WHERE id = $1""",
            old,
        )
    finally:
        await connection.close()
    page = await console.page("/campaigns")
    await page.get_by_role("link", name="new 100").wait_for()
    await page.keyboard.press("Control+k")
    await page.get_by_role("option", name="new 100").wait_for()
    await page.get_by_role("combobox", name="Find").fill("teapots forg")
    await page.get_by_role("option", name="forgotten teapots").wait_for()
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/campaigns/{old}")
    assert console.errors == []
