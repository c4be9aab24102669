"""Traces, from a request through every attempt to its webhook: as a collector sees them, and when there is none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import cast
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import TracingSettings
from orchestrator.domain.job import parse_public_id
from orchestrator.domain.protocol import Stage
from orchestrator.domain.states import JobState
from orchestrator.domain.trace import TraceContext
from orchestrator.store import Store
from orchestrator.telemetry import metrics, tracing
from orchestrator.telemetry.tracing import SAID
from tests.support.api import Api, in_process, serving
from tests.support.campaigns import a_campaign_scene
from tests.support.collector import Collector, Seen, collecting
from tests.support.control import a_plan
from tests.support.postgres import Server
from tests.support.receivers import Post, Receiver, posting, receiving, webhook_settings
from tests.support.s3 import S3Server
from tests.support.site import Site

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEADERS_SECRET = "authorization=Bearer the-collectors-own-secret,x-scope=videos"
PROMPT = "a heron that nobody else has thought of"
NEGATIVE = "no herring-gulls"
STATE = "vendor=t61rcWkgMzE,other=00f067aa0ba902b7"
SENT = "a-secret-of-the-receivers"


def a_parent(*, sampled: bool = True) -> tuple[str, str]:
    """A caller's trace, and its header."""
    trace_id = uuid4().hex
    return trace_id, f"00-{trace_id}-00f067aa0ba902b7-{int(sampled):02x}"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """This process traces to it for as long as the module's tests run, and what they kept secret has not come."""
    with pytest.MonkeyPatch.context() as environment, collecting() as collector:
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        environment.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        settings = TracingSettings.model_validate({"endpoint": collector.url, "headers": HEADERS_SECRET})
        with tracing.running(settings, "tests"):
            yield collector


