"""Forecasts on a real database: one process makes them, everybody reads them, and the world hears of what turns."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from orchestrator.capacity.forecasting import Admission, Forecasting, Forecasts
from orchestrator.capacity.plans import kinds_of
from orchestrator.capacity.worlds import Worlds, closed_periods, crews_in, crews_of, usual_load
from orchestrator.config import Settings
from orchestrator.domain.campaign import Campaign, CampaignState
from orchestrator.domain.errors import InvalidField, LeaseLost, StoreUnavailable, WrongState
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.domain.outlooks import KeptOutlook, Subject
from orchestrator.learning.book import Book, Models
from orchestrator.policy.hours import ClosedHours
from orchestrator.policy.prediction import Key, Past, Predictions
from orchestrator.ports.forecasts import LoadHour
from orchestrator.store import Store
from tests.support.api import POOL, api_settings
from tests.support.builders import a_spec
from tests.support.campaigns import CampaignScene
from tests.support.jobs import CLUSTER, new_job, workers

NOW = datetime(2026, 11, 29, 18, 20, tzinfo=UTC)
ROWS = "custom_id,product,scene\n" + "".join(f"clip-{n},mug {n},table\n" for n in range(20))


@pytest.fixture
def scene(campaign_scene: CampaignScene) -> CampaignScene:
    return campaign_scene


def a_forecasting(scene: CampaignScene, clock: list[float]) -> Forecasting:
    return Forecasting(scene.settings, scene.store, Book.of(scene.settings, scene.store), monotonic=lambda: clock[0])


def an_outlook(name: str = "campaign_1", **changed: Any) -> KeptOutlook:
    plain = KeptOutlook(
        subject=Subject.CAMPAIGN, name=name, made_at=NOW, low_at=NOW, likely_at=NOW, high_at=None, at_risk=True
    )
    return replace(plain, **changed)


async def running(scene: CampaignScene, **asked: Any) -> Campaign:
    made = await scene.create(ROWS, approval=False, **asked)
    return await scene.until(made, CampaignState.RUNNING)


async def of(scene: CampaignScene, campaign: Campaign) -> KeptOutlook | None:
    return await Forecasts(scene.store).of(Subject.CAMPAIGN, campaign.id)


async def events(database: asyncpg.Connection, campaign: Campaign) -> list[str]:
    found = await database.fetch("SELECT event FROM outbox WHERE batch_id = $1 ORDER BY id", campaign.id)
    return [row["event"] for row in found if row["event"] in ("campaign.at_risk", "campaign.on_track")]


# ---------------------------------------------------------------- who leads


async def test_one_leads_until_it_is_silent_and_then_another(store: Store, database: asyncpg.Connection) -> None:
    one, other = uuid4(), uuid4()
    assert [await store.lead("d", token, 30) for token in (one, other, one)] == [True, False, True]
    assert await store.lead("another duty", other, 30)
    await database.execute("UPDATE leaders SET leased_until = cogmill_now() WHERE duty = 'd'")
    assert [await store.lead("d", token, 30) for token in (other, one)] == [True, False]


async def test_who_does_not_lead_writes_nothing(store: Store) -> None:
    one, other = uuid4(), uuid4()
    assert await store.lead("forecasts", one, 30)
    pool = an_outlook("main", subject=Subject.POOL, low_at=None, likely_at=None, at_risk=None, reason="no worker")
    await store.keep_forecasts("forecasts", one, [an_outlook(), pool], [])
    with pytest.raises(LeaseLost):
        await store.keep_forecasts("forecasts", other, [], [])
    assert await store.forecasts() == [an_outlook(), pool]
    await store.keep_forecasts("forecasts", one, [pool], [])
    assert await store.forecasts() == [pool]


async def test_of_several_processes_one_makes_forecasts_on_change_and_every_minute(scene: CampaignScene) -> None:
    clock = [0.0]
    loops = [a_forecasting(scene, clock) for _ in range(3)]
    assert [await loop.run_once() for loop in loops] == [True, False, False]
    campaign = await running(scene)
    assert [await loop.run_once() for loop in loops] == [False] * 3  # not within five seconds
    clock[0] = 6.0
    assert [await loop.run_once() for loop in loops] == [True, False, False]
    clock[0] = 50.0
    assert not await loops[0].run_once()
    await scene.store.beat(CLUSTER, dict.fromkeys(workers(2), POOL))
    assert await loops[0].run_once()
    clock[0] = 120.0
    assert await loops[0].run_once()
    assert await of(scene, campaign) is not None


# ---------------------------------------------------------------- what is told


async def test_a_campaign_is_forecast_by_its_workers_and_without_one_it_says_so(scene: CampaignScene) -> None:
    campaign = await running(scene)
    clock = [0.0]
    loop = a_forecasting(scene, clock)
    await loop.run_once()
    told = await of(scene, campaign)
    assert told is not None
    assert (told.likely_at, told.reason, told.at_risk) == (None, f"pool {POOL} has no worker", None)
    await scene.store.beat(CLUSTER, dict.fromkeys(workers(2), POOL))
    clock[0] += 6
    await loop.run_once()
    told = await of(scene, campaign)
    assert told is not None
    assert told.low_at
    assert told.likely_at
    assert told.high_at
    assert datetime.now(UTC) < told.low_at < told.likely_at < told.high_at
    assert told.reason is None
    await scene.store.pause(POOL, reason="the storage moves", by="tests")
    clock[0] += 6
    await loop.run_once()
    told = await of(scene, campaign)
    assert told is not None
    assert (told.high_at, told.reason) == (None, f"pool {POOL} is paused: the storage moves")
    pool = await Forecasts(scene.store).of(Subject.POOL, POOL)
    assert pool is not None
    assert pool.reason == told.reason


async def test_the_world_hears_once_of_a_deadline_at_risk_and_once_that_it_is_none(
    scene: CampaignScene, database: asyncpg.Connection
) -> None:
    deadline = datetime.now(UTC) + timedelta(hours=2)
    campaign = await running(scene, deadline=deadline)
    clock = [0.0]
    loop = a_forecasting(scene, clock)
    for _ in range(3):
        clock[0] += 61
        assert await loop.run_once()
    assert await events(database, campaign) == ["campaign.at_risk"]
    told = await of(scene, campaign)
    assert told is not None
    assert told.at_risk
    assert told.advice is not None
    assert "more workers" in told.advice or "workers that pool" in told.advice
    await scene.store.beat(CLUSTER, dict.fromkeys(workers(2), POOL))
    for _ in range(2):
        clock[0] += 61
        assert await loop.run_once()
    # Another process takes over, and knows what was told.
    await database.execute("UPDATE leaders SET leased_until = cogmill_now()")
    assert await a_forecasting(scene, clock).run_once()
    assert await events(database, campaign) == ["campaign.at_risk", "campaign.on_track"]


async def test_an_approval_is_refused_where_the_deadline_cannot_hold_if_that_was_asked(scene: CampaignScene) -> None:
    soon = datetime.now(UTC) + timedelta(milliseconds=1)
    await scene.store.beat(CLUSTER, dict.fromkeys(workers(1), POOL))
    for asked, refused in (({"on_miss": "refuse", "approval": True}, True), ({"approval": True}, False)):
        made = await scene.create(ROWS, deadline=soon, **asked)
        planned = await scene.until(made, CampaignState.AWAITING_APPROVAL)
        assert planned.plan_token is not None
        if refused:
            with pytest.raises(WrongState, match=r"cannot hold: it is done about 20\d\d-") as error:
                await scene.campaigns.approve(scene.tenant, made.id, planned.plan_token)
            assert error.value.param == "deadline"
        else:
            approved = await scene.campaigns.approve(scene.tenant, made.id, planned.plan_token)
            assert approved.state is CampaignState.RUNNING
    with pytest.raises(InvalidField, match="needs an approval"):
        await scene.create(ROWS, on_miss="refuse", approval=False)


async def test_a_campaign_that_waits_for_approval_is_forecast_as_if_it_had_it(scene: CampaignScene) -> None:
    await scene.store.beat(CLUSTER, dict.fromkeys(workers(1), POOL))
    made = await scene.until(await scene.create(ROWS, approval=True), CampaignState.AWAITING_APPROVAL)
    would = await Admission(scene.settings, scene.store, Book.of(scene.settings, scene.store)).would(made)
    assert would is not None
    assert would.likely_at is not None
    await a_forecasting(scene, [0.0]).run_once()
    assert await of(scene, made) is None


async def test_jobs_that_wait_are_counted_once_and_a_campaigns_rows_with_their_campaign(scene: CampaignScene) -> None:
    campaign = await running(scene)
    for _ in range(3):
        await scene.store.submit(new_job("birch", pool=POOL, priority=5))
    world = (await Worlds(scene.settings, scene.store, Book.of(scene.settings, scene.store)).now()).world
    subjects = {cohort.subject: cohort for cohort in world.cohorts}
    assert set(subjects) == {campaign.id, "jobs of birch at 5"}
    assert subjects["jobs of birch at 5"].rows == 3
    assert subjects[campaign.id].rows == 20


async def test_a_reader_keeps_what_it_knew_while_the_store_does_not_answer() -> None:
    class Away:
        gone = False

        async def forecasts(self) -> list[KeptOutlook]:
            if self.gone:
                raise StoreUnavailable("away")
            return [an_outlook()]

    store, clock = Away(), [0.0]
    reader = Forecasts(store, monotonic=lambda: clock[0])  # type: ignore[arg-type]
    assert await reader.of(Subject.CAMPAIGN, "campaign_1") == an_outlook()
    store.gone, clock[0] = True, 9.0
    assert await reader.of(Subject.CAMPAIGN, "campaign_1") == an_outlook()
    assert await reader.of(Subject.POOL, "campaign_1") is None


# ---------------------------------------------------------------- what it is made from


async def test_the_load_of_single_jobs_is_read_by_the_hour_of_the_week(
    store: Store, database: asyncpg.Connection
) -> None:
    await database.execute("""
        INSERT INTO usage (job_id, claim, tenant, pool, outcome, gpu_seconds, at, campaign)
        SELECT gen_random_uuid(), 1, 'a', 'main', 'succeeded', 90, cogmill_now() - n * interval '1 hour',
               CASE WHEN n % 2 = 0 THEN 'campaign_1' END
        FROM generate_series(1, 48) AS n
    """)
    hours = await store.load_by_hour(weeks=4)
    assert len(hours) == 24
    assert {each.gpu_seconds for each in hours} == {90.0}
    assert await store.load_since(hours=3.5) == {"main": 180.0}


def test_usual_load_is_told_by_the_hour_once_there_is_a_week_of_it() -> None:
    def hours(days: float) -> list[LoadHour]:
        return [LoadHour(pool="main", hour=30, gpu_seconds=7200, since=NOW - timedelta(days=days))]

    assert usual_load([], NOW) == {} == usual_load(hours(0.5), NOW)
    assert usual_load(hours(2), NOW)["main"][:2] == pytest.approx([7200 / 172_800] * 2)
    told = usual_load(hours(14), NOW)["main"]
    assert (told[30], told[31]) == (1.0, 0.0)


def test_workers_that_load_come_soon_and_broken_ones_do_not() -> None:
    def a_load(state: LoadState) -> WorkerLoad:
        return WorkerLoad(worker=state, pool="main", model="m", state=state)

    assert [crew.workers for crew in crews_of(3, [])] == [3]
    ready, coming = crews_of(3, [a_load(state) for state in LoadState])
    assert (ready.workers, coming.workers) == (1, 2)
    assert coming.ready_in_s > 0


def test_workers_of_kinds_do_what_their_kind_does() -> None:
    plain = api_settings("postgresql://x/y").model_dump()
    spot = {"max": 9, "speed": 2.0, "start_s": 400, "may_vanish": True}
    pools = {POOL: {"model": "tiny-2b", "kinds": {"spot": spot, "firm": {"max": 2}}}}
    settings = Settings.model_validate(plain | {"pools": pools})

    def a_load(worker: str, state: LoadState = LoadState.LOADED) -> WorkerLoad:
        return WorkerLoad(worker=f"{POOL}-{worker}", pool=POOL, model="tiny-2b", state=state)

    loads = [a_load("spot-0"), a_load("spot-1"), a_load("spot-2", LoadState.STARTING), a_load("firm-0")]
    found = {(crew.kind, crew.ready_in_s > 0): crew for crew in crews_in(settings, POOL, 9, loads) if crew.workers}
    assert {key: (crew.workers, crew.speed) for key, crew in found.items()} == {
        ("spot", False): (2, 2.0), ("spot", True): (1, 2.0), ("firm", False): (1, 1.0),
    }  # fmt: skip
    assert found["spot", True].ready_in_s == 400
    assert found["spot", False].lost_per_hour > 0 == found["firm", False].lost_per_hour
    assert [crew.workers for crew in crews_in(settings, POOL, 3, [])] == [3]
    learned = Predictions(
        [
            Past(key=Key.of(a_spec(), kind=f"{POOL}/{kind}"), ratios=[ratio] * 9, seen=[0.0] * 9)
            for kind, ratio in (("spot", 3.0), ("firm", 1.5))
        ],
        kinds=Models.of(settings).kinds,
    )
    faster = crews_in(settings, POOL, 9, loads, learned)
    assert {crew.kind: crew.speed for crew in faster} == {"spot": pytest.approx(0.5), "firm": 1.0}
    assert {kind.name: kind.speed for kind in kinds_of(settings, POOL)} == {"spot": 2.0, "firm": 1.0}
    assert {kind.name: kind.speed for kind in kinds_of(settings, POOL, learned)} == {
        "spot": pytest.approx(0.5), "firm": 1.0,
    }  # fmt: skip


def test_closed_hours_are_seconds_from_now() -> None:
    nightly = ClosedHours.parse(["Mon-Sun 20:00-22:00 UTC"])
    first, second, *_ = closed_periods(nightly, NOW)
    assert first == (100 * 60, 220 * 60)
    assert second == (first[0] + 86_400, first[1] + 86_400)
    assert closed_periods(nightly, NOW + timedelta(hours=2))[0] == (0, 100 * 60)
    assert closed_periods(ClosedHours(), NOW) == []
