"""A campaign survives whatever stops its engine: the same manifest, byte for byte, and nothing rendered twice."""

from __future__ import annotations

import asyncio
import errno
import tempfile
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from orchestrator.adapters.s3 import S3Objects
from orchestrator.campaigns import campaigns as use_cases
from orchestrator.campaigns import ingest
from orchestrator.config import S3Settings
from orchestrator.domain.campaign import Campaign, CampaignState, Outcome, PassKind, PauseReason
from orchestrator.domain.errors import LeaseLost
from orchestrator.ports.campaign_values import Change, NewPass, RowEdit, Work
from orchestrator.rows import engine
from orchestrator.store import Store
from tests.support import campaigns as support
from tests.support.api import api_settings
from tests.support.campaign_invariants import check_always
from tests.support.campaigns import FAILS, CampaignScene, a_campaign_scene
from tests.support.faulty_store import Fault, FaultyStore, Killed
from tests.support.postgres import Clock
from tests.support.s3 import S3Server

S = CampaignState

# Everything that an engine does outside itself, from the first lease to the last write.
STEPS = (
    "add_rows", "read_held", "change_held", "settle_rows", "open_passes", "workers_of", "rivals", "beside",
    "budgets_of", "find_rows", "submit_rows", "window", "rebalance", "ended_rows", "end_campaign", "stream", "upload",
    "put", "prepare",
)  # fmt: skip

# Some render, one fails, one has a parameter that no video has, and one comes twice.
ROWS = "custom_id,product,size\n" + "".join(f"r{n},mug {n},\n" for n in range(6))
ROWS += f"bad,{FAILS},\nwrong,mug,7x7\nr0,mug,\n"

