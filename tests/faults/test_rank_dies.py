"""A worker on two GPUs of a real Ray: whatever it loses, its GPUs are free again and the group comes back."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from orchestrator.domain.protocol import HandedBack, Rendered, WorkerState
from tests.support.bench import Bench, held
from tests.support.ray import GPUS, Head, joined
from tests.support.s3 import S3Server
from tests.support.workers import a_plan

# The group serves the whole module, since it takes its ranks seconds to import torch.
pytestmark = pytest.mark.asyncio(loop_scope="module")

LEADER = "ray::HostedRenderActor"
FOLLOWER = "ray::FollowerActor"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def group(ray_head: Head, tiny_checkpoint: Callable[[str], Path], s3_server: S3Server) -> AsyncIterator[Bench]:
    plan = a_plan("tiny-5b", tiny_checkpoint("tiny-5b"), s3_server.new_bucket(), gpus_per_worker=2)
    async with joined(ray_head.address) as pool:
        yield Bench(pool, plan)


@pytest_asyncio.fixture(loop_scope="module")
async def bench(group: Bench) -> Bench:
    await group.fresh()
    return group


async def test_two_ranks_render_a_video_and_are_one_worker(bench: Bench, ray_head: Head) -> None:
    render = await bench.ended(await bench.assign())
    assert isinstance(render.end, Rendered)
    assert await bench.pool.list_workers() == [bench.name]
    assert len(ray_head.named(FOLLOWER)) == 1


@pytest.mark.parametrize("rank", [LEADER, FOLLOWER])
async def test_a_rank_that_dies_ends_the_attempt_and_the_group_starts_again(
    bench: Bench, ray_head: Head, rank: str
) -> None:
    assignment = await bench.started()
    before = (await bench.status()).worker
    survivor = {LEADER: FOLLOWER, FOLLOWER: LEADER}[rank]
    (dying,), (left,) = ray_head.named(rank), ray_head.named(survivor)
    dying.kill()
    after = await bench.until(lambda status: status.worker != before and status.state is WorkerState.READY)
    assert held(after, assignment) is None
    assert not left.is_running()
    assert isinstance((await bench.ended(await bench.assign())).end, Rendered)


async def test_a_leader_that_has_to_go_hands_its_renders_back_first(bench: Bench, ray_head: Head) -> None:
    assignment = await bench.started()
    before = (await bench.status()).worker
    for process in (*ray_head.named(FOLLOWER), *ray_head.named(LEADER)):
        process.send_signal(signal.SIGTERM)
    render = await bench.ended(assignment)
    assert isinstance(render.end, HandedBack)
    assert render.end.checkpoint is not None
    await bench.pool.forget(bench.name, bench.caller, assignment.token)
    await bench.until(lambda status: status.worker != before)


async def test_a_group_that_is_gone_for_good_leaves_every_gpu_free(bench: Bench, ray_head: Head) -> None:
    import ray

    free: Callable[[], dict[str, float]] = ray.available_resources
    assert free()["GPU"] == GPUS - 2
    await bench.pool.kill(bench.name, restart=False)
    await eventually(lambda: free().get("GPU") == GPUS)
    await eventually(lambda: not ray_head.named(FOLLOWER))
    assert await bench.pool.list_workers() == []


async def eventually(look: Callable[[], object], within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not look():
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.1)
