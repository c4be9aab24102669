"""`/v1/usage`: what a tenant used, as JSON and as CSV; everybody's for operators."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from fastapi import FastAPI

from orchestrator.config import Settings
from orchestrator.domain.rights import Scope
from orchestrator.domain.worker_time import Spell, Spent
from tests.support.api import Api, api_settings, in_process, serving
from tests.support.postgres import Server
from tests.support.s3 import S3Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

USAGE = "/v1/usage"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api_app(
    postgres_server: Server, migrated_template: str, s3_server: S3Server
) -> AsyncIterator[tuple[FastAPI, Settings]]:
    """As every test's, with a price of one unit a second."""
    plain = api_settings(postgres_server.url(postgres_server.new_database(migrated_template)), s3_server.new_bucket())
    pools = {"small": {"model": "tiny-2b", "price_per_gpu_hour": 3600}}
    settings = Settings.model_validate(plain.model_dump() | {"pools": pools, "billing": {"currency": "EUR"}})
    async with serving(settings) as app:
        yield app, settings


async def a_video(api: Api, *, fails: bool = False) -> str:
    """Rendered in a second, or failed at once."""
    answer = await api.http.post("/v1/videos", json={"prompt": "a lighthouse"})
    video_id = str(answer.raise_for_status().json()["id"])
    await (api.fail(video_id) if fails else api.succeed(video_id))
    return video_id


async def an_operator(api: Api) -> dict[str, str]:
    return {"authorization": f"Bearer {await api.key('staff', scopes=frozenset(Scope))}"}


async def test_a_tenant_sees_what_it_used_and_nothing_of_others(api: Api) -> None:
    async with await api.client("another") as other:
        before = (await other.get(USAGE)).json()["total"]
        for _ in range(2):
            await a_video(api)
        answer = (await api.http.get(USAGE, params={"by": "model,outcome,hour"})).raise_for_status().json()
        assert (await other.get(USAGE)).json()["total"] == before
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    assert answer["data"] == [
        {
            "object": "usage.line", "hour": pytest.approx(int(hour.timestamp()), abs=3600), "tenant": None,
            "campaign": None, "model": "tiny-2b", "pool": None, "kind": None, "outcome": "succeeded", "attempts": 2,
            "gpu_seconds": 2.0, "wasted_gpu_seconds": 0.0, "money": 2.0, "charge": 2.0,
        }
    ]  # fmt: skip
    assert answer["total"] == {
        "attempts": 2, "gpu_seconds": 2.0, "wasted_gpu_seconds": 0.0, "money": 2.0, "charge": 2.0
    }  # fmt: skip
    assert answer["waste"] == {"cancelled": 0, "failed": 0, "lost": 0, "evicted": 0, "released": 0}
    assert (answer["by"], answer["tenant"], answer["currency"]) == (["model", "outcome", "hour"], api.tenant, "EUR")
    assert answer["until"] - answer["since"] == 30 * 24 * 3600


async def test_nothing_used_is_a_total_of_nothing(api: Api) -> None:
    answer = (await api.http.get(USAGE, params={"by": "campaign"})).json()
    assert (answer["data"], answer["total"]["gpu_seconds"], answer["total"]["money"]) == ([], 0.0, 0.0)


async def test_the_same_lines_come_as_csv(api: Api) -> None:
    await a_video(api)
    answer = await api.http.get(USAGE, params={"by": "tenant,hour", "format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    header, line = csv.reader(io.StringIO(answer.text))
    told = dict(zip(header, line, strict=True))
    assert header == ["tenant", "hour", "attempts", "gpu_seconds", "wasted_gpu_seconds", "money", "currency", "charge"]
    assert (told["tenant"], told["gpu_seconds"], told["money"], told["currency"]) == (api.tenant, "1", "1", "EUR")
    assert datetime.fromisoformat(told["hour"]).tzinfo is not None
    whole = await api.http.get(USAGE, params={"format": "csv"})
    assert whole.text.splitlines() == [
        "attempts,gpu_seconds,wasted_gpu_seconds,money,currency,charge", "1,1,0,1,EUR,1"
    ]  # fmt: skip


async def test_no_cell_of_the_csv_runs_in_a_spreadsheet(api: Api) -> None:
    async with await api.client("=1+1") as http:
        answer = await http.post("/v1/videos", json={"prompt": "a lighthouse"})
        await api.succeed(answer.raise_for_status().json()["id"])
        text = (await http.get(USAGE, params={"by": "tenant", "format": "csv"})).text
    assert text.splitlines()[1] == "'=1+1,1,1,0,1,EUR,1"


async def test_operators_see_one_tenant_or_all_and_nobody_else_does(api: Api) -> None:
    await a_video(api)
    operator = await an_operator(api)
    async with in_process(api.app) as http:
        one = (await http.get(USAGE, params={"tenant": api.tenant}, headers=operator)).json()
        everybody = (await http.get(USAGE, params={"tenant": "*", "by": "tenant"}, headers=operator)).json()
        own = (await http.get(USAGE, headers=operator)).json()
    assert (one["tenant"], one["total"]["gpu_seconds"]) == (api.tenant, 1.0)
    assert api.tenant in {line["tenant"] for line in everybody["data"]}
    assert (everybody["tenant"], own["tenant"], own["data"]) == (None, "staff", [])
    for whose in ("*", "staff"):
        refused = await api.http.get(USAGE, params={"tenant": whose})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "operators_only")
    assert (await api.http.get(USAGE, params={"tenant": api.tenant})).status_code == 200


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"by": "colour"}, "by"),
        ({"from": "yesterday"}, "from"),
        ({"to": "2030-01-01T00:00:00"}, "to"),
        ({"from": "2030-01-02", "to": "2030-01-01"}, "from"),
        ({"from": "2028-01-01", "to": "2030-01-01"}, "from"),
        ({"format": "xml"}, "format"),
    ],
)
async def test_what_cannot_be_told_is_refused_by_its_field(api: Api, params: dict[str, Any], param: str) -> None:
    refused = await api.http.get(USAGE, params=params)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


