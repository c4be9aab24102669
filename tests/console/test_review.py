"""The review desk in two browsers at once: keys, reasons, undoing, conflicts, drafts beside finals, exports."""

from __future__ import annotations

import re
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from orchestrator.domain.campaign import CampaignState
from orchestrator.store import reviews as kept_reviews
from tests.support.console import NARROW, WIDE, Console, at_rest, away, findings, overflow, shot
from tests.support.desks import Desks

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def desks(console: Console) -> Desks:
    return Desks.of(console.api)


async def open_desk(console: Console, campaign_id: str, **how: Any) -> Page:
    show = how.pop("show", None)
    page = await console.page(f"/review?campaign={campaign_id}" + (f"&show={show}" if show else ""), **how)
    await page.locator(".tile").first.wait_for()
    return page


async def reviews(console: Console, campaign_id: str) -> dict[str, Any]:
    """What is thought of each video, by its row."""
    page = (await console.api.http.get(f"/v1/campaigns/{campaign_id}/reviews?limit=100")).json()
    return {video["custom_id"]: video["review"] for video in page["data"]}


def chosen(page: Page) -> Any:
    return page.locator(".tile[aria-selected=true]")


async def test_without_videos_the_desk_says_what_it_is_for(console: Console) -> None:
    page = await console.page("/review")
    await page.get_by_role("heading", name="Nothing to review yet").wait_for()
    await shot(page, "review-none")
    assert await findings(page) == []


async def test_videos_are_rated_approved_rejected_and_undone_by_keys_alone(console: Console, desks: Desks) -> None:
    campaign_id = await desks.done(6)
    page = await console.page("/review")
    await page.get_by_role("link", name="autumn mugs").click()
    await page.locator(".tile").first.wait_for()
    await expect(chosen(page)).to_contain_text("clip-0000")
    await page.keyboard.press("4")
    await expect(chosen(page)).to_contain_text("★★★★")
    await page.keyboard.press("a")
    await expect(chosen(page)).to_contain_text("clip-0001")
    await page.keyboard.press("j")
    await page.keyboard.press("k")
    await page.keyboard.press("r")
    await page.get_by_role("dialog").wait_for()
    await page.keyboard.type("the handle is wrong")
    await page.get_by_label("Left out").check()
    await shot(page, "review-reject")
    await page.keyboard.press("Enter")
    await expect(chosen(page)).to_contain_text("clip-0002")
    await page.get_by_text("1 approved").wait_for()
    await page.get_by_text("1 rejected").wait_for()
    said = await reviews(console, campaign_id)
    assert (said["clip-0000"]["rating"], said["clip-0000"]["decision"]) == (4, "approve")
    assert (said["clip-0001"]["reason"], said["clip-0001"]["action"]) == ("the handle is wrong", "drop")
    await page.keyboard.press("u")
    await page.get_by_text("Undone").wait_for()
    await page.keyboard.press("u")
    await page.get_by_text("6 undecided").wait_for()
    said = await reviews(console, campaign_id)
    assert (said["clip-0000"]["rating"], said["clip-0000"]["decision"], said["clip-0001"]["decision"]) == (
        4,
        None,
        None,
    )
    await page.keyboard.press("?")
    await page.get_by_text("Undo what you said last").wait_for()
    assert console.errors == []


async def test_two_at_once_are_given_different_videos_and_lose_nothing(console: Console, desks: Desks) -> None:
    campaign_id = await desks.done(8)
    one = await open_desk(console, campaign_id)
    await expect(one.get_by_role("option")).to_have_count(8)
    two = await console.page(f"/review?campaign={campaign_id}")
    await two.get_by_role("heading", name="Nothing is left for you").wait_for()  # the other looks at them all
    await shot(two, "review-queue-empty")
    await two.get_by_role("button", name="All videos").click()
    await two.locator(".tile").first.wait_for()
    await one.keyboard.press("a")
    await one.get_by_text("1 approved").wait_for()
    await two.keyboard.press("r")  # of the same, by what it shows: too late
    await two.keyboard.type("too dark")
    await two.keyboard.press("Enter")
    await two.get_by_text(re.compile(r"was quicker: approved")).wait_for()
    first = (await reviews(console, campaign_id))["clip-0000"]
    assert first["decision"] == "approve"
    history = (await console.api.http.get(f"/v1/reviews/{first['id']}")).json()["history"]
    assert [(entry["kind"], entry["decision"]) for entry in history] == [("decided", "approve"), ("refused", "reject")]
    await two.keyboard.press("k")
    await two.locator(".preview summary").click()
    await two.get_by_text("too late: rejected").wait_for()
    await shot(two, "review-history")
    assert [error for error in console.errors if "409" not in error] == []


async def test_what_is_said_while_the_api_is_away_is_sent_when_it_is_back(console: Console, desks: Desks) -> None:
    campaign_id = await desks.done(3)
    page = await open_desk(console, campaign_id)
    async with away(page):
        await page.keyboard.press("5")
        await page.keyboard.press("a")
        await page.get_by_text("Cogmill cannot be reached").wait_for()
        await expect(page.locator(".tile.approve")).to_have_count(1)
    await page.get_by_text("1 approved").wait_for()
    first = (await reviews(console, campaign_id))["clip-0000"]
    assert (first["rating"], first["decision"]) == (5, "approve")


