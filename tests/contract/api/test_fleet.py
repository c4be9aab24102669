"""Operators see the fleet: kinds, how many are wanted, and why; by HTTP and by the command line alike."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.capacity.fleets import Fleets
from orchestrator.config import Settings
from orchestrator.ports.fleet import KindState, ScaleDecision
from orchestrator.store import Store
from tests.support.api import api_settings
from tests.support.logins import as_api
from tests.support.scaling import a_decision

KINDS = {"spot": {"max": 9, "price_per_gpu_hour": 1.5, "may_vanish": True}, "firm": {"min": 1, "max": 2}}


def with_kinds(database_url: str) -> Settings:
    plain = api_settings(database_url)
    pools = {"small": {"model": "tiny-2b", "kinds": KINDS}, "fixed": {"model": "tiny-2b", "workers": 3}}
    return Settings.model_validate(plain.model_dump() | {"pools": pools})


def told(cluster: str, ready: int, why: str) -> KindState:
    return KindState(
        cluster=cluster, pool="small", kind="spot", wanted=ready + 1, requested=1, starting=0, ready=ready, draining=0,
        why=why, failures=ready, rests_s=60.0 * ready,
    )  # fmt: skip


async def test_a_kind_is_summed_over_clusters_and_a_pool_without_kinds_has_one(store: Store, database_url: str) -> None:
    await store.record_fleet("one", [told("one", 2, "due")], [])
    await store.record_fleet("two", [told("two", 1, "idle")], [])
    shown = {(it.pool, it.kind): it for it in (await Fleets(with_kinds(database_url), store).show()).kinds}
    spot = shown["small", "spot"]
    assert (spot.state.wanted, spot.state.ready, spot.state.failures, spot.state.rests_s) == (5, 3, 2, 120.0)
    assert (spot.state.why, spot.price_per_gpu_hour, spot.most, spot.may_vanish) == ("due; idle", 1.5, 9, True)
    assert shown["small", "firm"].state.why == "no dispatcher has said anything of it within ten minutes"
    assert (shown["fixed", "default"].state.wanted, shown["fixed", "default"].least) == (3, 3)


def test_the_command_shows_kinds_and_decisions(database_url: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("orchestrator.commands.fleet.settings_of", lambda _: as_api(with_kinds(database_url)))

    async def write() -> None:
        async with Store.open(database_url) as store:
            older = ScaleDecision(pool="small", kind="spot", change=-1, why="idle")
            decisions = [older, a_decision("small", "spot")]
            await store.record_fleet("one", [told("one", 2, "due in 60 s")], decisions)

    asyncio.run(write())
    done = CliRunner().invoke(cli.app, ["fleet", "--decisions"])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].split() == ["pool", "kind", "bounds", "wanted", "requested", "starting", "ready", "draining", "why"]
    assert lines[1].split()[:8] == ["small", "spot", "0-9", "3", "1", "0", "2", "0"]
    assert lines[1].endswith("due in 60 s; rests for 120 s")
    newest, before = lines[-2].split(maxsplit=12), lines[-1].split()
    assert newest[2:-1] == ["small", "spot", "+3", "1/0/2/0", "100", "7200", "2.00/s", "for", "3600", "s"]
    assert newest[-1] == a_decision("small", "spot").why
    # What an older release has decided does not say what it was based on.
    assert before[2:] == ["small", "spot", "-1", "-", "-", "-", "-", "idle"]


def test_the_command_tells_of_a_rest_after_losses_and_of_none_where_shared_workers_are_only_awaited(
    database_url: str, monkeypatch: Any
) -> None:
    plain = with_kinds(database_url).model_dump(exclude={"pools"})
    pools = {"small": {"model": "tiny-2b", "kinds": KINDS}, "five": {"model": "tiny-2b"}, "two": {"model": "tiny-2b"}}
    shared = {"main": {"pools": ["five", "two"], "workers": 1}}
    settings = Settings.model_validate(plain | {"pools": pools, "shared": shared})
    monkeypatch.setattr("orchestrator.commands.fleet.settings_of", lambda _: settings)
    aside = replace(told("one", 2, "taken back after 60 s as a mean"), failures=0)
    awaited = replace(aside, pool="two", kind="main", why="one is taken for it within 120 s")

    async def write() -> None:
        async with Store.open(database_url) as store:
            await store.record_fleet("one", [aside, awaited], [])

    asyncio.run(write())
    done = CliRunner().invoke(cli.app, ["fleet"])
    assert done.exit_code == 0, done.output
    lines = {tuple(line.split()[:2]): line for line in done.output.splitlines()}
    assert lines["small", "spot"].endswith("taken back after 60 s as a mean; rests for 120 s")
    assert lines["two", "main"].endswith("one is taken for it within 120 s")
