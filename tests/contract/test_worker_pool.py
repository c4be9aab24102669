"""The promises of the WorkerPool port, kept by Ray with the real actor and by the simulated pool alike."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from orchestrator.config import S3Settings
from orchestrator.domain.catalog import TINY_2B
from orchestrator.domain.errors import StaleEpoch, WorkerLost
from orchestrator.domain.job import Artifact, VideoResult, claim_prefix
from orchestrator.domain.protocol import (
    Answer,
    Assignment,
    Caller,
    Rendered,
    RenderStatus,
    Stopped,
    WorkerState,
    WorkerStatus,
)
from orchestrator.ports import WorkerPlan, WorkerPool
from tests.support.builders import a_result, a_spec
from tests.support.ray import joined
from tests.support.simulated_pool import SimulatedPool
from workers.tiny import make

NAME = "small-0"
CALLER = Caller(epoch=5)


class RealClock:
    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Bench:
    """One started worker of some pool, and a way to let its renders move."""

    def __init__(self, pool: WorkerPool, plan: WorkerPlan) -> None:
        self.pool = pool
        self.plan = plan

    @classmethod
    async def started(cls, pool: WorkerPool, plan: WorkerPlan) -> Bench:
        await pool.start(plan)
        return cls(pool, plan)

    async def status(self) -> WorkerStatus:
        return await self.pool.poll(NAME, CALLER, version=0, timeout_s=5)

    async def ready(self) -> WorkerStatus:
        return await self.until(lambda status: status.state is WorkerState.READY)

    async def until(self, wanted: object, *, within_s: float = 60) -> WorkerStatus:
        """Poll until `wanted(status)`; a simulated worker moves a little with each look."""
        assert callable(wanted)
        deadline = time.monotonic() + within_s
        version = 0
        while time.monotonic() < deadline:
            status = await self.pool.poll(NAME, CALLER, version=version, timeout_s=0.2)
            if wanted(status):
                return status
            version = status.version
            if isinstance(self.pool, SimulatedPool):
                self.pool.advance(NAME)
        pytest.fail(f"never came: {status}")

    async def assign(self, *, steps: int = 4, **changes: object) -> Assignment:
        status = await self.ready()
        assignment = Assignment(
            job_id=uuid4(),
            claim=1,
            token=uuid4(),
            spec=a_spec(num_inference_steps=steps),
            priority=10,
            incarnation=status.worker.incarnation,
        )
        assignment = replace(assignment, **changes)  # type: ignore[arg-type]
        assert await self.pool.assign(NAME, CALLER, assignment) is Answer.ACCEPTED
        return assignment


def held(status: WorkerStatus, assignment: Assignment) -> RenderStatus | None:
    return next((render for render in status.renders if render.token == assignment.token), None)


def publish(assignment: Assignment) -> VideoResult:
    prefix = claim_prefix(assignment.job_id, assignment.claim)
    digest = hashlib.sha256(b"").hexdigest()
    video = Artifact(key=f"{prefix}video.mp4", size=0, sha256=digest, content_type="video/mp4")
    return a_result(video=video)


@pytest.fixture(params=["simulated", "ray"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path, s3_settings: S3Settings) -> AsyncIterator[Bench]:
    path = make(TINY_2B, tmp_path)
    plan = WorkerPlan(name=NAME, pool="small", model="tiny-2b", family="tiny-2b", path=path, s3=s3_settings)
    if request.param == "simulated":
        yield await Bench.started(SimulatedPool(RealClock(), publish), plan)
        return
    async with joined(request.getfixturevalue("ray_address")) as pool:
        yield await Bench.started(pool, plan)


async def test_a_worker_renders_what_it_is_assigned_and_keeps_the_result_until_told_to_forget(bench: Bench) -> None:
    assignment = await bench.assign()
    status = await bench.until(lambda status: (render := held(status, assignment)) and render.end)
    render = held(status, assignment)
    assert render is not None
    assert isinstance(render.end, Rendered)
    assert render.step == render.steps == 4
    assert render.end.result.video.key.startswith(claim_prefix(assignment.job_id, 1))
    assert held(await bench.status(), assignment) is not None
    await bench.pool.forget(NAME, CALLER, assignment.token)
    assert held(await bench.status(), assignment) is None


async def test_assigning_the_same_token_twice_renders_once(bench: Bench) -> None:
    assignment = await bench.assign(steps=20)
    assert await bench.pool.assign(NAME, CALLER, assignment) is Answer.ACCEPTED
    assert len((await bench.status()).renders) == 1


async def test_what_cannot_be_taken_is_refused_and_leaves_nothing_behind(bench: Bench) -> None:
    first = await bench.assign(steps=200)
    stranger = replace(first, token=uuid4(), incarnation="another")
    assert await bench.pool.assign(NAME, CALLER, stranger) is Answer.WRONG_INCARNATION
    other_model = replace(first, token=uuid4(), spec=a_spec(model="tiny-5b"))
    assert await bench.pool.assign(NAME, CALLER, other_model) is Answer.WRONG_MODEL
    await bench.assign(steps=200)
    assert await bench.pool.assign(NAME, CALLER, replace(first, token=uuid4())) is Answer.FULL
    await bench.pool.drain(NAME, CALLER)
    assert await bench.pool.assign(NAME, CALLER, replace(first, token=uuid4())) is Answer.DRAINING
    assert len((await bench.status()).renders) == 2


async def test_a_waiting_assignment_can_be_taken_back_and_a_started_one_cannot(bench: Bench) -> None:
    first = await bench.assign(steps=200)
    await bench.until(lambda status: (render := held(status, first)) and render.step > 0)
    second = await bench.assign(steps=200)
    assert await bench.pool.release(NAME, CALLER, second.token)
    assert await bench.pool.release(NAME, CALLER, second.token)  # the first reply may have been lost
    assert not await bench.pool.release(NAME, CALLER, first.token)
    ends = {render.token: render.end for render in (await bench.status()).renders}
    assert ends[first.token] is None
    assert isinstance(ends[second.token], Stopped)


async def test_a_cancelled_render_stops_and_the_next_one_is_whole(bench: Bench) -> None:
    first = await bench.assign(steps=200)
    await bench.until(lambda status: (render := held(status, first)) and render.step > 0)
    await bench.pool.cancel(NAME, CALLER, first.token)
    status = await bench.until(lambda status: (render := held(status, first)) and render.end)
    stopped = held(status, first)
    assert stopped is not None
    assert isinstance(stopped.end, Stopped)
    assert stopped.step < 200
    second = await bench.assign()
    status = await bench.until(lambda status: (render := held(status, second)) and render.end)
    whole = held(status, second)
    assert whole is not None
    assert isinstance(whole.end, Rendered)


async def test_unknown_tokens_are_ignored(bench: Bench) -> None:
    await bench.ready()
    await bench.pool.cancel(NAME, CALLER, uuid4())
    await bench.pool.forget(NAME, CALLER, uuid4())
    assert not await bench.pool.release(NAME, CALLER, uuid4())


async def test_an_older_dispatcher_is_refused_once_a_newer_one_has_called(bench: Bench) -> None:
    await bench.ready()
    await bench.pool.poll(NAME, Caller(epoch=6), version=0, timeout_s=1)
    with pytest.raises(StaleEpoch):
        await bench.pool.poll(NAME, CALLER, version=0, timeout_s=1)


async def test_a_killed_worker_comes_back_empty_as_a_new_incarnation(bench: Bench) -> None:
    assignment = await bench.assign(steps=200)
    before = await bench.status()
    await bench.pool.kill(NAME, restart=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            after = await bench.pool.poll(NAME, CALLER, version=before.version, timeout_s=1)
            break
        except Exception:
            await asyncio.sleep(0.1)
    assert after.worker.incarnation != before.worker.incarnation
    assert held(after, assignment) is None


async def test_a_worker_that_is_gone_for_good_is_lost_and_no_longer_listed(bench: Bench) -> None:
    await bench.ready()
    assert await bench.pool.list_workers() == [NAME]
    await bench.pool.kill(NAME, restart=False)
    with pytest.raises(WorkerLost):
        await bench.until(lambda _: False, within_s=30)
    assert await bench.pool.list_workers() == []


async def test_starting_a_worker_that_exists_changes_nothing(bench: Bench) -> None:
    before = await bench.ready()
    await bench.pool.start(bench.plan)
    assert (await bench.status()).worker == before.worker