async def test_what_is_said_of_a_video_that_was_deleted_meanwhile_does_not_look_as_if_it_held(
    console: Console, desks: Desks
) -> None:
    campaign_id = await desks.done(2)
    page = await open_desk(console, campaign_id)
    video_id = (await reviews(console, campaign_id))["clip-0000"]["id"]
    assert (await console.api.http.delete(f"/v1/videos/{video_id}")).status_code == 200
    await page.keyboard.press("a")
    await page.get_by_text("no finished video").wait_for()
    await expect(page.locator(".tile.approve")).to_have_count(0)
    console.errors[:] = [error for error in console.errors if "404" not in error]


async def test_rejections_are_carried_out_and_what_is_approved_is_promoted(console: Console, desks: Desks) -> None:
    campaign_id = await desks.done(4, defaults={"profile": "draft"})
    before = await reviews(console, campaign_id)
    page = await open_desk(console, campaign_id)
    await page.keyboard.press("a")
    await page.get_by_text("1 approved").wait_for()
    await page.keyboard.press("r")
    await page.get_by_role("dialog").wait_for()
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Carry out 1 rejection").click()
    await page.get_by_role("dialog").get_by_role("button", name="Carry them out").click()
    await page.get_by_text("1 are rendered again, 0 are left out").wait_for()
    await expect(page.get_by_role("option")).to_have_count(3)
    await page.get_by_role("button", name="Render approved in full").click()
    await page.get_by_role("dialog").get_by_role("button", name="Render approved in full").click()
    await page.get_by_text("1 row is rendered in full").wait_for()
    await desks.until(campaign_id, CampaignState.COMPLETED)
    after = await reviews(console, campaign_id)
    assert after["clip-0001"]["id"] != before["clip-0001"]["id"]
    page = await open_desk(console, campaign_id)
    await expect(page.locator(".preview figcaption")).to_have_text(["Draft", "Final"])
    await at_rest(page)
    await shot(page, "review-draft")
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Export").click()
        await page.get_by_role("menuitem", name="Decisions as CSV").click()
    assert (await download.value).suggested_filename == f"{campaign_id}-reviews.csv"


async def test_one_press_carries_out_all_rejections_however_many(
    console: Console, desks: Desks, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign_id = await desks.done(4)
    for review in list((await reviews(console, campaign_id)).values())[:3]:
        said = {"version": 0, "decision": "reject", "reason": "too dark", "action": "drop"}
        (await console.api.http.put(f"/v1/reviews/{review['id']}", json=said)).raise_for_status()
    monkeypatch.setattr(kept_reviews, "_AT_ONCE", 1)
    page = await open_desk(console, campaign_id)
    seen: list[str] = []
    page.on("request", lambda request: seen.append(request.url) if request.url.endswith("/reviews/apply") else None)
    await page.get_by_role("button", name="Carry out 3 rejections").click()
    await page.get_by_role("dialog").get_by_role("button", name="Carry them out").click()
    await page.get_by_text("0 are rendered again, 3 are left out").wait_for()
    assert len(seen) == 3
    assert len(await reviews(console, campaign_id)) == 1
    assert console.errors == []


async def test_thousands_are_a_sheet_of_which_only_what_is_in_sight_is_drawn(console: Console, desks: Desks) -> None:
    campaign_id = await desks.done(12)
    await desks.many(campaign_id, 3000)
    for width, theme, language in [(WIDE, "light", "en"), (NARROW, "dark", "zh")]:
        page = await open_desk(console, campaign_id, width=width, theme=theme, language=language, show="all")
        await expect(page.locator(".counts strong").first).to_have_text("3,012")
        await at_rest(page)
        await shot(page, f"review-{width}-{theme}")
        assert await findings(page) == []
        assert await overflow(page) <= 0
        if width == WIDE:  # more come as one scrolls
            await page.locator(".sheet").evaluate(SCROLL, "more-000300")
            assert await page.locator(".tile").count() < 120


# To the end, and on as more come, until a video as far down as this is drawn.
SCROLL = """(sheet, name) => new Promise((done) => {
    const look = () => {
        sheet.scrollTop = sheet.scrollHeight;
        const last = [...sheet.querySelectorAll('.tile .clip')].at(-1);
        last.textContent >= name ? done() : setTimeout(look, 50);
    };
    look();
})"""


async def test_a_reader_sees_the_desk_and_says_nothing(console: Console, desks: Desks) -> None:
    campaign_id = await desks.done(2)
    page = await open_desk(console, campaign_id, key=await console.api.key(scopes=("read",)))
    await expect(page.get_by_role("button", name=re.compile("Approve"))).to_be_disabled()
    await page.keyboard.press("a")
    await page.keyboard.press("j")
    await expect(chosen(page)).to_contain_text("clip-0001")
    assert {review["version"] for review in (await reviews(console, campaign_id)).values()} == {0}


@pytest.mark.parametrize("way", ["{}%2Fcancel%3F", "..%2Fcampaigns%2F{}%2Fcancel%3F", "..%2Fvideos%2F{}%2Fcancel%23"])
async def test_a_link_has_the_desk_ask_nothing_but_the_desks_routes(console: Console, desks: Desks, way: str) -> None:
    campaign_id = await desks.done(1)
    page = await console.page("/parts")
    async with page.expect_request(lambda request: request.method == "POST" and "/v1/" in request.url) as asked:
        await page.goto(f"{console.url}/review?campaign={way.format(campaign_id)}")
    assert (await asked.value).url.endswith("/v1/campaigns/-/reviews/hold")