async def test_an_operator_sees_what_the_hours_of_workers_went_into_and_cost(api: Api) -> None:
    spent = [(Spell.BUSY, 30.0), (Spell.IDLE, 20.0), (Spell.LOADING, 10.0)]
    for _ in range(2):
        sums = [Spent(pool="small", spell=spell, seconds=seconds) for spell, seconds in spent]
        await api.dispatching.record_worker_time(sums)
    staff = await an_operator(api)
    answer = (await api.http.get(f"{USAGE}/workers", params={"by": "hour,pool"}, headers=staff)).json()
    (line,) = answer["data"]
    assert line["hour"] % 3600 == 0
    assert {name: line[name] for name in ("pool", "busy_s", "idle_s", "loading_s", "broken_s", "utilisation")} == {
        "pool": "small", "busy_s": 60.0, "idle_s": 40.0, "loading_s": 20.0, "broken_s": 0.0, "utilisation": 0.5,
    }  # fmt: skip
    assert (line["money"], line["unused_money"], answer["total"]["money"]) == (120.0, 60.0, 120.0)
    assert (await api.http.get(f"{USAGE}/workers")).status_code == 403
    refused = await api.http.get(f"{USAGE}/workers", params={"by": "tenant"}, headers=staff)
    assert (refused.status_code, "by" in refused.text) == (400, True)


async def test_workers_hours_and_what_came_to_nothing_come_as_csv_too(api: Api) -> None:
    await a_video(api)
    sums = [Spent(pool="small", kind="night", spell=spell, seconds=12.0) for spell in (Spell.BUSY, Spell.IDLE)]
    await api.dispatching.record_worker_time(sums)
    staff = await an_operator(api)
    answer = await api.http.get(f"{USAGE}/workers", params={"by": "kind", "format": "csv"}, headers=staff)
    assert answer.headers["content-disposition"] == 'attachment; filename="workers.csv"'
    header, *lines = csv.reader(io.StringIO(answer.text))
    assert header == [
        "kind", "busy_s", "idle_s", "loading_s", "broken_s", "utilisation", "money", "unused_money", "currency",
    ]  # fmt: skip
    assert ["night", "12", "12", "0", "0", "0.5", "", "", "EUR"] in lines
    waste = await api.http.get(f"{USAGE}/waste", params={"by": "kind,hour", "format": "csv"}, headers=staff)
    header, *lines = csv.reader(io.StringIO(waste.text))
    assert header == ["kind", "hour", "cause", "seconds", "money", "currency"]
    (idle,) = [line for line in lines if line[0] == "night"]
    assert idle[2:] == ["idle", "12", "", "EUR"]
    assert datetime.fromisoformat(idle[1]).minute == 0


async def test_an_operator_sees_what_came_to_nothing_by_cause(api: Api) -> None:
    staff = await an_operator(api)
    await api.dispatching.record_worker_time([Spent(pool="small", spell=Spell.LOADING, seconds=10.0)])
    answer = (await api.http.get(f"{USAGE}/waste", params={"by": "pool"}, headers=staff)).raise_for_status().json()
    (loading,) = [line for line in answer["data"] if (line["pool"], line["cause"]) == ("small", "loading")]
    assert loading["seconds"] >= 10.0
    assert loading["money"] == pytest.approx(loading["seconds"])
    assert loading["share"] == pytest.approx(loading["seconds"] / answer["worker_seconds"])
    assert answer["since"] % 3600 == answer["until"] % 3600 == 0
    assert (await api.http.get(f"{USAGE}/waste")).status_code == 403
    refused = await api.http.get(f"{USAGE}/waste", params={"by": "tenant"}, headers=staff)
    assert (refused.status_code, "by" in refused.text) == (400, True)