@dataclass
class Scene:
    """The API, a dispatcher over simulated workers, and what delivers webhooks, on one database."""

    api: Api
    site: Site
    post: Post
    receiver: Receiver

    async def asks(self, **headers: str) -> str:
        """A video is asked for, whose end is told to the receiver; its id."""
        body = {
            "model": "sora-2", "prompt": PROMPT, "negative_prompt": NEGATIVE, "size": "96x64", "seconds": "1",
            "webhook_url": self.receiver.url(path=f"/{SENT}"), "metadata": {"note": PROMPT},
        }  # fmt: skip
        answer = await self.api.http.post("/v1/videos", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def begins(self, *names: str) -> None:
        await self.site.begins({name: a_plan(name) for name in names or ("small-0",)})

    async def ends(self, video: str) -> None:
        for _ in range(30):
            for name in sorted(self.site.pool.workers):
                self.site.pool.advance(name)
            await self.site.control.round()
            if await self.state(video) is JobState.SUCCEEDED:
                return
        pytest.fail(f"still {await self.state(video)}")

    async def state(self, video: str) -> JobState:
        found = await self.site.store.get(id_of(video), self.api.tenant)
        assert found is not None
        return found.state


def id_of(video: str) -> UUID:
    found = parse_public_id(video)
    assert found is not None
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(
    postgres_server: Server, migrated_template: str, s3_server: S3Server, collector: Collector
) -> AsyncIterator[tuple[Api, asyncpg.Connection, Post, Receiver]]:
    database = postgres_server.new_database(migrated_template)
    url = postgres_server.url(database)
    settings = webhook_settings(url).model_copy(update={"s3": s3_server.new_bucket()})
    async with serving(settings) as app, receiving() as receiver, posting(url) as post:
        connection = await asyncpg.connect(url)
        yield Api(app, settings, tenant="", http=in_process(app)), connection, post, receiver
        await connection.close()
    postgres_server.drop_database(database)


@pytest_asyncio.fixture(loop_scope="module")
async def scene(opened: tuple[Api, asyncpg.Connection, Post, Receiver]) -> AsyncIterator[Scene]:
    """For a tenant that nobody else is; what others have left in the queue and to tell is gone."""
    shared, database, post, receiver = opened
    api = Api(shared.app, shared.settings, tenant=uuid4().hex, http=in_process(shared.app))
    api.http.headers["authorization"] = f"Bearer {await api.key()}"
    await database.execute("UPDATE jobs SET ready = false, state = 'held' WHERE state = 'queued'")
    await database.execute("DELETE FROM outbox")
    receiver.received.clear()
    async with api.http:
        yield Scene(api, Site(cast(Store, api.services.store), api.services.objects, database), post, receiver)


def named(spans: list[Seen], name: str) -> Seen:
    (found,) = (span for span in spans if span.name == name)
    return found


def below(spans: list[Seen], parent: Seen) -> list[str]:
    return [span.name for span in spans if span.parent_id == parent.span_id]


async def until(collector: Collector, trace_id: str, *names: str) -> list[Seen]:
    return await asyncio.to_thread(collector.until, trace_id, *names)


async def test_one_trace_leads_from_the_callers_request_to_its_webhook(scene: Scene, collector: Collector) -> None:
    trace_id, parent = a_parent()
    await scene.begins()
    video = await scene.asks(traceparent=parent, tracestate=STATE)
    await scene.site.control.round()
    await scene.ends(video)
    await scene.post.round()
    spans = await until(collector, trace_id, "POST /v1/videos", "submit", "wait", "attempt 1", "settlement", "webhook")
    request, submit = named(spans, "POST /v1/videos"), named(spans, "submit")
    assert request.parent_id == "00f067aa0ba902b7"
    assert request.said["http.response.status_code"] == 200
    assert request.said["cogmill.tenant"] == scene.api.tenant
    assert below(spans, request) == ["submit"]
    assert set(below(spans, submit)) == {"wait", "attempt 1", "webhook"}
    attempt = named(spans, "attempt 1")
    assert attempt.said["cogmill.job"] == id_of(video).hex
    assert (attempt.said["cogmill.worker"], attempt.said["cogmill.outcome"]) == ("small-0", "succeeded")
    assert set(below(spans, attempt)) == {
        "claim", "assignment", "assigned", "denoising", "uploading", "settlement",
    }  # fmt: skip
    assert not any(span.failed for span in spans)
    for span in spans:
        if span.parent_id == attempt.span_id and span.name != "settlement":
            assert attempt.began <= span.began <= span.ended <= attempt.ended
    (told,) = scene.receiver.received
    assert told.headers["traceparent"] == f"00-{trace_id}-{named(spans, 'webhook').span_id}-01"
    assert told.headers["tracestate"] == STATE


async def test_lost_evicted_and_preempted_renders_show_as_attempts_of_one_trace(
    scene: Scene, collector: Collector
) -> None:
    trace_id, parent = a_parent()
    await scene.begins()
    video = await scene.asks(traceparent=parent)
    await scene.site.control.round()
    scene.site.pool.advance("small-0")
    await scene.site.control.round()
    scene.site.pool.crash("small-0")
    await scene.site.turns(until_s=200, stop=lambda: bool(stage(scene, video)))
    # Another one, more urgent, takes its worker for a while.
    scene.site.pool.advance("small-0")
    await scene.site.control.round()
    urgent = await scene.asks()
    await scene.site.database.execute("UPDATE jobs SET priority = 0 WHERE id = $1", id_of(urgent))
    await scene.site.database.execute("INSERT INTO lanes VALUES ('small', 0, $1, 1)", scene.api.tenant)
    await scene.site.control.round()
    scene.site.pool.advance("small-0")
    await scene.site.control.round()
    assert stage(scene, video) is Stage.PREEMPTED
    await scene.ends(urgent)
    scene.site.pool.advance("small-0")
    await scene.site.control.round()
    # Then it is asked to leave.
    await scene.site.control.dispatcher.hand_back(0)
    await scene.ends(video)
    spans = await until(collector, trace_id, "attempt 1", "attempt 2", "attempt 3")
    ends = [named(spans, f"attempt {number}") for number in (1, 2, 3)]
    assert [end.said["cogmill.outcome"] for end in ends] == ["lost", "evicted", "succeeded"]
    assert [end.failed for end in ends] == [True, False, False]
    assert ends[0].said["error.type"] == "worker_lost"
    # What the one that died had told of is there.
    assert "denoising" in below(spans, ends[0])
    assert below(spans, ends[1]).count("denoising") == 2
    assert "preempted" in below(spans, ends[1])
    assert ends[2].said["cogmill.resumed_at"] > 0
    assert {span.name for span in spans if span.parent_id == named(spans, "submit").span_id} == {
        "wait", "attempt 1", "attempt 2", "attempt 3",
    }  # fmt: skip


def stage(scene: Scene, video: str) -> Stage | None:
    """Of its render, on whatever worker."""
    renders = [status for worker in scene.site.pool.workers.values() for _, status in worker.renders.values()]
    return next((render.stage for render in renders if render.job_id == id_of(video)), None)


async def test_who_wants_no_recording_gets_none_and_hears_of_its_trace_all_the_same(
    scene: Scene, collector: Collector
) -> None:
    trace_id, parent = a_parent(sampled=False)
    recorded, other = a_parent()
    await scene.begins()
    video = await scene.asks(traceparent=parent)
    await scene.site.control.round()
    await scene.ends(video)
    await scene.post.round()
    (told,) = scene.receiver.received
    assert told.headers["traceparent"].startswith(f"00-{trace_id}-")
    assert told.headers["traceparent"].endswith("-00")
    await scene.api.http.get(f"/v1/videos/{video}", headers={"traceparent": other})
    await until(collector, recorded, "GET /v1/videos/{video_id}")  # whatever came before it has been sent
    assert collector.of(trace_id) == []


async def test_rows_of_a_campaign_have_traces_of_their_own_that_link_to_it(scene: Scene, collector: Collector) -> None:
    trace_id, _ = a_parent()
    objects = scene.api.services.objects
    assert isinstance(objects, S3Objects)
    campaigns = a_campaign_scene(scene.site.store, objects, scene.api.settings, scene.api.tenant)
    asked = tracing.span("request", parent=TraceContext(trace_id, "00f067aa0ba902b7", True))
    with asked:
        campaign = await campaigns.create("custom_id,product,scene\na,mug,table\nb,cup,shelf\n")
    for _ in range(10):
        await campaigns.step()
    (origin,) = await until(collector, trace_id, "request")
    kept = await scene.site.database.fetch("SELECT trace FROM jobs WHERE campaign = $1", campaign.id)
    assert len({each["trace"] for each in kept}) == 2
    for trace in (each["trace"] for each in kept):
        (row,) = await until(collector, trace.split("-")[1], "row")
        assert row.span_id == trace.split("-")[2]
        assert row.links == ((trace_id, origin.span_id),)
        assert (row.parent_id, row.said["cogmill.campaign"]) == ("", campaign.id)


async def test_a_collector_that_hangs_or_refuses_costs_spans_and_no_job(scene: Scene, collector: Collector) -> None:
    lost = spans_of("refused")
    await scene.begins()
    collector.open.clear()
    hung = await scene.asks()
    for _ in range(5_000):  # more than the queue takes
        with tracing.span("filler"):
            pass
    await scene.site.control.round()
    await scene.ends(hung)
    collector.status = 400
    collector.open.set()
    await asyncio.to_thread(eventually, lambda: spans_of("refused") > lost)
    collector.status = 200
    assert spans_of("made") - spans_of("sent") - spans_of("refused") > 2_000  # there was no room for these
    trace_id, parent = a_parent()
    video = await scene.asks(traceparent=parent)
    await scene.site.control.round()
    await scene.ends(video)
    await until(collector, trace_id, "submit", "attempt 1")


async def test_an_answer_without_an_end_holds_up_no_span_and_a_redirect_is_a_refusal(collector: Collector) -> None:
    collector.brief.clear()
    try:
        for _ in range(2):  # the second is sent once the first is answered
            with tracing.span("unending", root=True) as span:
                pass
            assert span.context is not None
            await until(collector, span.context.trace_id, "unending")
    finally:
        collector.brief.set()
    lost = spans_of("refused")
    collector.status = 307
    with tracing.span("elsewhere", root=True):
        pass
    await asyncio.to_thread(eventually, lambda: spans_of("refused") > lost)
    collector.status = 200


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def spans_of(fate: str) -> float:
    return float(metrics.spans.labels(fate)._value.get())


async def test_spans_say_no_prompt_no_key_and_no_address(scene: Scene, collector: Collector) -> None:
    """Of all that the tests of this module have made."""
    trace_id, parent = a_parent()
    secret = scene.api.http.headers["authorization"].removeprefix("Bearer ")
    with tracing.span("anything", {"cogmill.job": "known", "prompt": PROMPT}):  # as a line that somebody adds
        await scene.asks(traceparent=parent)
    await until(collector, trace_id, "submit")
    everything = b"".join(collector.raw)
    for hidden in (PROMPT, NEGATIVE, SENT, secret, secret.split(".")[-1], "the-collectors-own-secret", "127.0.0.1"):
        assert hidden.encode() not in everything, hidden
    assert {name for span in collector.spans for name in span.said} <= SAID
    assert {each["authorization"] for each in collector.headers} == {"Bearer the-collectors-own-secret"}
