"""The console's shell: signing in, finding the way, and what stands around every page."""

from __future__ import annotations

import pytest

from tests.support.console import NARROW, WIDE, Console, findings, overflow, shot

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_key_signs_in_and_a_wrong_one_is_told_so(console: Console) -> None:
    page = await console.page(signed_in=False)
    await page.get_by_label("API key").fill("cgm_wrong.key")
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("alert").get_by_text("has been revoked or has expired").wait_for()
    await shot(page, "sign-in")
    await page.get_by_label("API key").fill(console.api.http.headers["authorization"].split()[1])
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("navigation", name="Pages").wait_for()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
async def test_the_parts_can_be_read_by_everybody(console: Console, width: int, theme: str) -> None:
    page = await console.page("/parts", width=width, theme=theme)
    await page.get_by_role("heading", name="Parts", exact=True).wait_for()
    await shot(page, f"parts-{width}-{theme}", whole=True)
    assert await findings(page) == []
    assert await overflow(page) <= 0
    assert console.errors == []
