"""A batch from its file to its answers, on real PostgreSQL and real S3; jobs end as a dispatcher would end them."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from dataclasses import replace

import pytest
from PIL import Image
from sqlalchemy import text

from api.dialects import DIALECTS
from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import S3Settings, Settings
from orchestrator.domain.batch import BatchStatus
from orchestrator.domain.campaign import Kind
from orchestrator.domain.errors import InvalidField, NotFound, Unsupported, WrongState
from orchestrator.domain.job import public_id
from orchestrator.intake.jobs import Jobs
from orchestrator.ports.campaign_values import Budget
from orchestrator.store import Store
from tests.support import third_dialect
from tests.support.api import POOL, api_settings
from tests.support.batches import FAILS, Scene, a_scene, line
from tests.support.postgres import Clock

OUTBOX = text("SELECT batch_id, tenant, event FROM outbox WHERE batch_id IS NOT NULL")


async def test_every_line_is_answered_once_in_the_form_of_its_dialect(scene: Scene) -> None:
    lines = [line("a", seed=1), line("b", prompt=FAILS), line("c", size="7x7"), line("d")]
    batch = await scene.create(lines, metadata={"for": "us"})
    assert batch.status is BatchStatus.VALIDATING
    done = await scene.finish(batch)
    assert (done.status, done.total, done.completed, done.failed) == (BatchStatus.COMPLETED, 4, 2, 2)
    assert done.metadata == {"for": "us"}
    assert None not in (done.in_progress_at, done.finalizing_at, done.completed_at)
    good, bad = await scene.lines(done.output_file), await scene.lines(done.error_file)
    assert set(good) == {"a", "d"}
    answer = good["a"]
    assert set(answer) == {"id", "custom_id", "response", "error"}
    assert (answer["response"]["status_code"], answer["error"]) == (200, None)
    assert (answer["response"]["body"]["object"], answer["response"]["body"]["status"]) == ("video", "completed")
    assert answer["response"]["body"]["seed"] == 1
    assert answer["id"].startswith("batch_req_")
    assert answer["response"]["request_id"].startswith("req_")
    assert bad["b"]["response"]["status_code"] == 500
    assert bad["b"]["response"]["body"]["error"] == {"code": "out_of_memory", "message": "it did not fit"}
    assert bad["c"]["response"]["status_code"] == 400
    refusal = bad["c"]["response"]["body"]["error"]
    assert (set(refusal), refusal["param"]) == ({"message", "type", "param", "code"}, "size")


async def test_the_bigmodel_dialect_answers_with_signed_urls(scene: Scene) -> None:
    lines = [line("a", "bigmodel", request_id="mine"), line("b", "bigmodel", prompt=FAILS)]
    batch = await scene.create(lines, dialect="bigmodel", delete_input=True)
    done = await scene.finish(batch)
    answer = (await scene.lines(done.output_file))["a"]
    assert set(answer) == {"id", "custom_id", "response"}
    body = answer["response"]["body"]
    assert (answer["response"]["status_code"], body["request_id"], body["task_status"]) == (200, "mine", "SUCCESS")
    assert body["video_result"][0]["url"].startswith("http")
    failed = (await scene.lines(done.error_file))["b"]
    assert (failed["response"]["status_code"], failed["response"]["body"]["task_status"]) == (500, "FAIL")
    with pytest.raises(NotFound):
        await scene.files.get(scene.tenant, batch.input_file)


async def test_a_dialect_that_is_one_more_of_the_tuple_has_its_lines_read_and_answered_in_its_form(
    store: Store, objects: S3Objects, s3_settings: S3Settings, database_url: str
) -> None:
    dialects = (*DIALECTS, third_dialect.DIALECT)
    scene = a_scene(store, objects, api_settings(database_url, s3_settings), dialects)
    bodies = {"a": {"scene": "a mill"}, "b": {"scene": FAILS}, "c": {"scene": ""}}
    form = {"method": "POST", "url": third_dialect.ENDPOINT}
    lines = [json.dumps({"custom_id": name, **form, "body": body}) for name, body in bodies.items()]
    done = await scene.finish(await scene.create(lines, dialect="films"))
    good, bad = await scene.lines(done.output_file), await scene.lines(done.error_file)
    assert (good["a"]["status"], good["a"]["film"]["stands"]) == (200, "succeeded")
    assert good["a"]["film"]["model"] == "tiny-2b", "what its lines take from the settings"
    assert (bad["b"]["status"], bad["b"]["film"]["stands"]) == (500, "failed")
    assert (bad["c"]["status"], bad["c"]["oops"]["where"]) == (400, "scene")


@pytest.mark.parametrize(
    ("lines", "code", "where"),
    [
        (b"", "empty_file", None),
        (line("a").encode() + b"\n{oops\n", "invalid_json_line", 2),
        (b"[]\n", "invalid_json_line", 1),
        (b"\xff\n", "invalid_json_line", 1),
        (f"{line('a')}\n\n{line('a')}\n".encode(), "duplicate_custom_id", 3),
        (line("a", "bigmodel").encode(), "invalid_value", 1),
        (line("a").replace("POST", "GET").encode(), "invalid_value", 1),
        (b'{"custom_id": "a", "method": "POST", "url": "/v1/videos"}', "missing", 1),
        (line("a", nonsense=1).encode(), "unknown_field", 1),
        (line("a", prompt=None).encode(), "missing", 1),
    ],
)
async def test_a_file_with_a_wrong_line_fails_and_says_which(
    scene: Scene, lines: bytes, code: str, where: int | None
) -> None:
    done = await scene.finish(await scene.create(lines))
    assert (done.status, done.total) == (BatchStatus.FAILED, 0)
    assert done.errors is not None
    assert [(error.code, error.line) for error in done.errors] == [(code, where)]
    assert (done.output_file, done.error_file) == (None, None)
    assert await scene.render() == 0


async def test_too_many_lines_and_too_many_errors_are_bounded(scene: Scene) -> None:
    few = scene.settings.model_copy(update={"batches": scene.settings.batches.model_copy(update={"max_lines": 2})})
    other = a_scene(scene.store, scene.objects, few)
    done = await other.finish(await other.create([line(str(n)) for n in range(3)]))
    assert done.errors is not None
    assert [error.code for error in done.errors] == ["too_many_lines"]
    done = await scene.finish(await scene.create(["{}"] * 1000))
    assert done.errors is not None
    assert len(done.errors) == 100


async def test_no_more_than_so_many_jobs_are_in_the_queue_ahead(scene: Scene) -> None:
    short = scene.settings.model_copy(update={"batches": scene.settings.batches.model_copy(update={"ahead": 3})})
    other = a_scene(scene.store, scene.objects, short)
    batch = await other.create([line(str(n)) for n in range(8)])
    for _ in range(3):
        await other.step()
    page = await other.store.list_jobs(other.tenant, limit=100)
    assert len(page.jobs) == 3
    assert {job.priority for job in page.jobs} == {short.batches.priority}
    done = await other.finish(batch)
    assert (done.completed, done.total) == (8, 8)


async def test_a_cancelled_batch_keeps_what_was_finished(scene: Scene) -> None:
    short = scene.settings.model_copy(update={"batches": scene.settings.batches.model_copy(update={"ahead": 2})})
    other = a_scene(scene.store, scene.objects, short)
    batch = await other.create([line(str(n)) for n in range(5)])
    await other.step()
    assert await other.render() == 2
    await other.step()
    asked = await other.batches.cancel(other.tenant, batch.id)
    assert asked.status is BatchStatus.CANCELLING
    assert (await other.batches.cancel(other.tenant, batch.id)).status is BatchStatus.CANCELLING
    done = await other.finish(batch)
    assert (done.status, done.completed, done.failed) == (BatchStatus.CANCELLED, 2, 3)
    assert set(await other.lines(done.output_file)) == {"0", "1"}
    errors = await other.lines(done.error_file)
    assert {(e["response"], e["error"]["code"]) for e in errors.values()} == {(None, "batch_cancelled")}
    assert (await other.batches.cancel(other.tenant, batch.id)).status is BatchStatus.CANCELLED
    assert await other.render() == 0


async def test_a_batch_cancelled_before_it_began_has_no_files(scene: Scene) -> None:
    batch = await scene.create([line("a")])
    await scene.batches.cancel(scene.tenant, batch.id)
    done = await scene.finish(batch)
    assert (done.status, done.output_file, done.error_file) == (BatchStatus.CANCELLED, None, None)


async def test_an_overdue_batch_expires_with_the_answers_there_are(scene: Scene, clock: Clock) -> None:
    short = scene.settings.model_copy(update={"batches": scene.settings.batches.model_copy(update={"ahead": 2})})
    other = a_scene(scene.store, scene.objects, short)
    batch = await other.create([line(str(n)) for n in range(5)], window="1h")
    await other.step()
    assert await other.render() == 2
    await other.step()
    await clock.advance(3601)
    done = await other.finish(batch)
    assert (done.status, done.completed, done.failed) == (BatchStatus.EXPIRED, 2, 3)
    assert {e["error"]["code"] for e in (await other.lines(done.error_file)).values()} == {"batch_expired"}
    with pytest.raises(WrongState, match="expired"):
        await other.batches.cancel(other.tenant, batch.id)


async def test_the_end_is_told_once_in_the_outbox(scene: Scene) -> None:
    done = await scene.finish(await scene.create([line("a")]))
    told = await scene.store._database.fetch(OUTBOX)
    assert [(row.batch_id, row.tenant, row.event) for row in told] == [(done.id, scene.tenant, "batch.completed")]


async def test_a_video_deleted_meanwhile_is_an_error_line(scene: Scene) -> None:
    batch = await scene.create([line("a"), line("b")])
    await scene.step()
    (job, _) = (await scene.store.list_jobs(scene.tenant, limit=10, order="asc")).jobs
    await Jobs.delete(scene.kind._jobs, scene.tenant, public_id(job.id))
    done = await scene.finish(batch)
    assert (done.completed, done.failed) == (1, 1)
    assert (await scene.lines(done.error_file))["a"]["error"]["code"] == "deleted"


async def test_two_runners_at_once_do_not_double_anything(scene: Scene) -> None:
    batches = [await scene.create([line(f"{b}-{n}") for n in range(20)]) for b in range(4)]
    second = a_scene(scene.store, scene.objects, scene.settings)
    for _ in range(40):
        await asyncio.gather(scene.step(), second.run_once(), scene.render())
    for batch in batches:
        done = await scene.batch(batch)
        assert (done.status, done.completed) == (BatchStatus.COMPLETED, 20)
        assert len(await scene.lines(done.output_file)) == 20
    assert len((await scene.store.list_jobs(scene.tenant, limit=100)).jobs) == 80


async def test_requests_of_ended_batches_are_forgotten_and_late_jobs_end(scene: Scene, clock: Clock) -> None:
    batch = await scene.create([line("a")])
    await scene.step()
    await scene.batches.cancel(scene.tenant, batch.id)
    done = await scene.finish(batch)
    assert await scene.pruner.run_once() == 0
    await clock.advance(3601)
    assert await scene.pruner.run_once() == 1
    assert await scene.store.over(Kind.BATCH, older_than_s=0, limit=10) == []
    assert await scene.batch(batch) == done
    await clock.advance(scene.settings.retention.jobs_s)
    assert await scene.pruner.run_once() == 2, "its face, and what it stood on"
    with pytest.raises(NotFound):
        await scene.batch(batch)


async def test_what_cannot_be_a_batch_is_refused_by_name(scene: Scene) -> None:
    with pytest.raises(InvalidField) as caught:
        await scene.create([line("a")], window="soon")
    assert caught.value.param == "completion_window"
    with pytest.raises(Unsupported):
        await scene.create([line("a")], window="8d")
    with pytest.raises(InvalidField) as caught:
        await scene.create([line("a")], metadata={"a": "x" * 600})
    assert caught.value.param == "metadata[a]"
    stranger = a_scene(scene.store, scene.objects, scene.settings)
    batch = await scene.create([line("a")])
    for use in (stranger.batches.get, stranger.batches.cancel):
        with pytest.raises(NotFound):
            await use(stranger.tenant, batch.id)
    assert (await stranger.batches.list(stranger.tenant, limit=10)).batches == []


async def test_images_in_lines_are_read_and_a_wrong_one_is_an_error_of_its_line(scene: Scene) -> None:
    models = {name: {"family": name, "source": f"/models/{name}"} for name in ("tiny-2b", "tiny-5b-i2v")}
    pools = {POOL: {"model": "tiny-2b"}, "images": {"model": "tiny-5b-i2v"}}
    given = {**scene.settings.model_dump(), "models": models, "pools": pools}
    other = a_scene(scene.store, scene.objects, Settings.model_validate(given))

    def uri(width: int, height: int) -> str:
        png = io.BytesIO()
        Image.new("RGB", (width, height), "teal").save(png, "PNG")
        return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"

    lines = [
        line("good", input_reference={"image_url": uri(96, 64)}),
        line("narrow", input_reference={"image_url": uri(100, 400)}),
        line("broken", input_reference={"image_url": "data:image/png;base64,AAAA"}),
        line("gone", input_reference={"file_id": "file-" + "0" * 32}),
    ]
    batch = await other.create(lines)
    for _ in range(3):
        await other.step()
    (job,) = (await other.store.list_jobs(other.tenant, limit=10)).jobs
    assert (job.spec.model, job.pool) == ("tiny-5b-i2v", "images")
    assert job.spec.image is not None
    assert (await other.batch(batch)).failed == 3


async def test_a_batch_waits_for_the_room_of_its_tenants_budget(scene: Scene) -> None:
    none = Budget(tenant=scene.tenant, period="day", unit="gpu_seconds", amount=0.001)
    await scene.store.set_budget(none)
    batch = await scene.create([line("a"), line("b")])
    for _ in range(3):
        await scene.run_once()
    waits = await scene.store._database.fetch(text("SELECT count(*) AS n FROM jobs"))
    assert waits[0].n == 0
    await scene.store.set_budget(replace(none, amount=1000.0))
    done = await scene.finish(batch)
    assert (done.status, done.completed) == (BatchStatus.COMPLETED, 2)
    (budget,) = await scene.store.budgets_of(scene.tenant)
    assert (budget.reserved, budget.used) == (0.0, 3.0), "what they used counts"
