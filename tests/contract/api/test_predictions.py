"""Operators see what renders have taught: by HTTP and by the command line alike."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.config import Settings
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.rights import Scope
from orchestrator.learning.listing import Listing
from orchestrator.policy.prediction import Key, Lesson
from orchestrator.store import Store
from tests.support.api import Api, api_settings, in_process
from tests.support.builders import a_spec
from tests.support.logins import as_api

LESSONS = [
    *[Lesson(key=Key.of(a_spec(), kind="small/spot", revision="tiny-2b:here"), ratio=2.0)] * 5,
    *[Lesson(key=Key.of(a_spec(), kind="small/firm"), ratio=1.0)] * 5,
    Lesson(key=Key.of(a_spec(model="gone", adapter="ink"), kind="elsewhere"), ratio=9.0),
]


def with_kinds(database_url: str) -> Settings:
    kinds = {"spot": {"max": 9, "speed": 1.5}, "firm": {"max": 2}}
    pools = {"small": {"model": "tiny-2b", "kinds": kinds}}
    return Settings.model_validate(api_settings(database_url).model_dump() | {"pools": pools})


async def test_each_kind_of_render_has_its_line_and_each_kind_of_worker_its_speed(
    store: Store, database_url: str
) -> None:
    await store.learn(LESSONS, keep=31)
    listing = Listing(with_kinds(database_url), store)
    lines = {(line.pool, line.kind): line for line in (await listing.show()).lines}
    spot, gone = lines["small", "spot"], lines["elsewhere", ""]
    assert spot.prior_s is not None
    assert spot.seconds == pytest.approx(2 * spot.prior_s)
    assert (spot.ratio.likely, spot.ratio.samples, spot.weight) == (2.0, 5, pytest.approx(5.0))
    assert spot.ratio.low < 2.0 < spot.ratio.high
    assert (gone.prior_s, gone.seconds, gone.key.adapter) == (None, None, "ink")
    speeds = {it.kind: (it.configured, it.learned) for it in (await listing.show()).speeds}
    assert speeds == {"spot": (1.5, pytest.approx(0.5)), "firm": (1.0, 1.0)}
    assert [line.pool for line in (await listing.show(model="gone")).lines] == ["elsewhere"]
    assert len((await listing.show(pool="small", most=1)).lines) == 1
    for wrong in ({"model": "tiny"}, {"pool": "spot"}):
        with pytest.raises(InvalidField):
            await listing.show(**wrong)


def test_the_command_is_a_table_or_json(database_url: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("orchestrator.commands.predictions.settings_of", lambda _: as_api(with_kinds(database_url)))

    async def write() -> None:
        async with Store.open(database_url) as store:
            await store.learn(LESSONS, keep=31)

    asyncio.run(write())

    def said(*arguments: str) -> str:
        done = CliRunner().invoke(cli.app, ["predictions", *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    heads, line = said("--model", "gone").splitlines()
    assert heads.split()[:4] == ["model", "pool", "kind", "size"]
    assert line.split()[:11] == ["gone", "elsewhere", "-", "96x64", "9", "4", "exact", "yes", "ink", "-", "-"]
    assert [row.split() for row in said("--speeds").splitlines()[1:]] == [
        ["small", "spot", "tiny-2b", "1.5", "0.5"], ["small", "firm", "tiny-2b", "1", "1"],
    ]  # fmt: skip
    told = json.loads(said("--json", "--pool", "small"))
    assert {(each["kind"], each["ratio"], each["renders"]) for each in told["data"]} == {("spot", 2, 5), ("firm", 1, 5)}
    assert told["speeds"][0]["learned"] == pytest.approx(0.5)
    assert CliRunner().invoke(cli.app, ["predictions", "--pool", "none"]).exit_code != 0


@pytest.mark.asyncio(loop_scope="module")
async def test_an_operator_reads_them_and_nobody_else_does(api: Api) -> None:
    await api.dispatching.learn(LESSONS, keep=31)
    staff = {"authorization": f"Bearer {await api.key('staff', scopes=frozenset(Scope))}"}
    async with in_process(api.app) as http:
        answer = (await http.get("/v1/predictions", params={"model": "gone"}, headers=staff)).json()
        refused = await http.get("/v1/predictions", params={"pool": "none"}, headers=staff)
    (line,) = answer["data"]
    assert (line["pool"], line["size"], line["prior_seconds"]) == ("elsewhere", "96x64", None)
    assert line["ratio"]["likely"] == 9
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "pool")
    assert (await api.http.get("/v1/predictions")).status_code == 403
