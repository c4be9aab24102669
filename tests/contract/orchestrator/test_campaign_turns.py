"""Why a campaign waits that could be rendered: its place in the queue, as the database has it, in numbers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.domain.campaign import Campaign
from orchestrator.domain.campaign_waiting import waiting_for
from orchestrator.ports import Share
from tests.support.api import CLUSTER, POOL, WORKER
from tests.support.campaigns import CampaignScene
from tests.support.jobs import new_job


async def reason(scene: CampaignScene, campaign: Campaign) -> str | None:
    now = await scene.now(campaign)
    return waiting_for(now, [], [], datetime.now(UTC), await scene.store.campaign_turn(now.number))


async def claimed_for(scene: CampaignScene) -> str:
    (claim,) = await scene.store.claim(POOL, CLUSTER, [WORKER])
    return claim.tenant


@pytest.fixture
async def campaign(campaign_scene: CampaignScene) -> Campaign:
    """One of which nothing is rendered yet."""
    made = await campaign_scene.create()
    await campaign_scene.step()
    await campaign_scene.step()
    return made


async def test_who_is_next_says_so_and_who_has_others_before_it_how_many(
    campaign_scene: CampaignScene, campaign: Campaign
) -> None:
    scene, store = campaign_scene, campaign_scene.store
    assert await reason(scene, campaign) == "its turn: it is next, when a worker is free"
    second = await scene.create()
    await scene.step()
    await scene.step()
    ahead = (await scene.now(campaign)).counts.queued
    assert str(await reason(scene, second)).startswith(f"its turn: before it go {ahead} of its own tenant's (")
    for _ in range(2):
        await store.submit(new_job("another", pool=POOL, priority=0))
    assert await claimed_for(scene) == "another"
    assert await reason(scene, campaign) == "its turn: before it go the more urgent videos of 1 other tenant"


async def test_a_cap_that_its_tenant_has_reached_is_named_with_both_numbers(
    campaign_scene: CampaignScene, campaign: Campaign
) -> None:
    scene = campaign_scene
    await scene.store.submit(new_job(scene.tenant, pool=POOL, priority=0))
    assert await claimed_for(scene) == scene.tenant
    await scene.store.set_limits(scene.tenant, {"running": 1})
    assert await reason(scene, campaign) == "its tenant runs 1 of the 1 videos that it may run at a time"


async def test_whoever_wants_a_worker_that_it_is_guaranteed_goes_first_and_is_counted(
    campaign_scene: CampaignScene, campaign: Campaign
) -> None:
    scene, store = campaign_scene, campaign_scene.store
    await store.set_share(Share(tenant="another", pool=POOL, guaranteed=2, running=None))
    for _ in range(3):
        await store.submit(new_job("another", pool=POOL, priority=campaign.priority))
    words = "before it go 1 tenant below what the pool guarantees"
    assert await claimed_for(scene) == "another"
    assert words in str(await reason(scene, campaign))
    assert await claimed_for(scene) == "another"
    assert words not in str(await reason(scene, campaign))
    await store.set_share(Share(tenant="another", pool=POOL, guaranteed=3, running=None))
    await store.set_share(Share(tenant=scene.tenant, pool=POOL, guaranteed=1, running=None))
    assert words not in str(await reason(scene, campaign)), "it is below its own guarantee"


async def test_one_that_has_nothing_in_the_queue_has_no_place_in_it(campaign_scene: CampaignScene) -> None:
    made = await campaign_scene.create(approval=True)
    await campaign_scene.step()
    assert await campaign_scene.store.campaign_turn((await campaign_scene.now(made)).number) is None
