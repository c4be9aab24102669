"""A batch, a line of one, or an event that breaks its loop is put aside with evidence, and holds up no other."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
import pytest
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.domain.batch import BatchStatus
from orchestrator.notify.outbox import Announcer
from orchestrator.store import Store
from tests.support.api import api_settings
from tests.support.batches import Scene, a_scene, line
from tests.support.jobs import CLUSTER, POOL, new_job, success, workers
from tests.support.logins import as_api


@pytest.mark.parametrize("depth", [70, 975, 980, 1500])
async def test_a_deeply_nested_line_is_named_and_costs_nobody_a_pause(scene: Scene, depth: int) -> None:
    deep = line("b", "bigmodel", ignored="@").replace('"@"', "[" * depth + "]" * depth)
    batch = await scene.create([line("a", "bigmodel"), deep], dialect="bigmodel")
    assert await scene.run_once() == 1
    done = await scene.batch(batch)
    assert done.status is BatchStatus.FAILED
    assert done.errors is not None
    assert [(error.code, error.line) for error in done.errors] == [("invalid_json_line", 2)]


async def test_a_line_that_breaks_us_ends_with_an_error_and_the_others_are_rendered(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = scene.kind._jobs.prepare

    async def breaks(tenant: str, request: Any, job_id: UUID) -> Any:
        if request.prompt == "poison":
            raise RecursionError("maximum recursion depth exceeded")
        return await prepare(tenant, request, job_id)

    monkeypatch.setattr(scene.kind._jobs, "prepare", breaks)
    done = await scene.finish(await scene.create([line("good"), line("bad", prompt="poison"), line("also good")]))
    assert (done.status, done.completed, done.failed) == (BatchStatus.COMPLETED, 2, 1)
    (bad,) = (await scene.lines(done.error_file)).values()
    assert (bad["custom_id"], bad["response"]["body"]["error"]["code"]) == ("bad", "internal_error")


async def test_a_batch_that_breaks_us_is_parked_with_evidence_and_resumed_and_others_go_on_at_once(
    scene: Scene, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = [await scene.create([line("x")]) for _ in range(20)]
    other = a_scene(scene.store, scene.objects, scene.settings)
    theirs = await other.create([line("y")])
    take_in = scene.kind.take_in

    async def breaks(hold: Any) -> float:
        if hold.campaign.tenant == scene.tenant:
            raise ZeroDivisionError("by zero")
        return await take_in(hold)

    with monkeypatch.context() as patch:
        patch.setattr(scene.kind, "take_in", breaks)
        await scene.run_once()
        assert (await other.batch(theirs)).status is BatchStatus.IN_PROGRESS
        assert await scene.run_once() == 0, "nobody looks at a parked batch again and again"
    monkeypatch.setattr("orchestrator.commands.parked.settings_of", lambda _: as_api(api_settings(database_url)))
    parked = await scene.store.list_parked()
    assert {each.subject for each in parked} == {batch.id for batch in poison}
    assert all(each.error.startswith("ZeroDivisionError: by zero (test_bad_rows.py:") for each in parked)
    assert await scene.store.resume_parked(poison[0].id)
    assert not await scene.store.resume_parked(poison[0].id)
    await scene.run_once()
    assert (await scene.batch(poison[0])).status is BatchStatus.IN_PROGRESS


async def test_a_row_of_a_batch_that_cannot_be_read_is_parked(scene: Scene, database: asyncpg.Connection) -> None:
    bad, good = await scene.create([line("x")]), await scene.create([line("y")])
    await database.execute("UPDATE batches SET errors = '[{\"no\": 1}]' WHERE id = $1", bad.id)
    await scene.run_once()
    assert (await scene.batch(good)).status is BatchStatus.IN_PROGRESS
    assert [each.subject for each in await scene.store.list_parked()] == [bad.id]


async def test_an_event_that_breaks_us_is_parked_and_the_others_are_announced(
    store: Store, database: asyncpg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tenant in ("bad", "good", "also-good"):
        await store.submit(new_job(tenant, request={"webhook_url": "https://example.com/hook"}))
    await store.settle([success(claim) for claim in await store.claim(POOL, CLUSTER, workers(3))])
    announcer = Announcer(store, api_settings(database_url))
    announce = announcer._announce

    def breaks(happening: Any) -> Any:
        if happening.tenant == "bad":
            raise KeyError("poison")
        return announce(happening)

    with monkeypatch.context() as patch:
        patch.setattr(announcer, "_announce", breaks)
        assert await announcer.run_once() == 3
    told = "SELECT tenant FROM deliveries ORDER BY tenant"
    assert [row["tenant"] for row in await database.fetch(told)] == ["also-good", "good"]
    (parked,) = await store.list_parked()
    assert (parked.kind, parked.tenant) == ("event", "bad")
    assert await store.resume_parked(parked.subject)
    assert await announcer.run_once() == 1
    assert [row["tenant"] for row in await database.fetch(told)] == ["also-good", "bad", "good"]


async def test_an_endpoint_that_says_what_this_release_does_not_know_silences_no_other(
    store: Store, database: asyncpg.Connection, database_url: str
) -> None:
    for name, types in (("new", '["video.dreamt"]'), ("usual", '["video.completed"]')):
        await database.execute(
            "INSERT INTO webhook_endpoints (id, tenant, name, url, host, event_types) "
            "VALUES ($1, 'acme', $1, 'https://example.com/', 'example.com', $2)", name, types,
        )  # fmt: skip
    await store.submit(new_job())
    await store.settle([success(claim) for claim in await store.claim(POOL, CLUSTER, workers(1))])
    assert await Announcer(store, api_settings(database_url)).run_once() == 1
    assert [row["endpoint_id"] for row in await database.fetch("SELECT endpoint_id FROM deliveries")] == ["usual"]


def test_what_is_parked_is_listed_and_resumed_by_command(
    postgres_server: Any, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres_server.execute(
        "INSERT INTO parked (kind, subject, tenant, error, detail) VALUES ('batch', 'batch_1', 'acme', 'Broken', '{}')",
        database_url.rpartition("/")[2].partition("?")[0],
    )
    monkeypatch.setattr("orchestrator.commands.parked.settings_of", lambda _: as_api(api_settings(database_url)))

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli.app, ["parked", *arguments])
        assert done.exit_code == code, done.output
        return done.output + str(done.exception or "")

    assert run("list").startswith("batch_1  batch  acme  ")
    assert run("resume", "batch_1") == ""
    assert run("list") == ""
    assert "nothing with the id 'batch_1' is parked" in run("resume", "batch_1", code=1)
