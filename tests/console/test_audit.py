"""The audit log in the console: filtered, looked into, written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from orchestrator.domain.rights import ROLES, USUAL, Role
from tests.support.api import POOL, in_process
from tests.support.console import LOOKS, Console, at_rest, findings, overflow, shot

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def act(console: Console, key: str, times: int = 1) -> None:
    """What an administrator does to the tenant and to a pool."""
    async with in_process(console.api.app, key, address="198.51.100.7") as http:
        for n in range(times):
            body = {"weight": 2 + n % 2, "limits": {"queued": 10 + n}}
            (await http.put(f"/v1/admin/tenants/{console.api.tenant}", json=body)).raise_for_status()
        (await http.post(f"/v1/admin/pools/{POOL}/pause", json={"reason": "<b>new</b> driver"})).raise_for_status()
        (await http.post(f"/v1/admin/pools/{POOL}/resume")).raise_for_status()


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_entries_are_filtered_looked_into_and_written_out(console: Console) -> None:
    key = await console.api.key("platform", scopes=ROLES[Role.ADMIN] | USUAL)
    await act(console, key, times=60)
    page = await console.page("/audit", key=key)
    await page.get_by_role("combobox", name="Action").select_option("tenant.limits")
    await page.get_by_role("textbox", name="Tenant").fill(console.api.tenant)
    await expect(page).to_have_url(f"{console.url}/audit?action=tenant.limits&tenant={console.api.tenant}")
    row = page.get_by_role("row").filter(has_text="queued 68 → 69")
    await expect(row).to_contain_text("198.51.100.7")
    await row.click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_role("row").filter(has_text="queued")).to_contain_text("68")
    await shot(page, "audit-entry")
    await page.keyboard.press("Escape")

    async with page.expect_download() as coming:
        await page.get_by_role("button", name="Export JSONL").click()
    lines = read(await (await coming.value).path())
    assert len(lines) == 60
    assert {line["action"] for line in lines} == {"tenant.limits"}
    assert lines[0]["after"] == {"queued": 69}

    await page.get_by_role("button", name="Clear filters").click()
    await page.get_by_role("textbox", name="On what").fill(f"pool:{POOL}")
    # What people wrote is text, and never markup.
    await page.get_by_role("row").filter(has_text="<b>new</b> driver").first.wait_for()
    assert console.errors == []


async def test_who_may_not_see_it_is_told_so_and_not_led_there(console: Console) -> None:
    page = await console.page("/audit")
    await page.get_by_role("alert").get_by_text("does not have the right").wait_for()
    assert await page.get_by_role("link", name="Audit").count() == 0


@pytest.mark.parametrize(("width", "theme", "language"), LOOKS)
async def test_everybody_can_read_it(console: Console, width: int, theme: str, language: str) -> None:
    key = await console.api.key("platform", scopes=ROLES[Role.ADMIN] | USUAL)
    await act(console, key)
    for name, path in (("audit", "/audit"), ("audit-none", "/audit?actor=nobody-of-that-name")):
        page = await console.page(path, width=width, theme=theme, language=language, key=key)
        await page.locator("h1").wait_for()
        await at_rest(page)
        await shot(page, f"{name}-{width}-{theme}", whole=True)
        assert await findings(page) == [], name
        assert await overflow(page) <= 0, name
    assert console.errors == []
