"""When campaigns begin and when they rest: their own time, a schedule, closed hours of their pools."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from orchestrator.campaigns.schedules import Scheduler
from orchestrator.config import Settings
from orchestrator.domain.campaign import CampaignState, PauseReason
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.states import JobState
from tests.support.api import POOL
from tests.support.campaigns import CampaignScene, a_campaign_scene
from tests.support.postgres import Clock

S = CampaignState
NIGHTLY = {"cron": "0 18 * * *", "time_zone": "Europe/Berlin"}


async def test_one_with_a_time_of_its_own_is_planned_and_renders_nothing_before_it(
    campaign_scene: CampaignScene, clock: Clock, database: asyncpg.Connection
) -> None:
    scene = campaign_scene
    now = await database.fetchval("SELECT cogmill_now()")
    campaign = await scene.create(run_at=now + timedelta(hours=2))
    await scene.until(campaign, S.PLANNED, rounds=3)
    for _ in range(3):
        await scene.step()
        assert await scene.jobs() == []
    await clock.advance(2 * 3600 + 1)
    for _ in range(9):  # the clock stands still between two of its steps
        await scene.step()
        await scene.render()
        await clock.advance(2)
    assert (await scene.now(campaign)).counts.succeeded == 20


async def test_one_that_recurs_begins_once_each_time_whoever_looks(
    campaign_scene: CampaignScene, database: asyncpg.Connection
) -> None:
    scene = campaign_scene
    first = await scene.create(**NIGHTLY)
    assert first.run_at is not None
    assert first.next_run_at is not None
    assert timedelta(hours=22) < first.next_run_at - first.run_at < timedelta(hours=26)
    await database.execute("UPDATE campaigns SET next_run_at = now() - interval '3 days' WHERE id = $1", first.id)
    began = await asyncio.gather(*(Scheduler(scene.store).run_once() for _ in range(3)))
    assert sum(began) >= 1
    assert await Scheduler(scene.store).run_once() == 0, "what was missed begins once"
    page = await scene.campaigns.list(scene.tenant, limit=10)
    again = [campaign for campaign in page.campaigns if campaign.id != first.id]
    assert [campaign.schedule_of for campaign in again] == [first.id]
    assert (again[0].template, again[0].ask.cron) == (first.template, None)
    assert (await scene.finish(again[0])).counts.succeeded == 20


async def test_a_schedule_that_never_comes_or_a_zone_that_is_none_is_refused(campaign_scene: CampaignScene) -> None:
    for changes, param in (
        ({"cron": "0 0 30 2 *"}, "schedule.cron"),
        ({"time_zone": "Mars/Base"}, "schedule.time_zone"),
    ):
        with pytest.raises(InvalidField) as caught:
            await campaign_scene.create(**{**NIGHTLY, **changes})
        assert caught.value.param == param


async def test_it_rests_while_its_pool_is_closed_and_goes_on_by_itself(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    campaign = await scene.create()
    await scene.step()
    closed = a_campaign_scene(scene.store, scene.objects, closed_now(scene.settings), scene.tenant)
    await closed.step()
    paused = await scene.now(campaign)
    assert (paused.state, paused.pauses) == (S.PAUSED, {PauseReason.CLOSED_HOURS})
    assert {job.state for job in await scene.jobs()} == {JobState.HELD}
    await closed.step()
    assert await scene.render() == 0
    assert (await scene.finish(campaign)).counts.succeeded == 20


def closed_now(settings: Settings) -> Settings:
    """Settings whose pool is closed from an hour ago on for two hours, on every day."""
    begin, end = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1))
    pool = settings.pools[POOL].model_copy(update={"closed_hours": (f"Mon-Sun {begin:%H:%M}-{end:%H:%M} UTC",)})
    return settings.model_copy(update={"pools": {**settings.pools, POOL: pool}})
