"""Nodes that go while their workers render, on Ray's real autoscaler: killed, given notice, or one too many."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from orchestrator.config import S3Settings, Settings
from orchestrator.domain.job import NewJob
from orchestrator.local import ray as local_ray
from orchestrator.processes.dispatching import run_dispatcher
from orchestrator.store import Store
from tests.support.builders import a_job, a_spec
from tests.support.fake_nodes import autoscaling
from tests.support.ray import Head, joined

if TYPE_CHECKING:
    from workers.cluster import RayWorkers

NODES = {"spot-node": {"CPU": 0, "GPU": 1, "spot": 1}}
# More than a test lasts, until steps hurry.
STEPS = 1500


@pytest.fixture(scope="module")
def head(ray_head: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """One whose autoscaler starts spot nodes, and that notices within seconds that one is dead."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_health_check_period_ms", "1000")
        patch.setenv("RAY_health_check_failure_threshold", "2")
        with autoscaling(tmp_path_factory.mktemp("spot"), NODES, most=4) as head:
            yield head


@dataclass
class Scene:
    """A pool of spot workers under the product's own dispatcher."""

    database: asyncpg.Connection
    database_url: str
    s3: S3Settings
    pool: RayWorkers
    directory: Path

    @asynccontextmanager
    async def dispatching(self, *, most: int) -> AsyncIterator[None]:
        """The dispatcher's process, but for the process; its end is a `kill -9`'s, and what it started stays."""
        settings = self._settings(most)
        running = asyncio.create_task(run_dispatcher(settings, lambda address, namespace: self.pool))
        try:
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    def _settings(self, most: int) -> Settings:
        kind = {"max": most, "price_per_gpu_hour": 1, "start_s": 5, "resource": "spot", "may_vanish": True}
        given: dict[str, Any] = {
            "database_url": self.database_url,
            "master_key": "k" * 16,
            "default_model": "small",
            "models": {"small": {"family": "tiny-2b", "path": "/none"}},
            "models_cache": self.directory,
            "pools": {"gpu": {"model": "small", "kinds": {"spot": kind}}},
            "s3": dict(self.s3),
            "engine": {"checkpoint_every_s": 0.5},
            "autoscale": {"every_s": 0.3, "idle_s": 0.001, "surplus_s": 0.001, "patience_s": 60},
            "retry": {"base_s": 0.01, "cap_s": 0.01},
            "lease": {"poll_timeout_s": 2},
            "metrics": {"dispatch_port": 0},
        }
        return Settings.model_validate(given)

    async def submit(self, store: Store, *seeds: int) -> list[NewJob]:
        specs = [a_spec(model="small", seed=seed, num_inference_steps=STEPS) for seed in seeds]
        jobs = [a_job(spec=spec, pool="gpu", cost=1000.0) for spec in specs]
        for job in jobs:
            await store.submit(job)
        return jobs

    async def row(self, job: NewJob) -> dict[str, Any]:
        return dict(await self.database.fetchrow("SELECT * FROM jobs WHERE id = $1", job.id))

    async def outcomes(self, job: NewJob) -> list[str]:
        rows = await self.database.fetch("SELECT outcome FROM attempts WHERE job_id = $1 ORDER BY number", job.id)
        return [row["outcome"] for row in rows]

    async def renders(self, job: NewJob, claim: int) -> None:
        """Wait until this claim of the job renders, and has stored a checkpoint of its own."""

        async def does() -> bool:
            row = await self.row(job)
            mine = f"/{claim}/" in (row["checkpoint"] or "")
            return (row["state"], row["claims"]) == ("running", claim) and mine

        await until(does)

    async def node_of(self, job: NewJob) -> str:
        return (await self.pool.nodes())[(await self.row(job))["worker"]]

    async def end(self, *jobs: NewJob) -> None:
        """Let what renders end, and wait until there is nothing left of the fleet."""
        from workers import placement

        (self.directory / "hurry").touch()

        async def over() -> bool:
            return {(await self.row(job))["state"] for job in jobs} == {"succeeded"}

        async def gone() -> bool:
            return not await self.pool.list_workers() and not placement.whereabouts()

        await until(over)
        await until(gone)

    def steps(self, job: NewJob) -> list[list[int]]:
        """What each life has rendered of a job, in the order of the lives."""
        from tests.support.timed_workers import lives

        return [life.steps[job.spec.seed] for life in lives(self.directory) if job.spec.seed in life.steps]


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + 120
    while not await reached():
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.1)


@pytest.fixture
async def scene(
    head: Head,
    store: Store,
    database: asyncpg.Connection,
    database_url: str,
    s3_settings: S3Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Scene]:
    from tests.support.timed_workers import TimedActor
    from workers import cluster

    monkeypatch.setattr(cluster, "HostedRenderActor", TimedActor)
    # As the dispatcher joins it; placement groups are known by their names in its namespace.
    async with joined(head.address, f"cogmill-{await store.deployment_id()}") as pool:
        yield Scene(database, database_url, s3_settings, pool, tmp_path)


def kill(head: Head, node: str) -> None:
    """End a node as a spot market does that gives no notice."""
    (raylet,) = (
        process
        for process in local_ray.family(head.id, head.temp_dir)
        if process.name() == "raylet" and process.environ().get("RAY_OVERRIDE_NODE_ID_FOR_TESTING") == node
    )
    os.kill(raylet.pid, signal.SIGKILL)


def give_notice(node: str, seconds: float) -> None:
    """Have Ray drain a node, as its autoscaler does for a cloud that wants it back."""
    import ray
    from ray.core.generated import autoscaler_pb2

    client = ray._raylet.GcsClient(address=ray.get_runtime_context().gcs_address)
    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, why = client.drain_node(node, reason, "spot", int((time.time() + seconds) * 1000))
    assert accepted, why


async def test_a_render_whose_node_is_killed_goes_on_elsewhere_from_its_checkpoint(
    scene: Scene, head: Head, store: Store
) -> None:
    async with scene.dispatching(most=2):
        struck, other = await scene.submit(store, 1, 2)
        for job in (struck, other):
            await scene.renders(job, 1)
        node = await scene.node_of(struck)
        kill(head, node)
        await scene.renders(struck, 2)
        assert await scene.node_of(struck) != node
        await scene.end(struck, other)
    first, second = scene.steps(struck)
    assert second == list(range(second[0], STEPS))
    # A checkpoint is half a second of steps, and the one under way is lost.
    assert 0 < second[0] <= first[-1] + 1
    assert first == list(range(len(first)))
    assert scene.steps(other) == [list(range(STEPS))]
    assert await scene.outcomes(struck) == ["lost", "succeeded"]


async def test_no_step_is_rendered_twice_when_nodes_are_given_notice_or_are_too_many(
    scene: Scene, store: Store
) -> None:
    async with scene.dispatching(most=2):
        jobs = await scene.submit(store, 1, 2)
        for job in jobs:
            await scene.renders(job, 1)
        give_notice(await scene.node_of(jobs[0]), 60)
        await scene.renders(jobs[0], 2)
    async with scene.dispatching(most=1):  # the operator's new maximum: one that renders has to go

        async def waits() -> bool:
            return "queued" in [(await scene.row(job))["state"] for job in jobs]

        await until(waits)
        await scene.end(*jobs)
    for job in jobs:
        rendered = scene.steps(job)
        assert [step for life in rendered for step in life] == list(range(STEPS))
        assert "lost" not in await scene.outcomes(job)
    assert sorted(len(scene.steps(job)) for job in jobs) in ([1, 3], [2, 2])