EXPIRE = text("UPDATE campaigns SET leased_until = NULL")
EMPTY = text("""
    TRUNCATE campaigns, campaign_rows, campaign_bad_rows, campaign_jobs, campaign_passes, jobs, attempts, outbox, files
""")


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every campaign has the same name and file: what is rendered differs in nothing."""
    monkeypatch.setattr(use_cases, "uuid7", lambda: SimpleNamespace(hex="0" * 31 + "7"))
    monkeypatch.setattr(support, "new_file_id", lambda: "file-" + "7" * 32)


async def story(scene: CampaignScene, run: Callable[[], Any]) -> bytes:
    """A campaign that is taken in, sampled, approved, paused and resumed while it runs, and ends; its manifest.

    `run` is a round of some engine, after which whatever it held is free again.
    """
    campaign = await scene.create(ROWS, prompt="a {product}", sample=2, approval=True, max_running=2, order="spread")
    paused = resumed = False
    for _ in range(120):
        await run()
        await scene.store._database.fetch(EXPIRE)
        now = await scene.now(campaign)
        if now.ended_at is not None:
            return await manifest_of(scene, campaign)
        if now.state is S.AWAITING_APPROVAL:
            await scene.campaigns.approve(scene.tenant, now.id, str(now.plan_token))
        elif now.state is S.PAUSED and PauseReason.OWNER in now.pauses:
            await scene.campaigns.resume(scene.tenant, now.id)
            resumed = True
        elif now.state is S.RUNNING and now.counts.ended >= 3 and not paused:
            await scene.campaigns.pause(scene.tenant, now.id)
            paused = True
        await scene.render(most=2)
    raise AssertionError(f"still {now.state} {now.counts}; paused {paused}, resumed {resumed}")


async def manifest_of(scene: CampaignScene, campaign: Campaign) -> bytes:
    mark = (await scene.now(campaign)).manifest
    assert mark is not None
    return scene.objects.get(mark.key)


def a_dying_engine(scene: CampaignScene, name: str) -> tuple[Callable[[], Any], list[str]]:
    """An engine that dies at its next call of that name, whenever it has come through a round; and its deaths.

    Before the call and after it by turns.
    """
    deaths: list[str] = []
    whole = False

    def choose(called: str) -> Fault | None:
        if called != name or whole:
            return None
        deaths.append(called)
        return "killed before" if len(deaths) % 2 else "killed after"

    async def run() -> None:
        nonlocal whole
        store: Any = FaultyStore(scene.store, choose)
        bucket: Any = FaultyStore(scene.objects, choose)
        process: Any = a_campaign_scene(store, bucket, scene.settings, scene.tenant)
        kind = process.engine._kinds["campaign"]
        kind._jobs = FaultyStore(kind._jobs, choose)
        try:
            await process.run_once()
            whole = False
        except Killed:
            store.dead = bucket.dead = whole = True

    return run, deaths


_undisturbed: dict[str, bytes] = {}


@pytest.mark.parametrize("name", STEPS)
async def test_an_engine_that_is_killed_again_and_again_leaves_the_same_manifest(
    campaign_scene: CampaignScene, clock: Clock, database: asyncpg.Connection, named: None, name: str
) -> None:
    scene = a_campaign_scene(campaign_scene.store, campaign_scene.objects, campaign_scene.settings, "acme")
    if not _undisturbed:
        _undisturbed["manifest"] = await story(scene, scene.step)
        await scene.store._database.fetch(EMPTY)
    run, deaths = a_dying_engine(scene, name)
    assert await story(scene, run) == _undisturbed["manifest"]
    assert deaths, f"nobody came by {name}"
    await check_always(database)
    assert len(await scene.jobs()) == 7, "no row has two jobs"
    told = await database.fetch("SELECT event, count(*) FROM outbox WHERE batch_id IS NOT NULL GROUP BY 1")
    once = {f"campaign.{word}" for word in ("planned", "awaiting_approval", "paused", "resumed", "completed")}
    assert {event for event, count in told if count == 1} == once


async def test_two_engines_take_in_one_input_and_each_row_is_in_once(
    campaign_scene: CampaignScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = campaign_scene
    monkeypatch.setattr(ingest, "_RECORDS", 7)
    campaign = await scene.create("product\n" + "".join(f"mug {n}\n" for n in range(100)), prompt="a {product}")
    first = await scene.store.lease_campaign(Work.INGEST, 60)
    await scene.store._database.fetch(EXPIRE)
    second = await scene.store.lease_campaign(Work.INGEST, 60)
    assert first is not None
    assert second is not None
    kind: Any = scene.engine._kinds[campaign.kind]
    came = await asyncio.gather(kind.take_in(first), kind.take_in(second), return_exceptions=True)
    assert isinstance(came[0], LeaseLost)
    assert came[1] == 0
    await scene.store.release_campaign(second, pause_s=0)
    done = await scene.finish(campaign)
    assert (done.counts.rows, done.counts.succeeded, len(await scene.jobs())) == (100, 100, 100)


async def test_who_lost_its_lease_writes_nothing_more(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    campaign = await scene.create()
    stale = await scene.store.lease_campaign(Work.INGEST, 60)
    assert stale is not None
    await scene.store._database.fetch(EXPIRE)
    done = await scene.finish(campaign)
    edit = RowEdit(of=frozenset({Outcome.SUCCEEDED}), reset=True)
    for late in (
        scene.store.change_held(stale, Change(state=S.PLANNED, edits=[edit], events=[("campaign.planned", {})])),
        scene.store.add_rows(stale, [], [], records=99),
        scene.store.settle_rows(stale, limit=7),
        scene.store.rebalance(stale, to_hold=[], to_ready=[]),
        scene.store.read_held(stale),
        scene.store.end_campaign(stale, S.COMPLETED, None),
        scene.store.renew_campaign(stale, 60),
    ):
        with pytest.raises(LeaseLost):
            await late
    await scene.store.release_campaign(stale, pause_s=1000)
    assert await scene.now(campaign) == done


async def test_who_works_on_what_its_owner_has_changed_writes_nothing_more(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    campaign = await scene.create()
    await scene.until(campaign, S.RUNNING, render=False)
    await scene.store._database.fetch(EXPIRE)
    hold = await scene.store.lease_campaign(Work.MOVE, 60)
    assert hold is not None
    await scene.campaigns.pause(scene.tenant, campaign.id)
    with pytest.raises(LeaseLost):
        await scene.store.settle_rows(hold, limit=7)
    with pytest.raises(LeaseLost):
        await scene.store.change_held(hold, Change(passes=[NewPass(kind=PassKind.RETRY)]))


async def test_a_bucket_that_is_away_only_delays_a_campaign(
    store: Store, own_s3_server: S3Server, database_url: str
) -> None:
    bucket: S3Settings = own_s3_server.new_bucket(max_attempts=1)
    scene = a_campaign_scene(store, S3Objects(bucket), api_settings(database_url, bucket))
    campaign = await scene.create()
    for state in (S.INGESTING, S.FINISHING):
        own_s3_server.kill()
        for _ in range(6):
            await scene.step()
            await scene.render()
        assert (await scene.now(campaign)).state is state
        own_s3_server.start()
        await scene.step()
    done = await scene.finish(campaign)
    assert (done.state, done.counts.succeeded) == (S.COMPLETED, 20)


async def test_a_full_disk_only_delays_a_campaign(
    campaign_scene: CampaignScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = campaign_scene
    campaign = await scene.create()
    real = tempfile.NamedTemporaryFile

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    for state in (S.INGESTING, S.FINISHING):
        monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
        for _ in range(6):
            await scene.step()
            await scene.render()
        assert (await scene.now(campaign)).state is state
        monkeypatch.setattr(tempfile, "NamedTemporaryFile", real)
        await scene.step()
    assert (await scene.finish(campaign)).counts.succeeded == 20


async def test_an_input_that_is_gone_fails_the_campaign_and_says_so(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    campaign = await scene.create()
    assert campaign.input is not None
    scene.objects.delete([campaign.input.key])
    done = await scene.finish(campaign)
    assert done.state is S.FAILED
    assert done.error is not None
    assert done.error.code == "input_not_found"
    assert done.error.param == "input"


async def test_a_lease_is_renewed_for_as_long_as_an_ingest_takes(
    campaign_scene: CampaignScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "LEASE_S", 0.4)
    scene = campaign_scene
    campaign = await scene.create()
    release = asyncio.Event()
    kind: Any = scene.engine._kinds[campaign.kind]
    real = kind._ingest._rows

    async def slow(*args: Any) -> Any:
        await release.wait()
        return await real(*args)

    monkeypatch.setattr(kind._ingest, "_rows", slow)
    running = asyncio.create_task(scene.run_once())
    other = a_campaign_scene(scene.store, scene.objects, scene.settings)
    for _ in range(10):
        await asyncio.sleep(0.1)
        assert await other.run_once() == 0, "somebody holds it"
    release.set()
    await running
    assert (await scene.finish(campaign)).counts.succeeded == 20
