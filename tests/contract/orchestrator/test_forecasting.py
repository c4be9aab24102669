"""Forecasts on a real database: one process makes them, everybody reads them, and the world hears of what turns."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from orchestrator.campaigns.asking import Wish
from orchestrator.capacity.forecasting import Admission, Forecasting, Forecasts
from orchestrator.domain.campaign import BudgetAsk, Campaign, CampaignState
from orchestrator.domain.errors import InvalidField, LeaseLost, StoreUnavailable, WrongState
from orchestrator.domain.outlooks import KeptOutlook, LaneOutlook, Subject
from orchestrator.learning.book import Book
from orchestrator.store import Store
from tests.support.api import POOL
from tests.support.campaigns import CampaignScene
from tests.support.jobs import CLUSTER, workers

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


def a_lane(tenant: str, priority: int, **changed: Any) -> LaneOutlook:
    now = datetime.now(UTC)
    curve = {"ahead_s": [0.0, 90.0], "low_s": [1.0, 50.0], "likely_s": [2.0, 60.0], "high_s": [3.0, 70.0]}
    plain = LaneOutlook(
        pool="main", tenant=tenant, priority=priority, made_at=now, stretch=[0.9, 1.0, 1.1], **curve
    )  # fmt: skip
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


async def test_a_campaign_that_its_budget_will_end_hears_of_it_before_and_by_how_much(
    scene: CampaignScene, database: asyncpg.Connection
) -> None:
    await scene.store.beat(CLUSTER, dict.fromkeys(workers(2), POOL))
    campaign = await running(scene)
    (group,) = campaign.estimate
    half = Wish(said=frozenset({"budget"}), budget=BudgetAsk(amount=group.gpu_seconds / 2, unit="gpu_seconds"))
    await scene.campaigns.patch(scene.tenant, campaign.id, half)
    clock = [0.0]
    loop = a_forecasting(scene, clock)
    await loop.run_once()
    told = await of(scene, campaign)
    assert told is not None
    assert told.at_risk
    assert told.reason is not None
    assert re.fullmatch(r"it pauses about 20\d\d-\d\d-\d\d \d\d:\d\d UTC by its budget", told.reason)
    assert told.advice is not None
    assert told.advice.startswith("raise its budget by about ")
    assert await events(database, campaign) == ["campaign.at_risk"]
    enough = Wish(said=frozenset({"budget"}), budget=BudgetAsk(amount=group.gpu_seconds * 9, unit="gpu_seconds"))
    await scene.campaigns.patch(scene.tenant, campaign.id, enough)
    for _ in range(2):
        clock[0] += 61
        await loop.run_once()
    told = await of(scene, campaign)
    assert told is not None
    assert (told.at_risk, told.advice, told.reason) == (None, None, None)
    assert await events(database, campaign) == ["campaign.at_risk", "campaign.on_track"]


# ---------------------------------------------------------------- jobs that wait


async def test_a_job_is_told_by_its_lane_or_as_a_newcomer_and_not_for_ever(
    store: Store, database: asyncpg.Connection
) -> None:
    token = uuid4()
    assert await store.lead("forecasts", token, 30)
    own, new, less = a_lane("birch", 10), a_lane("", 10), a_lane("", 20, low_s=[math.inf] * 2, reason="no worker")
    await store.keep_forecasts("forecasts", token, [], [], lanes=[own, new, less])
    asked = {("birch", 10): own, ("oak", 10): new, ("birch", 9): new, ("oak", 15): less, ("oak", 21): None}
    for (tenant, priority), lane in asked.items():
        assert await store.lane_outlook("main", tenant, priority) == lane
    assert await store.lane_outlook("other", "birch", 10) is None
    await database.execute("UPDATE lane_forecasts SET made_at = made_at - interval '11 minutes'")
    assert await store.lane_outlook("main", "birch", 10) is None
    await store.keep_forecasts("forecasts", token, [], [], lanes=[])
    assert await database.fetchval("SELECT count(*) FROM lane_forecasts") == 0


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
