"""The Python client against the real API, and its models against the OpenAPI document."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cogmill_client as module
import httpx
import pytest
import pytest_asyncio
from cogmill_client import AsyncCogmill, Cogmill
from cogmill_client.models import (
    admin,
    base,
    campaigns,
    files,
    fleet,
    jobs,
    overview,
    reviews,
    rows,
    usage,
    videos,
    webhooks,
)
from cogmill_client.models import keys as key_models
from cogmill_client.models.events import EndEvent, StepEvent
from fastapi import FastAPI
from pydantic import BaseModel

from orchestrator.config import Settings
from orchestrator.domain.rights import Scope
from orchestrator.domain.webhooks import EventType, event_body
from orchestrator.notify.outbox import signed
from tests.support.api import THUMBNAIL, VIDEO, Api, document, listening
from tests.support.scaling import a_decision

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Each model of the client, and its component of the document.
COMPONENTS: dict[type[BaseModel], str] = {
    base.Problem: "CampaignError",
    videos.Video: "Video",
    videos.VideoError: "VideoError",
    files.FileObject: "FileObject",
    webhooks.Endpoint: "Endpoint",
    webhooks.EndpointWithSecret: "EndpointWithSecret",
    webhooks.WebhookSecret: "WebhookSecret",
    webhooks.Jwk: "Jwk",
    webhooks.Jwks: "JwkSet",
    usage.Amounts: "Amounts",
    usage.UsageLine: "UsageLine",
    usage.Causes: "Causes",
    usage.Usage: "Usage",
    usage.WorkerAmounts: "WorkerAmounts",
    usage.WorkerLine: "WorkerLine",
    usage.WorkerUsage: "WorkerUsage",
    videos.Expected: "Expected",
    videos.VideoForecast: "VideoForecast",
    fleet.FleetKind: "Kind",
    fleet.Demand: "Demand",
    fleet.Standing: "Standing",
    fleet.ScaleDecision: "Decision",
    fleet.Fleet: "Fleet",
    key_models.Key: "KeyObject",
    key_models.KeyWithSecret: "KeyWithSecret",
    usage.WasteLine: "WasteLine",
    usage.WasteUsage: "WasteUsage",
    campaigns.Campaign: "CampaignObject",
    campaigns.Template: "Template",
    campaigns.Budget: "Budget",
    campaigns.BudgetAction: "BudgetAction",
    campaigns.StopOnFailures: "StopOnFailures",
    campaigns.Schedule: "Schedule",
    campaigns.CampaignInput: "CampaignInput",
    campaigns.Counts: "CampaignCounts",
    campaigns.Spent: "CampaignSpent",
    campaigns.Forecast: "CampaignForecast",
    campaigns.Manifest: "ManifestRevision",
    rows.Plan: "CampaignPlan",
    rows.PlanPool: "PlannedPool",
    rows.Range: "Range",
    rows.MoneyRange: "MoneyRange",
    rows.Fleets: "Hours",
    rows.Workers: "Workers",
    rows.Row: "RowObject",
    rows.RowResult: "RowResult",
    rows.Upload: "CampaignUpload",
    rows.ManifestSignature: "ManifestSignatureObject",
    admin.Tenant: "TenantObject",
    admin.TenantLimit: "LimitObject",
    admin.TenantLimits: "LimitsObject",
    admin.TenantShare: "ShareObject",
    admin.TenantBudgetAction: "TenantBudgetAction",
    admin.TenantBudget: "TenantBudget",
    admin.LiftedBudget: "LiftedBudget",
    admin.TenantKey: "TenantKey",
    admin.TenantKeyWithSecret: "TenantKeyWithSecret",
    admin.PoolPause: "Pause",
    admin.PoolForecast: "PoolForecast",
    admin.Pool: "Pool",
    admin.WorkerOrder: "WorkerOrder",
    admin.WorkerRender: "WorkerRender",
    admin.Worker: "WorkerObject",
    admin.JobFailure: "JobFailure",
    admin.JobAttempt: "JobAttempt",
    admin.DeadLetterEnd: "DeadLetterEnd",
    admin.Job: "JobObject",
    admin.TenantCampaign: "TenantCampaign",
    admin.FailureCount: "FailureCount",
    admin.TenantCampaignWhole: "TenantCampaignWhole",
    webhooks.Delivery: "DeliveryObject",
    webhooks.DeliveryAttempt: "DeliveryAttempt",
    jobs.Job: "JobRow",
    jobs.WholeJob: "OwnJob",
    jobs.JobStory: "JobStoryObject",
    jobs.Reason: "Reason",
    jobs.Span: "SpanObject",
    jobs.Happening: "HappeningObject",
    jobs.Used: "UsedObject",
    jobs.Count: "CountObject",
    jobs.JobCounts: "JobCounts",
    jobs.Note: "NoteObject",
    jobs.JobFilter: "FilterShown",
    jobs.SavedFilter: "SavedFilter",
    jobs.BulkFailure: "BulkFailure",
    jobs.BulkAction: "BulkObject",
    admin.TraceSpan: "TraceSpan",
    admin.JobTrace: "JobTrace",
    admin.Parked: "ParkedThing",
    admin.Resumed: "ResumedThing",
    admin.AuditEntry: "AuditEntry",
    admin.Erasure: "ErasureObject",
    overview.Ended: "Ended",
    overview.OverviewPool: "OverviewPool",
    overview.OverviewPriority: "OverviewPriority",
    overview.OverviewTenant: "OverviewTenant",
    overview.OverviewAlert: "OverviewAlert",
    overview.Overview: "Overview",
    overview.OverviewPoint: "OverviewPoint",
    overview.OverviewHistory: "OverviewHistory",
    overview.QuarantineJob: "QuarantineJob",
    overview.Quarantine: "QuarantineObject",
    reviews.Review: "ReviewObject",
    reviews.ReviewEntry: "ReviewEntry",
    reviews.ReviewWithHistory: "ReviewWithHistory",
    reviews.SheetVideo: "SheetVideo",
    reviews.ReviewCounts: "ReviewCountsObject",
    reviews.ReviewsApplied: "ReviewsApplied",
    reviews.ReviewsPromoted: "ReviewsPromoted",
    reviews.ProgressPoint: "CampaignPoint",
    reviews.Threshold: "BudgetThreshold",
    reviews.BudgetStanding: "BudgetStanding",
    reviews.CampaignProgress: "CampaignProgress",
    reviews.FailedRow: "FailedRow",
    reviews.FailureReason: "FailureReason",
    reviews.CampaignFailures: "CampaignFailures",
    reviews.VideoQuote: "VideoQuote",
}
# Those whose routes are still to come: a name is taken out of here as soon as the document has it.
PENDING: set[str] = set()
# What no component of the document is about: parts that routes write as lines, what is made of several, and what is
# handed on as the API words it.
ELSEWHERE = {base.Answer, base.Identified, base.Deleted, rows.BadRow, rows.Link, webhooks.WebhookEvent}
ELSEWHERE |= {fleet.Predictions, overview.OverviewAmounts}

DOCUMENT = document()["components"]["schemas"]


@pytest.mark.parametrize(("model", "name"), COMPONENTS.items(), ids=lambda each: getattr(each, "__name__", each))
async def test_a_model_has_the_fields_and_the_types_of_the_document(model: type[BaseModel], name: str) -> None:
    if name in PENDING:
        assert name not in DOCUMENT, f"the document has {name} by now: take it out of PENDING"
        return
    assert name in DOCUMENT, (
        f"the OpenAPI document has no component {name}, which {model.__module__}.{model.__name__} is held to; it has "
        f"{', '.join(sorted(DOCUMENT))}"
    )
    schema = model.model_json_schema(ref_template="{model}")
    ours, theirs = _fields(schema, schema.get("$defs", {})), _fields(DOCUMENT[name], DOCUMENT)
    assert ours.keys() == theirs.keys(), f"{name}: fields differ: {sorted(ours.keys() ^ theirs.keys())}"
    assert ours == theirs


async def test_every_model_is_compared_or_said_to_be_of_no_component() -> None:
    named = {
        kind
        for part in (
            admin,
            base,
            campaigns,
            files,
            fleet,
            jobs,
            key_models,
            overview,
            reviews,
            rows,
            usage,
            videos,
            webhooks,
        )
        for kind in vars(part).values()
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not BaseModel
    }
    assert named == {*COMPONENTS, *ELSEWHERE}


def _fields(schema: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    return {name: _shape(field, known) for name, field in schema["properties"].items()}


def _shape(schema: dict[str, Any], known: dict[str, Any]) -> Any:
    """What a schema allows, without words, defaults and bounds; what is defined elsewhere is put in."""
    if "$ref" in schema:
        return _shape(known[schema["$ref"].rpartition("/")[2]], known)
    if "allOf" in schema and len(schema["allOf"]) == 1:
        return _shape(schema["allOf"][0], known)
    if "anyOf" in schema:
        return {"anyOf": sorted((_shape(each, known) for each in schema["anyOf"]), key=json.dumps)}
    words = schema.get("enum", [schema["const"]] if "const" in schema else None)
    shape: dict[str, Any] = {"type": schema.get("type")} | ({"enum": sorted(words)} if words else {})
    if "items" in schema:
        shape["items"] = _shape(schema["items"], known)
    if "properties" in schema:
        shape["fields"] = _fields(schema, known)
    elif isinstance(schema.get("additionalProperties"), dict):
        shape["values"] = _shape(schema["additionalProperties"], known)
    return shape


# ---------------------------------------------------------------- against the real API


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def base_url(api_app: tuple[FastAPI, Settings]) -> AsyncIterator[str]:
    async with listening(api_app[0]) as port:
        yield f"http://127.0.0.1:{port}"


@pytest_asyncio.fixture(loop_scope="module")
async def cogmill(api: Api, base_url: str) -> AsyncIterator[AsyncCogmill]:
    async with AsyncCogmill(await api.key(api.tenant), base_url, max_retries=0) as client:
        yield client


async def test_a_video_is_made_followed_and_downloaded(api: Api, cogmill: AsyncCogmill, tmp_path: Path) -> None:
    made = await cogmill.videos.create("sea", seed=7, metadata={"a": "b"}, run_at=None)
    assert (made.status, made.seed, made.metadata, made.ended) == ("queued", 7, {"a": "b"}, False)
    heard: list[Any] = []
    stepped = asyncio.Event()

    def hear(event: Any) -> None:
        heard.append(event)
        if isinstance(event, StepEvent):
            stepped.set()

    waiting = asyncio.create_task(cogmill.videos.wait(made.id, on_event=hear))
    claim = await api.claim(made.id)
    await api.step(claim, 1)
    await stepped.wait()
    await api.publish(claim, stills=True)
    done = await waiting
    assert (done.status, done.continuity, done.ended) == ("completed", "whole", True)
    assert isinstance(heard[-1], EndEvent)
    assert heard[-1].video == done
    (tmp_path / "a.mp4.part").write_bytes(VIDEO[:100])
    assert (await cogmill.videos.download(done.id, tmp_path / "a.mp4")).read_bytes() == VIDEO
    still = await cogmill.videos.download(done.id, tmp_path / "a.webp", variant="thumbnail")
    assert still.read_bytes() == THUMBNAIL
    assert [event async for event in cogmill.videos.events(done.id, last_event_id=heard[-1].id)] == []


async def test_a_post_that_is_repeated_makes_one_video(cogmill: AsyncCogmill) -> None:
    first = await cogmill.videos.create("sea", seed=7, idempotency_key="k-1")
    assert (await cogmill.videos.create("sea", seed=7, idempotency_key="k-1")).id == first.id
    assert (await cogmill.videos.create("sea", seed=7)).id != first.id
    with pytest.raises(module.BadRequest) as caught:
        await cogmill.videos.create("lake", seed=7, idempotency_key="k-1")
    assert (caught.value.code, caught.value.param) == ("idempotency_key_reused", "Idempotency-Key")


async def test_videos_are_listed_called_off_tried_again_remixed_and_deleted(api: Api, cogmill: AsyncCogmill) -> None:
    made = [await cogmill.videos.create(f"sea {n}", seed=7) for n in range(3)]
    listed = [video.id async for video in cogmill.videos.list(order="asc")]
    assert listed == [video.id for video in made]
    assert [video.id async for video in cogmill.videos.list(limit=1)] == [made[-1].id]
    cancelled = await cogmill.videos.cancel(made[0].id)
    assert cancelled.error is not None
    assert (cancelled.status, cancelled.error.code) == ("failed", "cancelled")
    assert (await cogmill.videos.retry(made[0].id)).retry_of == made[0].id
    remixed = await cogmill.videos.remix(made[1].id, "lake")
    assert (remixed.prompt, remixed.seed, remixed.remixed_from_video_id) == ("lake", 7, made[1].id)
    assert (await cogmill.videos.delete(made[2].id)).deleted
    with pytest.raises(module.NotFound):
        await cogmill.videos.retrieve(made[2].id)


async def test_each_mistake_is_its_own_class_with_code_and_param(
    api: Api, cogmill: AsyncCogmill, base_url: str, tmp_path: Path
) -> None:
    with pytest.raises(module.BadRequest) as wrong:
        await cogmill.videos.create("sea", size="1x1")
    assert (wrong.value.param, wrong.value.request_id is not None) == ("size", True)
    with pytest.raises(module.BadRequest) as unknown:
        await cogmill.videos.create("sea", sparkle=True)
    assert (unknown.value.param, unknown.value.code) == ("sparkle", "unknown_parameter")
    made = await cogmill.videos.create("sea")
    with pytest.raises(module.BadRequest) as early:
        await cogmill.videos.download(made.id, tmp_path / "a.mp4")
    assert early.value.code == "video_not_ready"
    async with AsyncCogmill("nonsense", base_url) as stranger:
        with pytest.raises(module.Unauthenticated):
            await stranger.videos.retrieve(made.id)


async def test_files_are_uploaded_listed_downloaded_and_deleted(cogmill: AsyncCogmill, tmp_path: Path) -> None:
    path = tmp_path / "shots.jsonl"
    path.write_bytes(b"{}\n" * 1000)
    sent = await cogmill.files.upload(path, purpose="user_data", expires_after_s=3600)
    assert (sent.filename, sent.bytes, sent.purpose) == ("shots.jsonl", 3000, "user_data")
    assert sent.expires_at == sent.created_at + 3600
    with path.open("rb") as stream:
        again = await cogmill.files.upload(stream, purpose="batch")
    assert (await cogmill.files.upload(b"x", purpose="user_data", filename="x.txt")).bytes == 1
    assert [file.id async for file in cogmill.files.list(purpose="batch")] == [again.id]
    assert await cogmill.files.retrieve(sent.id) == sent
    assert (await cogmill.files.download(sent.id, tmp_path / "back")).read_bytes() == path.read_bytes()
    assert (await cogmill.files.delete(sent.id)).deleted
    with pytest.raises(module.NotFound):
        await cogmill.files.retrieve(sent.id)


async def test_what_the_api_signs_is_verified_with_the_secret_that_it_tells(cogmill: AsyncCogmill) -> None:
    made = await cogmill.webhooks.create_endpoint(
        name="n", url="https://example.com/hook", event_types=["video.completed"]
    )
    assert [each.id async for each in cogmill.webhooks.list_endpoints()] == [made.id]
    told = (await cogmill.webhooks.secret()).signing_secret
    for secret in (made.signing_secret, told):
        body = event_body("evt_1", EventType.VIDEO_COMPLETED, datetime.now(UTC), "video_1")
        headers = signed([secret], "evt_1", body, datetime.now(UTC))
        assert cogmill.webhooks.verify(body, headers, secret).data == {"id": "video_1"}
        with pytest.raises(module.InvalidSignature):
            cogmill.webhooks.verify(body + " ", headers, secret)
    assert (await cogmill.webhooks.delete_endpoint(made.id)).deleted


async def test_a_campaign_is_drafted_changed_given_its_rows_listed_and_ended(
    cogmill: AsyncCogmill, tmp_path: Path
) -> None:
    draft = await cogmill.campaigns.create(
        "a {product}", name="mugs", defaults={"size": "96x64"}, sample=0, idempotency_key="c-1",
        budget={"amount": 5, "unit": "gpu_seconds", "actions": [{"percent": 80, "do": "tell"}]},
    )  # fmt: skip
    again = await cogmill.campaigns.create(
        "a {product}", name="mugs", defaults={"size": "96x64"}, sample=0, idempotency_key="c-1",
        budget={"amount": 5, "unit": "gpu_seconds", "actions": [{"percent": 80, "do": "tell"}]},
    )  # fmt: skip
    assert (draft.state, draft.template.prompt, again.id) == ("draft", "a {product}", draft.id)
    changed = await cogmill.campaigns.patch(draft.id, etag=draft.etag, priority=15, name=None)
    assert (changed.priority, changed.name) == (15, None)
    with pytest.raises(module.PreconditionFailed):
        await cogmill.campaigns.patch(draft.id, etag=draft.etag, priority=16)
    with pytest.raises(module.Forbidden, match="limit most_urgent allows: 10") as eager:
        await cogmill.campaigns.patch(draft.id, etag=changed.etag, priority=9)
    assert (eager.value.param, eager.value.code) == ("priority", "limit_most_urgent")
    with pytest.raises(module.BadRequest) as wrong:
        await cogmill.campaigns.create("a {0.x}")
    assert wrong.value.param == "prompt"
    assert (await cogmill.campaigns.presign_upload(draft.id)).method == "PUT"
    path = tmp_path / "rows.csv"
    path.write_text("custom_id,product\nmug-1,mug\n")
    sent = await cogmill.campaigns.upload_input(draft.id, path)
    assert (sent.state, sent.input is not None and sent.input.format) == ("ingesting", "csv")
    assert [each.id async for each in cogmill.campaigns.list(state="ingesting")] == [draft.id]
    assert [row async for row in cogmill.campaigns.rows(draft.id)] == []
    assert [bad async for bad in cogmill.campaigns.errors(draft.id)] == []
    with pytest.raises(module.NotFound):
        await cogmill.campaigns.manifest(draft.id, tmp_path / "m.jsonl")
    heard: list[Any] = []
    stream = cogmill.campaigns.events(draft.id)
    heard.append(await anext(stream))
    assert (heard[0].kind, heard[0].state) == ("state", "ingesting")
    assert (await cogmill.campaigns.cancel(draft.id)).state == "cancelled"


async def test_a_video_is_priced_reviewed_and_rendered_again(api: Api, cogmill: AsyncCogmill, tmp_path: Path) -> None:
    quote = await cogmill.videos.quote(num_inference_steps=5)
    assert (quote.steps, quote.money) == (5, None)
    video = await cogmill.videos.create("a mill")
    await api.succeed(video.id)
    rated = await cogmill.reviews.decide(video.id, version=0, rating=2)
    rejected = await cogmill.reviews.decide(video.id, version=rated.version, rating=2, decision="reject")
    with pytest.raises(module.Conflict, match="meanwhile"):
        await cogmill.reviews.decide(video.id, version=rated.version, decision="approve")
    assert [each.kind for each in (await cogmill.reviews.retrieve(video.id)).history] == ["decided"] * 2 + ["refused"]
    assert (await cogmill.reviews.undo(video.id, version=rejected.version)).decision is None
    again = await cogmill.reviews.decide(video.id, version=3, decision="reject")
    made = await cogmill.reviews.render_again(video.id, version=again.version)
    assert made.applied_as is not None
    assert [each.id async for each in cogmill.reviews.list(decision="reject")] == [video.id]
    draft = await cogmill.campaigns.create("a {product}")
    assert [each async for each in cogmill.reviews.sheet(draft.id, rating=2)] == []
    assert await cogmill.reviews.hold(draft.id, holder="me") == []
    assert await cogmill.reviews.release(draft.id, holder="me") == 0
    assert (await cogmill.reviews.counts(draft.id)).videos == 0
    saved = await cogmill.reviews.export(draft.id, tmp_path / "reviews.csv", format="csv")
    assert saved.read_text().startswith("custom_id,place,video_id")
    assert (await cogmill.campaigns.progress(draft.id)).points[-1].succeeded == 0
    assert (await cogmill.campaigns.failures(draft.id)).data == []
    with pytest.raises(module.BadRequest, match="draft"):
        await cogmill.reviews.apply(draft.id)
    with pytest.raises(module.BadRequest, match="promoted"):
        await cogmill.reviews.promote(draft.id)


async def test_rows_are_sent_again_after_an_answer_that_was_lost(api: Api, base_url: str, tmp_path: Path) -> None:
    class Losing(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await super().handle_async_request(request)
            if request.method == "PUT" and not lost:
                lost.append(request)
                await answer.aread()
                raise httpx.ReadError("lost")
            return answer

    lost: list[httpx.Request] = []
    path = tmp_path / "rows.csv"
    path.write_text("custom_id,product\nmug-1,mug\n")
    connections = httpx.AsyncClient(transport=Losing())
    async with AsyncCogmill(await api.key(api.tenant), base_url, http_client=connections) as cogmill:
        draft = await cogmill.campaigns.create("a {product}")
        sent = await cogmill.campaigns.upload_input(draft.id, path)
        assert (sent.id, sent.state, len(lost)) == (draft.id, "ingesting", 1)
        with pytest.raises(module.BadRequest, match="only a draft"):
            await cogmill.campaigns.upload_input(draft.id, path)


async def test_a_clone_takes_the_rows_of_a_pipe_in_place_of_its_own(cogmill: AsyncCogmill, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("product\nmug\n")
    first = await cogmill.campaigns.create("a {product}", name="mugs")
    await cogmill.campaigns.upload_input(first.id, path)
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(b"product\njar\n")
    with os.fdopen(reading, "rb") as pipe:
        kept = await cogmill.files.upload(pipe, purpose="campaign", filename="stdin")
    clone = await cogmill.campaigns.create(clone_of=first.id, input=kept.id, format="csv")
    assert (clone.state, clone.name, clone.template.prompt) == ("ingesting", "mugs", "a {product}")
    assert clone.input is not None
    assert (clone.input.source, clone.input.bytes) == (kept.id, 12)


async def test_rows_are_put_at_a_signed_url_past_the_api(cogmill: AsyncCogmill, tmp_path: Path) -> None:
    draft = await cogmill.campaigns.create("a {product}")
    path = tmp_path / "rows.jsonl"
    path.write_text('{"product": "mug"}\n')
    await cogmill.campaigns.upload_to(await cogmill.campaigns.presign_upload(draft.id), path)
    assert (await cogmill.campaigns.ingest(draft.id, format="jsonl")).state == "ingesting"


async def test_use_and_the_keys_of_manifests_are_read(cogmill: AsyncCogmill) -> None:
    used = await cogmill.usage(by=["model", "hour"])
    assert (used.by, used.data, used.total.attempts) == (["model", "hour"], [], 0)
    assert (await cogmill.usage_csv(by=["model"])).startswith("model,attempts")
    assert (await cogmill.jwks()).keys[0].crv == "Ed25519"


async def test_an_operator_reads_the_fleet_and_what_was_decided_about_it(api: Api, base_url: str) -> None:
    decision = a_decision("main", "spot")
    await api.dispatching.record_fleet("here", [], [decision])
    async with AsyncCogmill(await api.key("staff", scopes=frozenset(Scope)), base_url) as staff:
        shown = await staff.fleet()
    assert {kind.kind for kind in shown.kinds} == {"default"}
    (told,) = shown.decisions
    assert (told.pool, told.kind, told.change, told.why) == ("main", "spot", 3, decision.why)
    assert told.demand is not None
    assert told.standing is not None
    assert (told.demand.jobs, told.demand.due_in_s, told.standing.ready) == (100, 3600, 2)
    async with AsyncCogmill(await api.key(api.tenant), base_url) as tenant:
        with pytest.raises(module.Forbidden):
            await tenant.fleet()


async def test_a_key_makes_lists_replaces_and_revokes_keys(cogmill: AsyncCogmill, api: Api, base_url: str) -> None:
    until = datetime(2100, 1, 1, tzinfo=UTC)
    made = await cogmill.keys.create(name="ci", scopes=["read", "keys"], allow=["127.0.0.0/8"], expires_at=until)
    assert (made.scopes, made.allow, made.expires_at) == (["keys", "read"], ["127.0.0.0/8"], int(until.timestamp()))
    async with AsyncCogmill(made.key, base_url) as narrow:
        assert [key.id for key in [each async for each in narrow.keys.list(limit=1)]] == [made.id]
        with pytest.raises(module.Forbidden) as refused:
            await narrow.videos.create("sea")
        assert refused.value.code == "missing_scope"
    new = await cogmill.keys.rotate(made.id, overlap_s=60)
    assert (await cogmill.keys.retrieve(made.id)).replaced_by == new.id
    assert (await cogmill.keys.revoke(new.id)).revoked_at is not None

    def use() -> list[str]:
        with Cogmill(made.key, base_url) as client:
            child = client.keys.create(name="of the narrow one")
            client.keys.revoke(made.id, descendants=True)
            return [child.id, child.key]

    child, whole = await asyncio.to_thread(use)
    assert (await cogmill.keys.retrieve(child)).revoked_at is not None
    async with AsyncCogmill(whole, base_url) as gone:
        with pytest.raises(module.Unauthenticated):
            await gone.videos.retrieve("video_0")


async def test_the_blocking_client_says_the_same(api: Api, base_url: str, tmp_path: Path) -> None:
    key = await api.key(api.tenant)

    def use() -> module.Video:
        with Cogmill(key, base_url) as client:
            video = client.videos.create("sea", seed=7)
            return next(each for each in client.videos.list() if each.id == video.id)

    assert (await asyncio.to_thread(use)).seed == 7
