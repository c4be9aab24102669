"""A campaign has spent what its attempts cost, each on its kind of worker; what is reserved is at the dearest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.campaign import Campaign
from orchestrator.domain.outcome import settle
from orchestrator.domain.protocol import HandedBack
from orchestrator.domain.retry import RetryPolicy
from orchestrator.ports.campaign_values import Budget
from tests.support.campaigns import CLUSTER, POOL, WORKER, CampaignScene, a_campaign_scene, usual


@pytest.fixture
def scene(campaign_scene: CampaignScene) -> CampaignScene:
    """A pool whose dearest kind costs one unit a second."""
    plain = campaign_scene.settings
    pools = {name: pool.model_copy(update={"price_per_gpu_hour": 3600.0}) for name, pool in plain.pools.items()}
    priced = plain.model_copy(update={"pools": pools})
    return a_campaign_scene(campaign_scene.store, campaign_scene.objects, priced)


async def an_attempt(scene: CampaignScene, price: float | None, *, seconds: float, ends: bool = True) -> None:
    """The next job's next attempt, at a price of its kind of worker; its campaign hears of it at once."""
    await scene.store.beat(CLUSTER, {WORKER: POOL})
    (claim,) = await scene.store.claim(POOL, CLUSTER, [WORKER])
    how = usual(claim, seconds) if ends else HandedBack(reason="drain", checkpoint=None, gpu_seconds=seconds)
    settlement = settle(claim, how, RetryPolicy(base_s=0.0, cap_s=0.0), 0.0)
    await scene.store.settle([replace(settlement, kind="some", price=price)])
    await scene.step()


async def spent(scene: CampaignScene, campaign: Campaign) -> tuple[float, float, float]:
    """GPU seconds and money of the campaign, and money of its tenant's budget."""
    now = await scene.now(campaign)
    (budget,) = await scene.store.budgets_of(scene.tenant)
    return now.used, now.spent, budget.used


async def test_each_attempt_costs_what_its_kind_does_and_one_without_a_price_what_was_reserved(
    scene: CampaignScene,
) -> None:
    await scene.store.set_budget(Budget(tenant=scene.tenant, period="day", unit="money", amount=1e9, actions=()))
    campaign = await scene.create("product,scene\nmug,sea\njar,sea\n")
    await scene.step()
    reserved = (await scene.now(campaign)).reserved_money
    assert reserved > 0

    await an_attempt(scene, 0.25, seconds=8.0, ends=False)
    assert await spent(scene, campaign) == pytest.approx((8.0, 2.0, 2.0)), "booked as it goes back into the queue"
    await an_attempt(scene, 1.0, seconds=4.0, ends=False)
    assert await spent(scene, campaign) == pytest.approx((12.0, 6.0, 6.0))
    await an_attempt(scene, 0.5, seconds=20.0)
    assert await spent(scene, campaign) == pytest.approx((32.0, 16.0, 16.0))
    await an_attempt(scene, None, seconds=3.0)
    assert await spent(scene, campaign) == pytest.approx((35.0, 19.0, 19.0)), "of an earlier release: the dearest kind"
    done = await scene.finish(campaign)
    assert (done.counts.succeeded, done.reserved_money) == (2, pytest.approx(0.0))
