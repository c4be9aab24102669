"""Campaigns are found by name and at risk; an administrator finds those of all tenants, without what they show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import httpx
import pytest

from orchestrator.domain.rights import ROLES, Role
from orchestrator.store import campaign_search
from tests.support.api import Api, in_process

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN = "/v1/admin/campaigns"


TEMPLATE = {"prompt": "a secret {product}", "negative_prompt": "a secret flaw"}


async def made(api: Api, name: str | None, **fields: Any) -> str:
    answer = await api.http.post("/v1/campaigns", json={"template": TEMPLATE, "name": name, **fields})
    return str(answer.raise_for_status().json()["id"])


async def page_of(http: httpx.AsyncClient, path: str, **query: Any) -> dict[str, Any]:
    page: dict[str, Any] = (await http.get(path, params=query)).raise_for_status().json()
    return page


async def ids_of(http: httpx.AsyncClient, path: str, **query: Any) -> Sequence[str]:
    return [each["id"] for each in (await page_of(http, path, **query))["data"]]


async def viewer_of(api: Api) -> httpx.AsyncClient:
    return in_process(api.app, await api.key("staff", scopes=ROLES[Role.VIEWER]))


async def run(api: Api, statement: str, *values: Any) -> None:
    connection = await asyncpg.connect(api.settings.database_url)
    try:
        await connection.execute(statement, *values)
    finally:
        await connection.close()


async def test_a_campaign_is_found_by_its_name_wherever_it_is_listed(api: Api) -> None:
    mugs, percent, _ = await made(api, "Autumn mugs"), await made(api, "50% of_mugs"), await made(api, None)
    async with await viewer_of(api) as viewer:
        for http, path, of in ((api.http, "/v1/campaigns", {}), (viewer, ADMIN, {"tenant": api.tenant})):
            for query, wanted in (
                ({"name": "MUGS"}, [percent, mugs]),
                ({"name": "autumn m"}, [mugs]),
                ({"name": "%"}, [percent]),
                ({"name": "f_m"}, [percent]),
                ({"name": "kettles"}, []),
                ({"name": "mugs", "state": "draft"}, [percent, mugs]),
                ({"name": "mugs", "state": "running"}, []),
                ({"name": "mugs", "after": percent}, [mugs]),
            ):
                assert await ids_of(http, path, **of, **query) == wanted, (path, query)
            for name in ("x" * 201, "a\0b"):
                refused = await http.get(path, params={"name": name})
                assert (refused.status_code, refused.json()["error"]["param"]) == (400, "name")


async def test_pages_go_on_where_filters_leave_little(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign_search, "WINDOW", 2)
    wanted = [await made(api, "mugs") if n % 4 == 0 else await made(api, f"kettles {n}") for n in range(7)]
    wanted = [wanted[4], wanted[0]]
    found: list[str] = []
    after: dict[str, str] = {}
    pages = 0
    while True:
        page = await page_of(api.http, "/v1/campaigns", name="mugs", limit=1, **after)
        found += [each["id"] for each in page["data"]]
        pages += 1
        if not page["has_more"]:
            break
        after = {"after": page["last_id"]}
    assert found == wanted
    assert pages <= 5


async def test_what_is_at_risk_is_found_by_its_last_forecast(api: Api) -> None:
    late, good, old, unknown = [await made(api, name) for name in ("late", "good", "old", "unknown")]
    for campaign, at_risk, age in ((late, True, "1 minute"), (good, False, "1 minute"), (old, True, "1 hour")):
        await run(
            api,
            f"""INSERT INTO forecasts (subject, name, made_at, at_risk)
                VALUES ('campaign', $1, cogmill_now() - interval '{age}', $2)""",
            campaign,
            at_risk,
        )
    assert await ids_of(api.http, "/v1/campaigns", at_risk=True) == [late]
    assert await ids_of(api.http, "/v1/campaigns", at_risk=False) == [unknown, old, good, late]
    async with await viewer_of(api) as viewer:
        assert await ids_of(viewer, ADMIN, at_risk=True, tenant=api.tenant) == [late]


async def test_an_administrator_sees_every_tenants_campaigns_and_nothing_of_what_they_show(api: Api) -> None:
    budget = {"amount": 100, "unit": "gpu_seconds"}
    mine = await made(api, "mine", metadata={"for": "secret"}, budget=budget)
    async with await api.client(f"another-{api.tenant}") as stranger:
        answer = await stranger.post("/v1/campaigns", json={"prompt": "a secret {product}", "name": "theirs"})
        theirs = str(answer.raise_for_status().json()["id"])
        assert (await stranger.get(f"/v1/campaigns/{mine}")).status_code == 404
    gone = await made(api, "gone")
    await run(api, "UPDATE campaigns SET deleted_at = cogmill_now() WHERE id = $1", gone)
    async with await viewer_of(api) as viewer:
        page = await page_of(viewer, ADMIN, limit=2)
        assert [(each["id"], each["tenant"]) for each in page["data"]] == [
            (theirs, f"another-{api.tenant}"),
            (mine, api.tenant),
        ]
        whole = (await viewer.get(f"{ADMIN}/{mine}")).raise_for_status()
        assert whole.json()["budget"]["amount"] == 100
        assert whole.json()["failures"] == []
        assert "secret" not in whole.text + str(page)
        for unknown in (f"{mine[:-8]}00000000", "campaign_x", gone):
            missing = await viewer.get(f"{ADMIN}/{unknown}")
            assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
        assert (await viewer.get(ADMIN, params={"after": "nobody"})).json()["error"]["param"] == "after"
        assert (await viewer.get(ADMIN, params={"tenant": "a/b"})).json()["error"]["param"] == "tenant"


async def test_an_administrator_sees_why_rows_failed_but_not_what_they_said(api: Api) -> None:
    campaign = await made(api, "fails")
    await run(
        api,
        """INSERT INTO campaign_rows (campaign, place, line, custom_id, body, outcome, result)
           SELECT number, n, n + 1, 'secret-' || n, '{}', 'failed', jsonb_build_object('error', jsonb_build_object(
               'code', CASE n WHEN 0 THEN 'worker_lost' ELSE 'out_of_memory' END, 'message', 'a secret message'))
           FROM campaigns, generate_series(0, 2) AS n WHERE id = $1""",
        campaign,
    )
    async with await viewer_of(api) as viewer:
        whole = await viewer.get(f"{ADMIN}/{campaign}")
    assert whole.json()["failures"] == [{"code": "out_of_memory", "rows": 2}, {"code": "worker_lost", "rows": 1}]
    assert "secret" not in whole.text
