"""What gets in a campaign's way, and neither holds up its other rows nor costs what it has; real PostgreSQL and S3."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.campaigns.asking import Wish
from orchestrator.campaigns.campaigns import Chosen
from orchestrator.domain.campaign import BudgetAsk, CampaignState, Kind, PauseReason
from orchestrator.domain.errors import (
    InvalidField,
    KeyReused,
    ModerationUnavailable,
    ObjectsUnavailable,
    Outdated,
    RequestError,
    WrongState,
)
from orchestrator.domain.job import Claim
from orchestrator.domain.manifest import links_of, row_of
from orchestrator.ports.campaign_values import RowFilter, Work
from tests.support.campaigns import CampaignScene, usual

S = CampaignState
LONG_AGO = text("UPDATE campaign_passes SET put_off_at = put_off_at - interval '2 hours' WHERE put_off_at IS NOT NULL")


def refusing(scene: CampaignScene, monkeypatch: pytest.MonkeyPatch, refuses: Callable[[str], bool]) -> None:
    """A moderation that does not answer for some prompts."""
    jobs = scene.engine._kinds[Kind.CAMPAIGN]._jobs  # type: ignore[attr-defined]
    prepare = jobs.prepare

    async def prepares(tenant: str, request: Any, job_id: Any) -> Any:
        if refuses(request.prompt):
            raise ModerationUnavailable("it does not answer")
        return await prepare(tenant, request, job_id)

    monkeypatch.setattr(jobs, "prepare", prepares)


async def test_a_row_that_cannot_be_had_stops_no_other_and_ends_at_last(
    campaign_scene: CampaignScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = campaign_scene
    refusing(scene, monkeypatch, lambda prompt: "mug 0 " in prompt)
    many = "custom_id,product,scene\n" + "".join(f"clip-{n},mug {n},table\n" for n in range(150))
    campaign = await scene.create(many)
    for _ in range(40):
        await scene.step()
        await scene.render()
    waits = await scene.now(campaign)
    assert (waits.state, waits.counts.succeeded, waits.counts.ended) == (S.RUNNING, 149, 149)
    await scene.store._database.fetch(LONG_AGO)
    done = await scene.finish(campaign)
    assert (done.counts.succeeded, done.counts.failed) == (149, 1)
    (row,) = await scene.rows(done, custom_id="clip-0")
    assert row.result["error"]["code"] == "unavailable"


async def test_while_nothing_answers_no_row_fails(
    campaign_scene: CampaignScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, away = campaign_scene, True
    refusing(scene, monkeypatch, lambda prompt: away)
    many = "custom_id,product,scene\n" + "".join(f"clip-{n},mug {n},table\n" for n in range(150))
    campaign = await scene.create(many)
    for _ in range(5):
        await scene.step()
        await scene.store._database.fetch(LONG_AGO)
    assert (await scene.now(campaign)).counts.ended == 0
    away = False
    assert (await scene.finish(campaign)).counts.succeeded == 150


@pytest.mark.parametrize("limits", [{"queued": 0}, {"gpu_seconds_per_day": 0.01}])
async def test_a_limit_without_any_room_pauses_and_fails_nothing(
    campaign_scene: CampaignScene, limits: dict[str, float]
) -> None:
    scene = campaign_scene
    await scene.store.set_limits(scene.tenant, limits)
    paused = await scene.until(await scene.create(), S.PAUSED)
    assert (paused.pauses, paused.counts.ended) == ({PauseReason.QUOTA}, 0)
    await scene.store.set_limits(scene.tenant, dict.fromkeys(limits))
    assert (await scene.finish(paused)).counts.succeeded == 20


async def test_a_promotion_that_is_called_off_leaves_every_draft(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    done = await scene.finish(await scene.create(defaults={"profile": "draft"}))
    drafts = {row.row.custom_id: row.result["key"] for row in await scene.rows(done)}
    await scene.campaigns.promote(scene.tenant, done.id, None, "exact")
    await scene.step()
    await scene.render(most=1)
    await scene.campaigns.cancel(scene.tenant, done.id)
    over = await scene.finish(done)
    assert (over.state, over.counts.succeeded, over.counts.cancelled) == (S.CANCELLED, 20, 0)
    keys = {line["custom_id"]: line["key"] for line in (await scene.manifest(over))[1:]}
    assert sum(keys[name] == drafts[name] for name in drafts) == 19
    assert None not in keys.values()


async def test_what_was_left_out_is_no_video_to_download(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    campaign = await scene.until(await scene.create(sample=2, approval=True), S.AWAITING_APPROVAL)
    dropped = (await scene.rows(campaign, state="succeeded"))[0].row.custom_id
    await scene.campaigns.reject(scene.tenant, campaign.id, [dropped], drop=True)
    token = (await scene.now(campaign)).plan_token
    await scene.campaigns.approve(scene.tenant, campaign.id, str(token))
    done = await scene.finish(campaign)
    lines = (await scene.manifest(done))[1:]
    assert sum(line["key"] is not None for line in lines) == 20, "what became of it is told"
    links = list(links_of([row_of(line) for line in lines], lambda row: ("https://s3.example", 0)))
    assert len(links) == 19


async def test_two_changes_of_a_template_do_not_undo_each_other(
    campaign_scene: CampaignScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = campaign_scene
    campaign = await scene.until(await scene.create(sample=1, approval=True), S.AWAITING_APPROVAL)
    estimate = scene.campaigns._repricing.estimate

    async def meanwhile(*asked: Any) -> Any:
        monkeypatch.undo()
        mine = Wish(said=frozenset({"prompt"}), prompt="the {product}, painted, on a {scene}")
        await scene.campaigns.patch(scene.tenant, campaign.id, mine)
        return await estimate(*asked)

    monkeypatch.setattr(scene.campaigns._repricing, "estimate", meanwhile)
    theirs = Wish(said=frozenset({"defaults"}), defaults={"num_inference_steps": 2})
    with pytest.raises(Outdated):
        await scene.campaigns.patch(scene.tenant, campaign.id, theirs)
    template = (await scene.campaigns.patch(scene.tenant, campaign.id, theirs)).template
    assert ("painted" in template.prompt, template.defaults) == (True, {"num_inference_steps": 2})


async def test_a_revision_whose_writer_dies_is_written_by_another(
    campaign_scene: CampaignScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = campaign_scene
    campaign = await scene.until(await scene.create(sample=2, approval=True), S.AWAITING_APPROVAL)

    async def away(*asked: Any, **named: Any) -> Any:
        raise ObjectsUnavailable("it is away")

    with monkeypatch.context() as patch:
        patch.setattr(scene.finishing._writer, "write", away)
        with suppress(ObjectsUnavailable):
            await scene.finishing.revise()
    assert (await scene.now(campaign)).manifest is None
    await scene.finishing.revise()
    assert (await scene.now(campaign)).manifest is None, "somebody may be writing it"
    await scene.store._database.fetch(text("UPDATE campaigns SET written_until = cogmill_now()"))
    await scene.finishing.revise()
    assert len((await scene.manifest(campaign))[1:]) == 20


async def test_who_changes_a_campaign_that_is_worked_on_need_not_wait_for_its_rest(
    campaign_scene: CampaignScene,
) -> None:
    scene = campaign_scene
    campaign = await scene.create()
    await scene.step()
    hold = None
    while hold is None:
        hold = await scene.store.lease_campaign(Work.MOVE, 60)
    await scene.campaigns.cancel(scene.tenant, campaign.id)
    await scene.store.release_campaign(hold, pause_s=600)
    await scene.run_once()
    assert (await scene.now(campaign)).ended_at is not None


async def test_a_clone_says_anew_how_many_rows_become_of_one(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    like = await scene.finish(await scene.create(variants=3))
    wish = Wish(said=frozenset({"seeds"}), seeds=(1, 2))
    clone = await scene.campaigns.create(scene.tenant, wish, clone_of=like.id)
    assert (clone.ask.variants, clone.ask.seeds) == (2, (1, 2))
    assert (await scene.until(clone, S.PLANNED, S.RUNNING, render=False)).counts.rows == 40


async def test_renders_that_are_cheaper_than_predicted_leave_no_row_behind(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    await scene.finish(await scene.create("product\n" + "mug\n" * 30, prompt="a {product}"), ending=cheap)
    one = await scene.until(
        await scene.create("product\nmug\n", prompt="a {product}", approval=True), S.AWAITING_APPROVAL
    )
    await scene.campaigns.approve(scene.tenant, one.id, str(one.plan_token))
    done = await scene.finish(one, ending=cheap)
    assert (done.state, done.counts.succeeded) == (S.COMPLETED, 1)


def cheap(claim: Claim) -> Any:
    return usual(claim, gpu_seconds=claim.cost / 10)


async def test_a_copy_that_s3_cannot_make_is_told_and_ends_no_campaign(
    campaign_scene: CampaignScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, away = campaign_scene, False
    size, copy = type(scene.objects).size, type(scene.objects).copy

    def sizes(objects: Any, key: str) -> int:
        if away:
            raise ObjectsUnavailable("it is away")
        return size(objects, key)

    def copies(objects: Any, source: str, key: str) -> None:
        if away or "clip-3" in key:
            raise ObjectsUnavailable("internal error")
        copy(objects, source, key)

    def in_s3(claim: Claim) -> Any:
        end = usual(claim)
        scene.objects.put(end.result.video.key, b"ten bytes!", "video/mp4")
        return end

    monkeypatch.setattr(type(scene.objects), "size", sizes)
    monkeypatch.setattr(type(scene.objects), "copy", copies)
    output = f"s3://{scene.settings.s3.bucket}/exports/{scene.tenant}/{{custom_id}}.mp4"
    campaign = await scene.until(await scene.create(output=output), S.RUNNING, render=False)
    away = True
    for _ in range(4):
        await scene.step()
        await scene.render(in_s3)
    assert (await scene.now(campaign)).state is S.FINISHING, "while S3 is away nothing is given up"
    away = False
    done = await scene.finish(campaign)
    lines = (await scene.manifest(done))[1:]
    assert [line["custom_id"] for line in lines if line["delivered"] is None] == ["clip-3"]


async def test_what_never_began_was_cancelled_with_its_campaign(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    campaign = await scene.until(await scene.create(sample=2, approval=True), S.AWAITING_APPROVAL)
    assert (await scene.now(campaign)).tally.waiting == 18
    await scene.campaigns.cancel(scene.tenant, campaign.id)
    over = await scene.finish(campaign)
    assert (over.tally.succeeded, over.tally.cancelled, over.tally.waiting) == (2, 18, 0)
    header, *_ = await scene.manifest(over)
    assert header["counts"]["cancelled"] == 18
    assert len(await scene.rows(over, state="cancelled")) == 18
    assert await scene.rows(over, state="waiting") == []


async def test_rows_that_cannot_be_named_are_refused_by_the_field(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    done = await scene.finish(await scene.create())
    for name in ("\0", "\ud83d", "nobody"):
        with pytest.raises(InvalidField) as refused:
            await scene.campaigns.retry(scene.tenant, done.id, Chosen(rows=[name]))
        assert refused.value.param == "rows"
    with pytest.raises(InvalidField) as refused:
        await scene.campaigns.retry(scene.tenant, done.id, Chosen(code="\0"))
    assert refused.value.param == "code"
    with pytest.raises(WrongState):
        await scene.campaigns.waive(scene.tenant, done.id, Chosen(rows=["clip-1"]))
    assert (await scene.now(done)).version == done.version, "and nothing is opened again for it"
    _, page = await scene.campaigns.rows(scene.tenant, done.id, RowFilter(), after=2**31 - 1, limit=10)
    assert (page.rows, page.has_more) == ([], False)


async def test_a_schedule_ends_though_its_first_campaign_is_over(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    daily = {"cron": "0 18 * * *", "time_zone": "UTC", "run_at": datetime.now(UTC)}
    done = await scene.finish(await scene.create(**daily))
    assert done.next_run_at is not None
    ended = await scene.campaigns.patch(scene.tenant, done.id, Wish(said=frozenset({"cron", "time_zone"})))
    assert ended.next_run_at is None


@pytest.mark.parametrize(
    ("wish", "param"),
    [
        (
            {"run_at": datetime(9999, 12, 31, tzinfo=UTC), "cron": "0 0 * * *", "time_zone": "America/Los_Angeles"},
            "run_at",
        ),
        ({"deadline": datetime(9999, 12, 31, tzinfo=UTC)}, "deadline"),
        ({"budget": BudgetAsk(amount=1.0, unit="money")}, "budget.unit"),
    ],
)
async def test_what_cannot_be_meant_is_refused_by_its_field(
    campaign_scene: CampaignScene, wish: dict[str, Any], param: str
) -> None:
    with pytest.raises(RequestError) as refused:
        await campaign_scene.create(**wish)
    assert refused.value.param == param


async def test_a_repeated_request_has_its_first_answer_though_its_file_is_gone(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    wish = Wish(said=frozenset({"prompt"}), prompt="a {product}")
    asked = {"source": await scene.upload("product\nmug\n"), "idempotency_key": "k"}
    first = await scene.campaigns.create(scene.tenant, wish, **asked)
    await scene.files.delete(scene.tenant, asked["source"])
    assert (await scene.campaigns.create(scene.tenant, wish, **asked)).id == first.id
    with pytest.raises(KeyReused):
        await scene.campaigns.create(scene.tenant, wish, idempotency_key="k")


async def test_the_clone_of_a_draft_is_one(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    draft = await scene.create(None)
    await scene.campaigns.upload(scene.tenant, draft.id)
    assert (await scene.campaigns.create(scene.tenant, Wish(), clone_of=draft.id)).state is S.DRAFT


@pytest.mark.parametrize("name", [".", "a/./b"])
async def test_a_key_that_s3_does_not_take_is_refused_by_its_field(campaign_scene: CampaignScene, name: str) -> None:
    scene = campaign_scene
    source = f"s3://{scene.settings.s3.bucket}/imports/{scene.tenant}/{name}"
    wish = Wish(said=frozenset({"prompt"}), prompt="a {product}")
    with pytest.raises(InvalidField) as refused:
        await scene.campaigns.create(scene.tenant, wish, source=source)
    assert refused.value.param == "input"


async def test_what_is_being_stopped_is_deleted_when_it_has_stopped(campaign_scene: CampaignScene) -> None:
    scene = campaign_scene
    campaign = await scene.until(await scene.create(), S.RUNNING, render=False)
    with pytest.raises(WrongState, match="cancel it before"):
        await scene.campaigns.delete(scene.tenant, campaign.id)
    await scene.campaigns.cancel(scene.tenant, campaign.id)
    with pytest.raises(WrongState, match="being stopped"):
        await scene.campaigns.delete(scene.tenant, campaign.id)
    await scene.finish(campaign)
    await scene.campaigns.delete(scene.tenant, campaign.id)
