"""New video and new campaign: forms that know the models, price as one types, take files, and lose nothing."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import Page, expect

from orchestrator.config import Settings
from tests.support.api import api_settings
from tests.support.console import NARROW, WIDE, Console, at_rest, away, findings, overflow, shot
from tests.support.desks import picture

if TYPE_CHECKING:
    from orchestrator.config import S3Settings

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOOKS = [(WIDE, "light", "en"), (NARROW, "dark", "zh")]
ROWS = "custom_id,product,scene\n" + "".join(f"clip-{n},mug {n},table\n" for n in range(250))


def settings(database_url: str, s3: S3Settings) -> Settings:
    """With a model that begins at pictures beside the usual one."""
    usual = api_settings(database_url, s3).model_dump()
    models = usual["models"] | {"tiny-i2v": {"family": "tiny-5b-i2v", "source": "/models/tiny-5b-i2v"}}
    models["tiny-2b"]["image_model"] = "tiny-i2v"
    return Settings.model_validate(usual | {"models": models, "pools": usual["pools"] | {"i": {"model": "tiny-i2v"}}})


async def priced(page: Page) -> float:
    """What the form says that it costs, in GPU seconds."""
    total = page.locator(".price .total")
    await expect(total).to_have_text(re.compile(r"[\d,.]+ GPU s"))
    return float((await total.inner_text()).removesuffix(" GPU s").replace(",", ""))


async def test_a_video_is_priced_as_one_types_and_made(console: Console) -> None:
    for width, theme, language in LOOKS:
        page = await console.page("/new/video", width=width, theme=theme, language=language)
        await page.locator(".price .total").wait_for()
        await at_rest(page)
        await shot(page, f"new-video-{width}-{theme}", whole=True)
        rule = {"en": "9 to 49 frames in steps of 8", "zh": "9 至 49 帧，每 8 帧一档"}[language]
        await expect(page.get_by_text(rule)).to_be_visible()
        assert await findings(page) == []
        assert await overflow(page) <= 0
    page = await console.page("/new/video", width=NARROW)
    before = await priced(page)
    await page.get_by_label("Steps", exact=True).fill("40")
    await page.locator(".price dd", has_text="40").wait_for(state="attached")  # hidden where it is narrow
    assert await priced(page) > before
    await page.get_by_label("Steps", exact=True).fill("9999")
    await expect(page.locator(".price .wrong")).to_contain_text("num_inference_steps")
    await page.get_by_label("Steps", exact=True).fill("5")
    await page.get_by_label("Size").select_option("64x64")
    await page.get_by_label("Prompt", exact=True).fill("a mill on a river")
    # What was typed is there after a reload, and an API that is away loses none of it.
    await kept(page, "a mill on a river")
    await page.reload()
    await expect(page.get_by_label("Prompt", exact=True)).to_have_value("a mill on a river")
    async with away(page):
        await page.get_by_role("button", name="Make it").click()
        await page.get_by_text("Cogmill cannot be reached").first.wait_for()
    await expect(page.get_by_label("Prompt", exact=True)).to_have_value("a mill on a river")
    await page.get_by_role("button", name="Make it").click()
    await page.wait_for_url(re.compile(r"/console/jobs/video_"))
    made = (await console.api.http.get("/v1/videos")).json()["data"][0]
    assert (made["prompt"], made["size"], made["steps"]) == ("a mill on a river", "64x64", 5)
    page = await console.page("/new/video")
    await expect(page.get_by_label("Prompt", exact=True)).to_have_value("")


async def test_a_picture_is_dragged_in_and_the_video_begins_at_it(console: Console) -> None:
    page = await console.page("/new/video")
    await priced(page)
    await page.get_by_label("Prompt", exact=True).fill("it turns once around")
    await drop(page, "notes.png", b"no picture at all", "image/png")
    await page.locator(".drop").get_by_text("notes.png").wait_for()
    await page.get_by_role("button", name="Make it").click()
    wrong = page.locator(".field", has=page.locator(".drop")).get_by_role("alert")
    await expect(wrong).to_contain_text("image")
    await shot(page, "new-video-no-picture")
    await drop(page, "mug.webp", picture(3), "image/webp")
    still = page.get_by_role("img", name="mug.webp")
    await still.wait_for()
    await page.wait_for_function("() => document.querySelector('.drop .picture').naturalWidth === 288")
    await expect(wrong).to_have_count(0)
    await expect(page.locator(".price dd", has_text="tiny-i2v")).to_be_visible()
    await shot(page, "new-video-picture", whole=True)
    await page.get_by_role("button", name="Make it").click()
    await page.wait_for_url(re.compile(r"/console/jobs/video_"))
    made = (await console.api.http.get("/v1/videos")).json()["data"][0]
    assert (made["prompt"], made["model"]) == ("it turns once around", "tiny-i2v")


async def test_what_the_api_refuses_is_told_beside_its_field(console: Console) -> None:
    page = await console.page("/new/video")
    await priced(page)
    await page.get_by_role("button", name="Make it").click()
    field = page.get_by_label("Prompt", exact=True)
    await expect(field).to_have_attribute("aria-invalid", "true")
    await shot(page, "new-video-wrong")


async def test_a_table_is_dragged_in_looked_at_priced_and_made_a_campaign(console: Console) -> None:
    page = await console.page("/new/campaign")
    await page.get_by_label("Name").fill("winter mugs")
    await drop(page, "mugs.csv", ROWS.encode(), "text/csv")
    await page.get_by_text("About 250 rows").wait_for()
    await page.get_by_label("Prompt template").fill("a {product} in the {place}")
    await page.get_by_role("alert").get_by_text("No column is called {place}.").wait_for()
    await page.get_by_label("Prompt template").fill("a {product} on a")
    await page.get_by_role("button", name="{scene}").click()
    await expect(page.get_by_label("Prompt template")).to_have_value("a {product} on a {scene}")
    await expect(page.locator(".price dd", has_text="250").first).to_be_visible()
    once = await priced(page)
    await page.get_by_label("Videos a row").fill("2")
    await expect(page.locator(".price dd", has_text="500").first).to_be_visible()
    assert await priced(page) == pytest.approx(2 * once, rel=0.02)
    await page.get_by_label("Budget").fill("5000")
    await at_rest(page)
    await shot(page, "new-campaign", whole=True)
    assert await findings(page) == []
    await kept(page, "winter mugs")
    await page.reload()
    await page.get_by_text("About 250 rows").wait_for()
    await page.set_viewport_size({"width": NARROW, "height": 844})
    await shot(page, "new-campaign-390", whole=True)
    assert await overflow(page) <= 0
    await page.get_by_role("button", name="Read it in").click()
    await page.wait_for_url(re.compile(r"/console/campaigns/campaign_"))
    made = (await console.api.http.get("/v1/campaigns")).json()["data"][0]
    assert (made["name"], made["variants"], made["state"]) == ("winter mugs", 2, "ingesting")
    assert made["budget"]["amount"] == 5000


async def kept(page: Page, text: str) -> None:
    """Once the browser keeps a draft that has this text."""
    await page.evaluate(
        "text => new Promise((done) => { const look = () => Object.values(localStorage).some((each) => "
        "each.includes(text)) ? done() : setTimeout(look, 50); look(); })",
        text,
    )


async def drop(page: Page, name: str, content: bytes, kind: str) -> None:
    """Drag a file onto the page, as a person does."""
    data = await page.evaluate_handle(
        "([name, type, text]) => { const data = new DataTransfer();"
        " const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));"
        " data.items.add(new File([bytes], name, { type })); return data; }",
        [name, kind, base64.b64encode(content).decode()],
    )
    await page.dispatch_event(".drop", "drop", {"dataTransfer": data})
