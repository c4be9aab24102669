"""Batches and campaigns are no way to more urgency, nor is what was allowed when they began."""

from __future__ import annotations

from orchestrator.domain.campaign import CampaignState
from orchestrator.domain.states import JobState
from tests.support.batches import Scene, line
from tests.support.campaigns import CampaignScene

CSV = "custom_id,product,scene\nclip-1,a mug,a table\n"


async def test_lines_that_want_to_be_more_urgent_are_told_by_their_numbers(scene: Scene) -> None:
    await scene.store.set_limits(scene.tenant, {"most_urgent": 10})
    lines = [line("a"), line("b", priority=0), line("c", priority=10), line("d", priority=9)]
    batch = await scene.create(lines)
    await scene.run_once()
    failed = await scene.batch(batch)
    assert failed.status == "failed"
    assert [(error.line, error.param) for error in failed.errors] == [(2, "priority"), (4, "priority")]
    assert "limit most_urgent allows: 10 " in failed.errors[0].message
    assert (await scene.store.list_jobs(scene.tenant, limit=9)).jobs == []


async def test_a_batchs_jobs_are_as_urgent_as_its_tenant_may_be(scene: Scene) -> None:
    await scene.store.set_limits(scene.tenant, {"most_urgent": 30})
    batch = await scene.create([line("a"), line("b", "openai", priority=30)])
    await scene.step()
    await scene.step()
    assert [job.priority for job in (await scene.store.list_jobs(scene.tenant, limit=9)).jobs] == [30, 30]
    assert (await scene.finish(batch)).status == "completed"


async def test_rows_of_a_campaign_obey_the_limit_that_holds_when_their_turn_comes(
    campaign_scene: CampaignScene,
) -> None:
    scene = campaign_scene
    await scene.store.set_limits(scene.tenant, {"most_urgent": 0})
    campaign = await scene.create(CSV, priority=0)
    assert campaign.priority == 0
    await scene.store.set_limits(scene.tenant, {"most_urgent": 10})
    ended = await scene.until(campaign, CampaignState.COMPLETED)
    assert ended.counts.succeeded == 1
    (job,) = (await scene.store.list_jobs(scene.tenant, limit=9)).jobs
    assert (job.priority, job.state) == (10, JobState.SUCCEEDED)
