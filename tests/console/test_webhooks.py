"""Webhooks in the console: endpoints made, tested, disabled and rotated; deliveries looked at and sent again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.support.api import Api, in_process, listening, serving
from tests.support.console import LOOKS, Console, at_rest, findings, overflow, shot
from tests.support.postgres import Server
from tests.support.receivers import Post, posting, receiving, webhook_settings

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database_url(postgres_server: Server, migrated_template: str) -> AsyncIterator[str]:
    name = postgres_server.new_database(migrated_template)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def post(database_url: str) -> AsyncIterator[Post]:
    """What delivers, round by round."""
    async with posting(database_url, base_s=0.01) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def console_server(database_url: str) -> AsyncIterator[tuple[Api, int]]:
    """As every module's, but its receivers may be on the loopback."""
    settings = webhook_settings(database_url)
    async with serving(settings) as app, listening(app) as port:
        api = Api(app, settings, tenant=uuid4().hex[:12], http=in_process(app))
        api.http.headers["authorization"] = f"Bearer {await api.key()}"
        async with api.http:
            yield api, port


async def test_an_endpoint_is_made_tested_rotated_disabled_and_deleted(console: Console, post: Post) -> None:
    async with receiving() as receiver, post.delivering():
        page = await console.page("/webhooks")
        await page.get_by_text("No endpoints yet").wait_for()
        await page.get_by_role("button", name="New endpoint").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Name").fill("production")
        await dialog.get_by_label("URL").fill("ftp://nowhere")
        await dialog.get_by_role("button", name="Make the endpoint").click()
        await expect(dialog.locator(".wrong")).to_have_count(1)
        await dialog.get_by_label("URL").fill(receiver.url())
        await shot(page, "webhook-new")
        await dialog.get_by_role("button", name="Make the endpoint").click()
        secret = await dialog.locator("[data-secret]").inner_text()
        assert secret.startswith("whsec_")
        await dialog.get_by_label("I have kept it").check()
        await dialog.get_by_role("button", name="Done").click()

        row = page.get_by_role("row").filter(has_text="production")
        await row.get_by_role("button", name="Actions").click()
        await shot(page, "webhook-menu")
        await page.get_by_role("menuitem", name="Send a test").click()
        await dialog.get_by_role("button", name="Send").click()
        await dialog.get_by_text("answered 200").wait_for()
        assert receiver.received[-1].event["type"] == "video.completed"
        await page.keyboard.press("Escape")

        await row.get_by_role("button", name="Actions").click()
        await page.get_by_role("menuitem", name="Rotate").click()
        await dialog.get_by_role("button", name="Rotate").click()
        assert await dialog.locator("[data-secret]").inner_text() != secret
        await dialog.get_by_label("I have kept it").check()
        await dialog.get_by_role("button", name="Done").click()

        for action, state in (("Disable", "Disabled"), ("Enable", "Enabled")):
            await row.get_by_role("button", name="Actions").click()
            await page.get_by_role("menuitem", name=action, exact=True).click()
            await expect(row).to_contain_text(state)

        await row.get_by_role("button", name="Actions").click()
        await page.get_by_role("menuitem", name="Delete").click()
        await dialog.get_by_label("Type production").fill("production")
        await dialog.get_by_role("button", name="Delete").click()
        await page.get_by_text("No endpoints yet").wait_for()
    # What the API refused, the browser writes down itself.
    assert [each for each in console.errors if "400" not in each] == []


async def test_a_delivery_that_failed_is_found_looked_at_and_sent_again(console: Console, post: Post) -> None:
    async with receiving(answer=lambda n: 500 if n == 1 else 204) as receiver:
        hook = {"name": "staging", "url": receiver.url(), "event_types": ["video.failed"]}
        made = (await console.api.http.post("/v1/webhook_endpoints", json=hook)).raise_for_status().json()
        video = await console.video()
        (await console.api.http.delete(f"/v1/videos/{video}")).raise_for_status()
        await post.round()
        page = await console.page("/webhooks?tab=deliveries")
        await page.get_by_label("Endpoint").select_option(made["id"])
        await expect(page.get_by_role("row").filter(has_text="video.failed")).to_contain_text("500")
        assert f"endpoint={made['id']}" in page.url
        await page.get_by_text("video.failed").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_text(video).wait_for()
        tried = dialog.get_by_role("region", name="Its attempts").get_by_role("row")
        await expect(tried.nth(1)).to_contain_text("the receiver answered 500")
        await shot(page, "delivery")
        await dialog.get_by_role("button", name="Send again").click()
        await page.get_by_text("It is being sent again").wait_for()
        await post.round()
        await page.reload()
        await expect(page.get_by_role("row").filter(has_text="video.failed")).to_contain_text("Delivered")
    assert len(receiver.received) == 2
    assert console.errors == []


async def test_the_secret_of_requests_is_shown_when_asked_for(console: Console) -> None:
    page = await console.page("/webhooks?tab=secret")
    await page.get_by_role("button", name="Show the secret").wait_for()
    assert "whsec_" not in await page.content()
    await page.get_by_role("button", name="Show the secret").click()
    shown = await page.locator("[data-secret]").inner_text()
    await page.get_by_role("button", name="Rotate").click()
    await page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    await expect(page.locator("[data-secret]")).not_to_have_text(shown)


@pytest.mark.parametrize(("width", "theme", "language"), LOOKS)
async def test_everybody_can_read_it(console: Console, width: int, theme: str, language: str) -> None:
    page = await console.page("/webhooks", width=width, theme=theme, language=language)
    for tab in ("endpoints", "deliveries", "secret"):
        await page.locator(f"[data-tab={tab}]").click()
        await at_rest(page)
        await shot(page, f"webhooks-{tab}-{width}-{theme}", whole=True)
        assert await findings(page) == [], tab
        assert await overflow(page) <= 0, tab
    assert console.errors == []
