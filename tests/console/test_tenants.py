"""Tenants and keys: made, bounded, replaced, revoked and erased in the console; and one's own keys for everybody."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.async_api import Page, expect

from orchestrator.domain.rights import ROLES, USUAL, Role
from tests.support.api import POOL, id_of, in_process
from tests.support.console import LOOKS, Console, at_rest, findings, overflow, shot

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def admin(console: Console) -> str:
    return await console.api.key("platform", scopes=ROLES[Role.ADMIN] | USUAL)


async def status(console: Console, key: str) -> int:
    async with in_process(console.api.app, key) as http:
        return (await http.get("/v1/videos")).status_code


async def furnish(console: Console, key: str) -> None:
    """Tenants of all kinds: many, one with something of everything, and names that are no markup."""
    async with in_process(console.api.app, key) as http:
        for n in range(12):
            await put(http, f"/v1/admin/tenants/team-{n}", {"weight": 1 + n % 3, "limits": {"queued": 100 * (n + 1)}})
        path = f"/v1/admin/tenants/{console.api.tenant}"
        await put(http, path, {"weight": 2, "limits": {"queued": 4, "running": "none", "open_campaigns": 3}})
        await put(http, f"{path}/shares/{POOL}", {"running": 3})
        actions = [{"percent": 80, "do": "tell"}, {"percent": 95, "do": "finish"}]
        await put(http, f"{path}/budgets/month/gpu_seconds", {"amount": 500_000, "actions": actions})


async def put(http: httpx.AsyncClient, path: str, body: object) -> None:
    (await http.put(path, json=body)).raise_for_status()


async def whole_key(page: Page) -> str:
    """The key that the window shows once; the window is closed."""
    dialog = page.get_by_role("dialog")
    text = await dialog.locator("[data-secret]").inner_text()
    await expect(dialog.get_by_role("button", name="Done")).to_be_disabled()
    await dialog.get_by_label("I have kept it").check()
    await dialog.get_by_role("button", name="Done").click()
    await expect(dialog).to_have_count(0)
    assert text not in await page.content()
    return text


async def test_a_tenants_own_keys_are_made_replaced_and_revoked(console: Console) -> None:
    page = await console.page("/tenants")
    await page.get_by_role("heading", name="Keys", exact=True).wait_for()
    await page.get_by_role("button", name="New key").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Name").fill("nightly exports")
    await dialog.get_by_role("checkbox", name=re.compile(r"^\s*webhooks\b")).uncheck()
    await dialog.get_by_label("Expires").select_option("30")
    await dialog.get_by_label("Networks").fill("127.0.0.0/8, ::1")
    await shot(page, "key-new")
    await dialog.get_by_role("button", name="Make the key").click()
    made = await whole_key(page)
    assert await status(console, made) == 200
    row = page.get_by_role("row").filter(has_text="nightly exports")
    await expect(row).to_contain_text("Active")

    await row.get_by_role("button", name="Actions").click()
    await page.get_by_role("menuitem", name="Replace").click()
    await page.get_by_role("dialog").get_by_label("goes on for").select_option("0")
    await page.get_by_role("dialog").get_by_role("button", name="Replace").click()
    successor = await whole_key(page)
    assert (await status(console, made), await status(console, successor)) == (401, 200)

    row = page.get_by_role("row").filter(has_text="nightly exports").filter(has_text="Active")
    await expect(row).to_have_count(1)  # the other's end is seen by the page's next second
    await row.get_by_role("button", name="Actions").click()
    await page.get_by_role("menuitem", name="Revoke").click()
    confirm = page.get_by_role("dialog")
    await expect(confirm.get_by_role("button", name="Revoke")).to_be_disabled()
    await confirm.get_by_label("Type nightly exports").fill("nightly exports")
    await confirm.get_by_role("button", name="Revoke").click()
    await page.get_by_text("The key is revoked").wait_for()
    assert await status(console, successor) == 401
    assert console.errors == []


async def test_a_tenant_sees_no_other_and_what_is_refused_is_said_beside_its_field(console: Console) -> None:
    page = await console.page("/tenants")
    await page.get_by_role("button", name="New key").wait_for()
    assert await page.get_by_role("tab").count() == 0
    await page.get_by_role("button", name="New key").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Networks").fill("not a network")
    await dialog.get_by_role("button", name="Make the key").click()
    await expect(dialog.locator(".wrong")).to_have_count(1)
    assert await dialog.get_by_label("Networks").input_value() == "not a network"
    await page.goto(f"{console.url}/tenants/another")
    await page.get_by_role("alert").get_by_text("does not have the right").wait_for()


async def test_an_administrator_makes_a_tenant_bounds_it_and_takes_it_back(console: Console) -> None:
    page = await console.page("/tenants", key=await admin(console))
    await page.get_by_role("button", name="New tenant").click()
    await page.get_by_role("dialog").get_by_label("Tenant").fill("studio")
    await page.get_by_role("dialog").get_by_label("Weight").fill("3")
    await page.get_by_role("button", name="Make the tenant").click()
    await page.get_by_role("heading", name="studio").wait_for()

    await page.get_by_role("button", name="Change Waiting jobs").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("What holds").select_option("number")
    await dialog.get_by_label("Value").fill("5000")
    await dialog.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("row").filter(has_text="Waiting jobs")).to_contain_text("5,000")
    await page.get_by_role("button", name="Undo").click()
    await expect(page.get_by_role("row").filter(has_text="Waiting jobs")).to_contain_text("default")

    await page.get_by_role("button", name=f"Change the share of {POOL}").click()
    await dialog.get_by_label("Running at once").fill("2")
    await dialog.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("row").filter(has_text=POOL)).to_contain_text("2")

    await page.get_by_role("button", name="New budget").click()
    await dialog.get_by_label("Amount").fill("1000")
    await dialog.get_by_label("Begin nothing more").fill("95")
    await dialog.get_by_role("button", name="Save").click()
    await page.get_by_text("begins nothing more at 95%").wait_for()
    await page.get_by_role("button", name="Actions for the budget").click()
    await page.get_by_role("menuitem", name="Lift").click()
    await dialog.get_by_role("button", name="Lift").click()
    await page.get_by_text("No budget").wait_for()
    assert console.errors == []


async def test_an_administrator_makes_keys_of_a_tenant_with_a_role(console: Console) -> None:
    page = await console.page(f"/tenants/{console.api.tenant}", key=await admin(console))
    await page.get_by_role("button", name="New key").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Name").fill("on call")
    for scope in ("read", "submit", "campaigns", "webhooks", "keys"):
        await dialog.get_by_role("checkbox", name=re.compile(rf"^\s*{scope}\b")).uncheck()
    await dialog.get_by_label("Role").select_option("operator")
    await dialog.get_by_role("button", name="Make the key").click()
    made = await whole_key(page)
    found = await console.api.services.store.find_key(id_of(made))
    assert found is not None
    assert (found.tenant, found.rights.scopes) == (console.api.tenant, ROLES[Role.OPERATOR])


async def test_a_tenant_is_erased_by_its_name_alone_and_a_viewer_is_not_offered_it(console: Console) -> None:
    key = await admin(console)
    async with in_process(console.api.app, key) as http:
        await put(http, "/v1/admin/tenants/gone", {})
    page = await console.page("/tenants/gone", key=key)
    await page.get_by_role("button", name="Erase").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Type gone").fill("gon")
    await expect(dialog.get_by_role("button", name="Erase")).to_be_disabled()
    await dialog.get_by_label("Type gone").fill("gone")
    await shot(page, "tenant-erase")
    await dialog.get_by_role("button", name="Erase").click()
    await page.get_by_role("row").filter(has_text="gone").wait_for()
    viewer = await console.page(f"/tenants/{console.api.tenant}", key=await console.api.key(scopes=ROLES[Role.VIEWER]))
    await viewer.get_by_role("region", name="Limits and quotas").wait_for()
    for name in ("Erase", "New key", "New budget", "Change"):
        assert await viewer.get_by_role("button", name=name).count() == 0
    assert console.errors == []


@pytest.mark.parametrize(("width", "theme", "language"), LOOKS)
async def test_everybody_can_read_it_with_many_and_with_nothing(
    console: Console, width: int, theme: str, language: str
) -> None:
    key = await admin(console)
    await furnish(console, key)
    page = await console.page("", width=width, theme=theme, language=language, key=key)
    for name, path in (("tenants", "/tenants"), ("tenant", f"/tenants/{console.api.tenant}"),
                       ("tenant-empty", "/tenants/team-3"), ("keys", "/tenants?tab=keys"),
                       ("erasures", "/tenants?tab=erasures")):  # fmt: skip
        await page.goto(f"{console.url}{path}")
        await page.locator("h1").wait_for()
        await at_rest(page)
        await shot(page, f"{name}-{width}-{theme}", whole=True)
        assert await findings(page) == [], name
        assert await overflow(page) <= 0, name
    assert console.errors == []


async def test_the_keyboard_alone_does_it(console: Console) -> None:
    page = await console.page("/tenants")
    await page.get_by_role("button", name="New key").wait_for()
    await at_rest(page)
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await page.get_by_role("dialog").wait_for()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.get_by_role("button", name="New key").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog").get_by_label("Name")).to_be_focused()
    await page.keyboard.type("by keyboard")
    await page.keyboard.press("Enter")
    await page.get_by_role("dialog").locator("[data-secret]").wait_for()
