"""The promises of the Workers port, kept by Ray with the real actor and by the simulated pool alike."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from orchestrator.adapters.s3 import S3Objects
from orchestrator.domain.errors import ProtocolMismatch, StaleEpoch, WorkerLost
from orchestrator.domain.job import Artifact, VideoResult
from orchestrator.domain.objects import claim_prefix
from orchestrator.domain.protocol import (
    PROTOCOL_VERSION,
    Answer,
    Assignment,
    Caller,
    HandedBack,
    Rendered,
    Stopped,
    WorkerState,
)
from tests.support.bench import Bench, held
from tests.support.builders import a_result, a_spec
from tests.support.ray import joined
from tests.support.s3 import S3Server
from tests.support.simulated_workers import SimulatedWorkers
from tests.support.workers import a_plan

NAME = "small-0"

# One worker serves the whole module, since a real one takes seconds to load: `ready` mends what a test has left.
pytestmark = pytest.mark.asyncio(loop_scope="module")


class RealClock:
    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def publish(assignment: Assignment) -> VideoResult:
    prefix = claim_prefix(assignment.job_id, assignment.claim)
    digest = hashlib.sha256(b"").hexdigest()
    video = Artifact(key=f"{prefix}video.mp4", size=0, sha256=digest, content_type="video/mp4")
    return a_result(video=video)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["simulated", "ray"])
async def worker(
    request: pytest.FixtureRequest, tiny_checkpoint: Callable[[str], Path], s3_server: S3Server
) -> AsyncIterator[Bench]:
    """The real one has no keys of S3: all that it reads and writes here goes through signed URLs."""
    path, s3 = tiny_checkpoint("tiny-2b"), s3_server.new_bucket(worker_access="presigned")
    plan = a_plan("tiny-2b", path, s3.for_workers)
    if request.param == "simulated":
        yield Bench(SimulatedWorkers(RealClock(), publish), plan)
        return
    async with joined(request.getfixturevalue("ray_address")) as pool:
        yield Bench(pool, plan, partial(S3Objects(s3).sign, lifetime_s=600))


@pytest_asyncio.fixture(loop_scope="module")
async def bench(worker: Bench) -> Bench:
    await worker.fresh()
    return worker


async def test_a_worker_renders_what_it_is_assigned_and_keeps_the_result_until_told_to_forget(bench: Bench) -> None:
    assignment = await bench.assign()
    render = await bench.ended(assignment)
    assert isinstance(render.end, Rendered)
    assert render.step == render.steps == 4
    assert render.end.result.video.key.startswith(claim_prefix(assignment.job_id, 1))
    assert held(await bench.status(), assignment) is not None
    await bench.pool.forget(NAME, bench.caller, assignment.token)
    assert held(await bench.status(), assignment) is None


async def test_a_render_that_is_half_done_shows_a_preview_under_its_claim(bench: Bench) -> None:
    assignment = await bench.assign(steps=20)
    status = await bench.until(lambda status: (render := held(status, assignment)) and render.preview)
    render = held(status, assignment)
    assert render is not None
    assert render.preview is not None
    assert render.preview.key.startswith(claim_prefix(assignment.job_id, 1))
    assert render.step >= 10


async def test_assigning_the_same_token_twice_renders_once(bench: Bench) -> None:
    assignment = await bench.assign(steps=20)
    assert await bench.pool.assign(NAME, bench.caller, assignment) is Answer.ACCEPTED
    assert len((await bench.status()).renders) == 1


async def test_newer_urls_reach_what_is_held_and_begin_nothing(bench: Bench) -> None:
    held_now = await bench.assign(steps=20)
    renewal = replace(held_now, renews=True)
    assert await bench.pool.assign(NAME, bench.caller, renewal) is Answer.ACCEPTED
    unknown = replace(renewal, token=uuid4(), job_id=uuid4())
    assert await bench.pool.assign(NAME, bench.caller, unknown) is Answer.FULL
    assert [render.token for render in (await bench.status()).renders] == [held_now.token]


async def test_a_cancelled_render_stops_and_the_next_one_is_whole(bench: Bench) -> None:
    first = await bench.started()
    await bench.pool.cancel(NAME, bench.caller, first.token)
    stopped = await bench.ended(first)
    assert isinstance(stopped.end, Stopped)
    assert stopped.step < 200
    assert isinstance((await bench.ended(await bench.assign())).end, Rendered)


async def test_an_evicted_render_is_handed_back_with_a_checkpoint_and_goes_on_from_it(bench: Bench) -> None:
    first = await bench.started()
    await bench.pool.evict(NAME, bench.caller, first.token)
    handed_back = await bench.ended(first)
    assert isinstance(handed_back.end, HandedBack)
    assert handed_back.end.checkpoint is not None
    again = replace(first, token=uuid4(), claim=2, checkpoint=handed_back.end.checkpoint)
    assert await bench.pool.assign(NAME, bench.caller, again) is Answer.ACCEPTED
    status = await bench.until(lambda status: (render := held(status, again)) and render.step > 0)
    render = held(status, again)
    assert render is not None
    assert render.step >= handed_back.end.checkpoint.step


async def test_a_worker_that_drains_within_a_time_evicts_what_has_not_ended_by_then(bench: Bench) -> None:
    assignment = await bench.started()
    await bench.pool.drain(NAME, bench.caller, within_s=0)
    assert isinstance((await bench.ended(assignment)).end, HandedBack)


async def test_unknown_tokens_are_ignored(bench: Bench) -> None:
    await bench.pool.cancel(NAME, bench.caller, uuid4())
    await bench.pool.forget(NAME, bench.caller, uuid4())
    await bench.pool.evict(NAME, bench.caller, uuid4())


async def test_an_older_dispatcher_is_refused_once_a_newer_one_has_called(bench: Bench) -> None:
    older, bench.caller = bench.caller, Caller(epoch=bench.caller.epoch + 1)
    await bench.status()
    with pytest.raises(StaleEpoch):
        await bench.pool.poll(NAME, older, version=0, timeout_s=1)


async def test_another_protocol_is_refused_and_changes_nothing(bench: Bench) -> None:
    stranger = Caller(epoch=bench.caller.epoch + 1, protocol=PROTOCOL_VERSION + 1)
    with pytest.raises(ProtocolMismatch):
        await bench.pool.drain(NAME, stranger)
    assert (await bench.status()).state is WorkerState.READY


async def test_starting_a_worker_that_exists_changes_nothing(bench: Bench) -> None:
    before = await bench.status()
    await bench.pool.start(bench.plan)
    assert (await bench.status()).worker == before.worker


async def test_what_cannot_be_taken_is_refused_and_leaves_nothing_behind(bench: Bench) -> None:
    first = await bench.started()

    async def answer(**changes: Any) -> Answer:
        return await bench.pool.assign(NAME, bench.caller, replace(first, token=uuid4(), **changes))

    assert await answer(incarnation="another") is Answer.WRONG_INCARNATION
    assert await answer(spec=a_spec(model="tiny-5b")) is Answer.WRONG_MODEL
    await bench.assign(steps=200)
    assert await answer() is Answer.FULL
    await bench.pool.drain(NAME, bench.caller)
    assert await answer() is Answer.DRAINING
    assert len((await bench.status()).renders) == 2


async def test_a_killed_worker_comes_back_empty_as_a_new_incarnation(bench: Bench) -> None:
    assignment = await bench.started()
    before = await bench.status()
    await bench.pool.kill(NAME, restart=True)
    after = await bench.until(lambda status: status.worker != before.worker)
    assert held(after, assignment) is None


async def test_a_worker_that_is_gone_for_good_is_lost_and_no_longer_listed(bench: Bench) -> None:
    assert await bench.pool.list_workers() == [NAME]
    await bench.pool.kill(NAME, restart=False)
    with pytest.raises(WorkerLost):
        await bench.until(lambda _: False, within_s=30)
    assert await bench.pool.list_workers() == []
