"""What commands do to the rows of a campaign, and what they leave alone; real PostgreSQL and S3, jobs ended by hand."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.campaigns.asking import Wish
from orchestrator.campaigns.campaigns import Chosen
from orchestrator.domain.campaign import BudgetAsk, CampaignState, Kind, PauseReason
from orchestrator.domain.errors import ModerationUnavailable, WrongState
from orchestrator.domain.states import JobState
from orchestrator.policy.prediction import Key, Lesson
from orchestrator.policy.ratios import UNKNOWN
from tests.support.api import CLUSTER, POOL, WORKER
from tests.support.campaigns import CampaignScene, a_campaign_scene, fails
from tests.support.jobs import ending, rendered

S = CampaignState
TWO = "custom_id,product\na,mug\nb,this one fails\n"
PAUSES = text("SELECT count(*) AS n FROM outbox WHERE event = 'campaign.paused'")


async def test_rows_that_have_not_failed_are_neither_retried_nor_waived(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    done = await scene.finish(await scene.create(TWO, prompt="a {product}"))
    await scene.campaigns.retry(scene.tenant, done.id, Chosen(rows=["a", "b"]))
    await scene.finish(done)
    assert len(await scene.jobs()) == 3
    waived = await scene.campaigns.waive(scene.tenant, done.id, Chosen(rows=["a", "b", "b"]))
    assert (waived.counts.succeeded, waived.counts.waived) == (1, 1)
    again = await scene.finish(done)
    assert [line["state"] for line in (await scene.manifest(again))[1:]] == ["succeeded", "waived"]
    with pytest.raises(WrongState):
        await scene.campaigns.retry(scene.tenant, done.id, Chosen())


async def test_what_is_promoted_already_is_not_rendered_again(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    done = await scene.finish(await scene.create(defaults={"profile": "draft"}))
    for _ in range(2):
        await scene.campaigns.promote(scene.tenant, done.id, None, "exact")
        await scene.finish(done)
    assert len(await scene.jobs()) == 40


async def test_a_promotion_that_failed_keeps_its_draft_and_is_retried_in_full(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    done = await scene.finish(
        await scene.create("custom_id,product,scene\na,mug,table\n", defaults={"profile": "draft"})
    )
    (draft,) = await scene.rows(done)
    await scene.campaigns.promote(scene.tenant, done.id, ["a"], "exact")
    await scene.step()
    await scene.render(fails)
    done = await scene.finish(done)
    (row,) = await scene.rows(done)
    assert row.outcome == "failed"
    assert row.result["draft"]["key"] == draft.result["key"]
    await scene.campaigns.retry(scene.tenant, done.id, Chosen())
    (row,) = await scene.rows(await scene.finish(done))
    assert (row.outcome, row.result["profile"], row.result["seed"]) == ("succeeded", "exact", draft.result["seed"])
    assert row.result["draft"]["key"] == draft.result["key"]


async def test_a_campaign_that_pauses_while_it_samples_renders_all_its_rows(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    campaign = await scene.create(sample=3)
    await scene.until(campaign, S.SAMPLING, render=False)
    await scene.campaigns.pause(scene.tenant, campaign.id)
    await scene.campaigns.resume(scene.tenant, campaign.id)
    assert (await scene.finish(campaign)).counts.succeeded == 20


async def test_a_template_that_changes_shows_another_sample(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    campaign = await scene.until(await scene.create(sample=3, approval=True), S.AWAITING_APPROVAL)
    change = Wish(said=frozenset({"prompt"}), prompt="the {product}, painted")
    await scene.campaigns.patch(scene.tenant, campaign.id, change)
    again = await scene.until(campaign, S.AWAITING_APPROVAL)
    assert {row.result["version"] for row in await scene.rows(again, state="succeeded")} == {2}
    await scene.campaigns.approve(scene.tenant, campaign.id, str(again.plan_token))
    done = await scene.finish(campaign)
    assert all("painted" in line["prompt"] for line in (await scene.manifest(done))[1:])
    assert {row.result["attempts"] for row in await scene.rows(done)} == {1, 2}, "what it has cost stays known"


async def test_a_video_that_is_deleted_while_it_renders_ends_its_row_when_it_has_ended(
    campaign_scene: CampaignScene,
) -> None:
    scene = campaign_scene
    campaign = await scene.create("custom_id,product,scene\na,mug,table\n")
    await scene.until(campaign, S.RUNNING, render=False)
    await scene.step()
    await scene.store.beat(CLUSTER, {WORKER: POOL})
    (claim,) = await scene.store.claim(POOL, CLUSTER, [WORKER])
    await scene.store.delete(claim.job_id, scene.tenant)
    await scene.step()
    assert (await scene.now(campaign)).counts.running == 1
    await scene.store.settle([ending(claim, rendered(claim, 7.0))])
    done = await scene.finish(campaign)
    (row,) = await scene.rows(done)
    assert (row.outcome, row.result["error"]["code"], done.used) == ("failed", "deleted", 7.0)


async def test_a_row_that_a_budget_has_no_room_for_pauses_its_campaign_once(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    data = "custom_id,product,scene,num_inference_steps\n" + "".join(f"{n},mug,table,1\n" for n in range(9))
    campaign = await scene.until(await scene.create(f"{data}long,mug,table,50\n", run_at=tomorrow()), S.PLANNED)
    (group,) = campaign.estimate
    budget = BudgetAsk(amount=group.gpu_seconds * 0.8, unit="gpu_seconds")
    change = Wish(said=frozenset({"budget", "run_at"}), budget=budget)
    await scene.campaigns.patch(scene.tenant, campaign.id, change)
    paused = await scene.until(campaign, S.PAUSED)
    assert paused.pauses == {PauseReason.BUDGET}
    for _ in range(5):
        await scene.step()
    await scene.campaigns.patch(scene.tenant, campaign.id, Wish(said=frozenset({"name"}), name="x"))
    await scene.step()
    assert (await scene.now(campaign)).state is S.PAUSED
    (pauses,) = await scene.store._database.fetch(PAUSES)
    assert pauses.n == 1


async def test_a_tenant_without_gpu_seconds_for_today_waits_paused_for_its_quota(
    campaign_scene: CampaignScene,
) -> None:
    scene = campaign_scene
    campaign = await scene.until(await scene.create(run_at=tomorrow()), S.PLANNED)
    (group,) = campaign.estimate
    await scene.store.set_limits(scene.tenant, {"gpu_seconds_per_day": group.gpu_seconds / 4})
    await scene.campaigns.patch(scene.tenant, campaign.id, Wish(said=frozenset({"run_at"})))
    paused = await scene.until(campaign, S.PAUSED)
    assert paused.pauses == {PauseReason.QUOTA}
    await scene.store.set_limits(scene.tenant, {"gpu_seconds_per_day": None})
    assert (await scene.finish(campaign)).counts.succeeded == 20


async def test_a_plan_is_priced_by_what_renders_have_taught_by_then_and_its_token_stays(
    campaign_scene: CampaignScene,
) -> None:
    scene = campaign_scene
    campaign = await scene.until(await scene.create(run_at=tomorrow()), S.PLANNED)
    (group,) = campaign.estimate
    before = await scene.campaigns.plan(scene.tenant, campaign.id)
    ends = (UNKNOWN.low, UNKNOWN.likely, UNKNOWN.high)
    assert list(asdict(before.gpu_seconds).values()) == pytest.approx([group.gpu_seconds * end for end in ends])
    # Its own shape's renders count, and not the many of another.
    (row, *_) = await scene.store.rows_at(campaign, [0])
    spec = scene.campaigns._quoting._requests.planned(scene.tenant, row, campaign.template).spec
    revision = scene.settings.revisions[spec.model]
    for steps, ratio in ((spec.num_inference_steps, 4.0), (99, 50.0)):
        key = Key.of(replace(spec, num_inference_steps=steps), kind=group.pool, revision=revision)
        await scene.store.learn([Lesson(key=key, ratio=ratio)] * 31, keep=31)
    elsewhere = a_campaign_scene(scene.store, scene.objects, scene.settings, scene.tenant)
    after = await elsewhere.campaigns.plan(scene.tenant, campaign.id)
    assert after.gpu_seconds.likely == pytest.approx(4 * group.gpu_seconds)
    assert after.gpu_seconds.high < 5 * group.gpu_seconds
    assert sum(each.gpu_seconds for each in after.groups) == pytest.approx(after.gpu_seconds.likely)
    assert after.campaign.plan_token == before.campaign.plan_token
    await elsewhere.campaigns.patch(scene.tenant, campaign.id, Wish(said=frozenset({"run_at"})))
    await elsewhere.step()
    costs = [job.cost for job in await elsewhere.jobs()]
    assert costs
    assert costs == pytest.approx([after.gpu_seconds.likely / group.rows] * len(costs))


async def test_a_campaign_whose_time_is_over_stops_what_renders_and_ends(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    campaign = await scene.create(on_deadline="stop")
    await scene.step()
    await scene.render(most=2)
    await scene.store.beat(CLUSTER, {WORKER: POOL})
    (claim,) = await scene.store.claim(POOL, CLUSTER, [WORKER])
    over = Wish(said=frozenset({"deadline"}), deadline=datetime.now(UTC) - timedelta(seconds=1))
    await scene.campaigns.patch(scene.tenant, campaign.id, over)
    await scene.step()
    stopping = await scene.now(campaign)
    assert (stopping.state, stopping.counts.running, stopping.counts.queued) == (S.FINISHING, 1, 0)
    for _ in range(3):
        await scene.step()
    assert (await scene.now(campaign)).version == stopping.version, "waiting is no change"
    await scene.store.settle([ending(claim, rendered(claim))])
    done = await scene.finish(campaign)
    assert (done.state, done.counts.succeeded) == (S.COMPLETED, 2)
    assert {job.state for job in await scene.jobs()} == {JobState.SUCCEEDED, JobState.CANCELLED}
    header, *lines = await scene.manifest(done)
    assert (header["final"], len(lines)) == (True, 20)


def tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


async def test_a_row_that_was_not_ready_is_come_back_to_though_later_ones_found_no_room(
    campaign_scene: CampaignScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = campaign_scene
    await scene.store.set_limits(scene.tenant, {"queued": 2})
    jobs = scene.engine._kinds[Kind.CAMPAIGN]._jobs  # type: ignore[attr-defined]
    prepare, away = jobs.prepare, True

    async def prepares(tenant: str, request: Any, job_id: Any) -> Any:
        if away and "mug 0 " in request.prompt:
            raise ModerationUnavailable("it does not answer")
        return await prepare(tenant, request, job_id)

    monkeypatch.setattr(jobs, "prepare", prepares)
    campaign = await scene.create()
    await scene.until(campaign, S.RUNNING, render=False)
    assert len(await scene.jobs()) == 2
    away = False
    assert (await scene.finish(campaign)).counts.succeeded == 20
