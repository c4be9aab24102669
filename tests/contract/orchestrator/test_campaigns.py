"""A campaign from its file to its manifest, on real PostgreSQL and real S3; jobs end as a dispatcher would end them."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.campaigns.asking import Wish
from orchestrator.campaigns.campaigns import Chosen
from orchestrator.domain.campaign import BudgetAction, BudgetAsk, CampaignState, PauseReason, StopRule
from orchestrator.domain.errors import InvalidField, NotFound, Outdated, PlanChanged, WrongState
from orchestrator.domain.job import Claim
from orchestrator.domain.states import JobState
from tests.support.campaigns import CSV, FAILS, CampaignScene, a_campaign_scene, fails, usual, with_campaigns
from tests.support.jobs import broke

S = CampaignState


async def test_every_row_gets_one_video_and_one_line_of_the_manifest(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    done = await scene.finish(await scene.create())
    assert (done.state, done.counts.rows, done.counts.succeeded) == (S.COMPLETED, 20, 20)
    header, *lines = await scene.manifest(done)
    assert (header["final"], header["counts"]["succeeded"]) == (True, 20)
    assert [line["custom_id"] for line in lines] == [f"clip-{n}" for n in range(20)]
    assert lines[4]["prompt"] == "a mug 4 on a table 1"
    assert len({line["key"] for line in lines}) == 20
    assert len(await scene.jobs()) == 20
    assert {job.request["metadata"]["campaign"] for job in await scene.jobs()} == {done.id}


async def test_a_bad_row_is_told_with_line_field_and_reason_and_harms_no_other(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    data = "custom_id,product,size\nok,mug,\nbad,cup,7x7\nok,jar,\n"
    campaign = await scene.finish(await scene.create(data, prompt="a {product}"))
    assert (campaign.counts.rows, campaign.counts.bad, campaign.counts.succeeded) == (1, 2, 1)
    bad = [row async for page in scene.campaigns.bad_rows(campaign) for row in page]
    assert (bad[0].line, bad[0].field) == (3, "size")
    assert (bad[1].line, bad[1].field, bad[1].code) == (4, "custom_id", "duplicate_custom_id")


async def test_a_strict_campaign_with_a_bad_row_renders_nothing(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    data = "product,size\nmug,\ncup,7x7\n"
    campaign = await scene.finish(await scene.create(data, prompt="a {product}", strict=True))
    assert campaign.state is S.FAILED
    assert campaign.error is not None
    assert campaign.error.code == "bad_rows"
    assert await scene.jobs() == []


async def test_a_sample_is_rendered_first_and_nothing_else_before_the_plan_is_approved(
    campaign_scene: CampaignScene,
) -> None:
    scene = campaign_scene
    campaign = await scene.create(sample=4, approval=True)
    waiting = await scene.until(campaign, S.AWAITING_APPROVAL)
    assert (waiting.counts.succeeded, waiting.counts.waiting) == (4, 16)
    for _ in range(3):
        await scene.step()
        assert await scene.render() == 0
    assert len(await scene.jobs()) == 4
    with pytest.raises(PlanChanged) as caught:
        await scene.campaigns.approve(scene.tenant, campaign.id, "plan_of_yesterday")
    assert caught.value.token == waiting.plan_token
    assert waiting.plan_token is not None
    running = await scene.campaigns.approve(scene.tenant, campaign.id, waiting.plan_token)
    assert running.state is S.RUNNING
    done = await scene.finish(campaign)
    assert done.counts.succeeded == 20
    assert len(await scene.jobs()) == 20


async def test_rows_of_the_sample_are_dropped_or_get_a_new_seed(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    campaign = await scene.until(await scene.create(sample=4, approval=True), S.AWAITING_APPROVAL)
    rows = await scene.rows(campaign, state="succeeded")
    first, second = rows[0], rows[1]
    again = await scene.campaigns.reject(scene.tenant, campaign.id, [first.row.custom_id], drop=False)
    assert again.state is S.SAMPLING
    campaign = await scene.until(campaign, S.AWAITING_APPROVAL)
    (redone,) = await scene.rows(campaign, custom_id=first.row.custom_id)
    assert redone.result["seed"] != first.result["seed"]
    before = campaign.plan_token
    campaign = await scene.campaigns.reject(scene.tenant, campaign.id, [second.row.custom_id], drop=True)
    assert campaign.plan_token != before
    with pytest.raises(PlanChanged):
        await scene.campaigns.approve(scene.tenant, campaign.id, str(before))
    await scene.campaigns.approve(scene.tenant, campaign.id, str(campaign.plan_token))
    done = await scene.finish(campaign)
    assert (done.counts.succeeded, done.counts.dropped) == (19, 1)


async def test_a_pause_holds_what_is_queued_at_once_and_a_resume_lets_it_go(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    campaign = await scene.create()
    await scene.step()
    assert {job.state for job in await scene.jobs()} == {JobState.QUEUED}
    paused = await scene.campaigns.pause(scene.tenant, campaign.id)
    assert (paused.state, paused.pauses) == (S.PAUSED, {PauseReason.OWNER})
    assert {job.state for job in await scene.jobs()} == {JobState.HELD}
    await scene.step()
    assert await scene.render() == 0
    await scene.campaigns.resume(scene.tenant, campaign.id)
    assert (await scene.finish(campaign)).counts.succeeded == 20


async def test_a_cancelled_campaign_accounts_for_every_row(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    campaign = await scene.create()
    await scene.step()
    await scene.render(most=3)
    await scene.campaigns.cancel(scene.tenant, campaign.id)
    done = await scene.finish(campaign)
    assert (done.state, done.counts.succeeded) == (S.CANCELLED, 3)
    states = [line["state"] for line in (await scene.manifest(done))[1:]]
    assert sorted(states) == ["cancelled"] * 17 + ["succeeded"] * 3
    assert await scene.render() == 0


async def test_a_template_that_fails_everywhere_costs_a_handful_of_renders(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    rows = "product\n" + "mug\n" * 500
    campaign = await scene.create(rows, prompt="a {product}", stop=StopRule(share=0.5, of_first=10))
    began = 0
    for _ in range(20):
        await scene.step()
        began += await scene.render(fails)
        if (await scene.now(campaign)).state is S.PAUSED:
            break
    paused = await scene.now(campaign)
    assert paused.pauses == {PauseReason.FAILURES}
    assert began <= 10


async def test_a_budget_is_never_exceeded_by_what_is_reserved(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    campaign = await scene.create()
    await scene.until(campaign, S.RUNNING, render=False)
    cost = (await scene.jobs())[0].cost
    other = a_campaign_scene(scene.store, scene.objects, scene.settings)
    budget = BudgetAsk(amount=cost * 5.5, unit="gpu_seconds", actions=(BudgetAction(percent=50, do="tell"),))
    capped = await other.create(budget=budget)
    for _ in range(6):
        await other.step()
        found = await other.now(capped)
        assert found.reserved + found.used <= budget.amount * (1 + 1e-9)
        await other.render(lambda claim: usual(claim, cost))
    found = await other.now(capped)
    assert (found.state, found.pauses, found.counts.succeeded) == (S.PAUSED, {PauseReason.BUDGET}, 5)
    more = Wish(said=frozenset({"budget"}), budget=BudgetAsk(amount=cost * 100, unit="gpu_seconds"))
    await other.campaigns.patch(other.tenant, capped.id, more)
    assert (await other.finish(capped)).counts.succeeded == 20


async def test_videos_are_delivered_under_their_owners_names_and_what_is_not_is_told(
    campaign_scene: CampaignScene,
) -> None:
    scene = campaign_scene
    output = f"s3://{scene.settings.s3.bucket}/exports/{scene.tenant}/{{custom_id}}.mp4"
    campaign = await scene.create(
        "custom_id,product\nred,mug\ngone,cup\nbad,this one fails\n", output=output, prompt="a {product}"
    )

    def in_s3(claim: Claim) -> Any:
        end = usual(claim)
        if "mug" in claim.spec.prompt:
            scene.objects.put(end.result.video.key, b"ten bytes!", "video/mp4")
        return end

    done = await scene.until(campaign, S.COMPLETED, ending=in_s3)
    header, *lines = await scene.manifest(done)
    key = f"exports/{scene.tenant}/red.mp4"
    assert {line["custom_id"]: line["delivered"] for line in lines} == {"red": key, "gone": None, "bad": None}
    assert (header["counts"]["succeeded"], header["counts"]["delivered"]) == (2, 1)
    assert scene.objects.get(key) == b"ten bytes!"


async def test_a_campaign_ends_although_its_operator_delivers_nowhere_any_more(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    output = f"s3://{scene.settings.s3.bucket}/exports/{scene.tenant}/{{custom_id}}.mp4"
    campaign = await scene.create(output=output)
    later = a_campaign_scene(scene.store, scene.objects, with_campaigns(scene.settings, s3_outputs=()), scene.tenant)
    done = await later.finish(campaign)
    assert (done.state, (await later.manifest(done))[0]["counts"]["delivered"]) == (S.COMPLETED, 0)


async def test_only_what_failed_is_retried_and_what_is_waived_stays_without_a_video(
    campaign_scene: CampaignScene,
) -> None:
    scene = campaign_scene
    rows = "custom_id,product\na,mug\nb,this one fails\nc,this one fails\n"
    done = await scene.finish(await scene.create(rows, prompt="a {product}"))
    assert (done.counts.succeeded, done.counts.failed) == (1, 2)
    await scene.campaigns.retry(scene.tenant, done.id, Chosen())
    again = await scene.finish(done)
    assert (again.counts.succeeded, again.counts.failed) == (1, 2)
    assert len(await scene.jobs()) == 5
    (row,) = await scene.rows(done, custom_id="b")
    assert row.result["attempts"] == 2
    assert FAILS in (await scene.manifest(done))[2]["prompt"]
    waived = await scene.campaigns.waive(scene.tenant, done.id, Chosen(rows=["b"]))
    assert (waived.counts.failed, waived.counts.waived) == (1, 1)


async def test_a_changed_template_renders_anew_what_nobody_has_begun(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    campaign = await scene.create()
    await scene.step()
    await scene.render(most=2)
    await scene.step()
    changed = await scene.campaigns.patch(
        scene.tenant, campaign.id, Wish(said=frozenset({"prompt"}), prompt="the {product}, painted")
    )
    assert len(changed.templates) == 2
    done = await scene.finish(campaign)
    assert done.counts.succeeded == 20
    prompts = [line["prompt"] for line in (await scene.manifest(done))[1:]]
    assert sum("painted" in prompt for prompt in prompts) == 18
    versions = {line["template_version"] for line in (await scene.manifest(done))[1:]}
    assert versions == {1, 2}
    assert len(await scene.jobs()) == 20


async def test_a_drafts_rows_are_promoted_with_the_same_seeds(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    done = await scene.finish(await scene.create(defaults={"profile": "draft"}))
    drafts = {row.row.custom_id: row.result["seed"] for row in await scene.rows(done)}
    assert {job.spec.profile for job in await scene.jobs()} == {"draft"}
    await scene.campaigns.promote(scene.tenant, done.id, ["clip-3", "clip-5"], "exact")
    done = await scene.finish(done)
    full = {row.row.custom_id: row.result for row in await scene.rows(done) if row.result["profile"] == "exact"}
    assert {name: result["seed"] for name, result in full.items()} == {n: drafts[n] for n in ("clip-3", "clip-5")}
    assert "key" in full["clip-3"]["draft"]


async def test_no_more_run_or_wait_for_a_worker_than_it_may(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    campaign = await scene.create(max_running=3)
    for _ in range(30):
        await scene.step()
        jobs = [job for job in await scene.jobs() if not job.state.terminal]
        assert sum(job.state in (JobState.QUEUED, JobState.RUNNING) for job in jobs) <= 3
        if not await scene.render(most=2) and (await scene.now(campaign)).state is S.COMPLETED:
            break
    assert (await scene.finish(campaign)).counts.succeeded == 20


async def test_no_more_do_through_retries_and_pauses_either(campaign_scene: CampaignScene) -> None:
    """Every job fails once and comes back, and the campaign is paused and resumed meanwhile."""
    scene = campaign_scene
    campaign = await scene.create(max_running=3)

    async def bounded() -> None:
        states = [job.state for job in await scene.jobs()]
        assert sum(state in (JobState.QUEUED, JobState.RUNNING) for state in states) <= 3

    for turn in range(9):
        await scene.step()
        await bounded()
        if turn % 3 == 1:
            await scene.campaigns.pause(scene.tenant, campaign.id)
            await bounded()
        await scene.render(lambda claim: usual(claim) if claim.failures else broke(), most=2)
        await bounded()
        if turn % 3 == 2:
            await scene.campaigns.resume(scene.tenant, campaign.id)
            await bounded()
    assert (await scene.finish(campaign)).counts.succeeded == 20


async def test_who_comes_second_with_an_old_version_changes_nothing(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    campaign = await scene.create()
    with pytest.raises(Outdated):
        await scene.campaigns.patch(
            scene.tenant, campaign.id, Wish(said=frozenset({"name"}), name="x"), version=campaign.version + 7
        )
    stranger = a_campaign_scene(scene.store, scene.objects, scene.settings)
    with pytest.raises(NotFound):
        await stranger.campaigns.pause(stranger.tenant, campaign.id)
    with pytest.raises(WrongState):
        await scene.campaigns.resume(scene.tenant, campaign.id)
    with pytest.raises(InvalidField):
        await scene.create(CSV, prompt="a {product.__class__}")


async def test_other_defaults_are_priced_anew_and_what_no_row_goes_with_is_refused(
    campaign_scene: CampaignScene,
) -> None:
    scene = campaign_scene
    campaign = await scene.until(await scene.create(approval=True), S.AWAITING_APPROVAL)
    cheaper = Wish(said=frozenset({"defaults"}), defaults={"num_inference_steps": 1})
    after = await scene.campaigns.patch(scene.tenant, campaign.id, cheaper)
    before, now = (sum(group.gpu_seconds for group in each.estimate) for each in (campaign, after))
    assert now < before * 0.7
    assert after.plan_token != campaign.plan_token
    for said, param in (({"prompt": "a {colour} mug"}, "colour"), ({"defaults": {"size": "7x7"}}, "size")):
        with pytest.raises(InvalidField) as caught:
            await scene.campaigns.patch(scene.tenant, campaign.id, Wish(said=frozenset(said), **said))
        assert caught.value.param == param
        assert "clip-" in caught.value.message
