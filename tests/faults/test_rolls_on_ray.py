"""A roll on real Ray without spare GPUs: it fails, is tried again, and every render is whole.

The real controller and the real dispatchers, each in front of a Ray cluster of its own; the API server and KubeRay are
stand-ins (`tests/support/ray_machines.py`). Two GPUs for two clusters of two workers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from orchestrator.config import S3Settings
from orchestrator.domain.job import NewJob
from orchestrator.local.configuration import to_toml
from orchestrator.rolling.controller import Controller
from orchestrator.store import Store
from orchestrator.telemetry import metrics
from tests.support.builders import a_job, a_spec
from tests.support.kuberay import KubeRay
from tests.support.ray_machines import Machines, living
from tests.support.rolling import COMING, KEPT, NAMESPACE, SERVING, SETTINGS, Namespace, name_of, template

# More than the test lasts, until steps hurry.
STEPS = 3000
PATIENCE_S = 120.0


@pytest_asyncio.fixture
async def machines(
    namespace: Namespace, ray_head: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Machines]:
    """`ray_head` for the token that all heads of this process share."""
    # Processes that wait for tasks: there are none but actors.
    monkeypatch.setenv("RAY_enable_worker_prestart", "0")
    monkeypatch.setenv("RAY_prestart_worker_first_driver", "0")
    found = Machines(KubeRay(namespace.server, gpus=2), tmp_path)
    async with living(found):
        yield found


class Scene:
    """A release in a namespace, whose controller looks all the time."""

    def __init__(
        self, namespace: Namespace, database: asyncpg.Connection, database_url: str, s3: S3Settings, directory: Path
    ) -> None:
        self.namespace, self.database, self.directory = namespace, database, directory
        self.controller = Controller(namespace.api, namespace.store, SETTINGS, NAMESPACE)
        secret = s3.secret_key.get_secret_value() if s3.secret_key is not None else ""
        self.settings: dict[str, Any] = {
            "database_url": database_url,
            "master_key": "tests-only-tests-only",
            "default_model": "small",
            "models": {"small": {"family": "tiny-2b", "path": "/none"}},
            "pools": {"small": {"model": "small", "workers": 2}},
            "s3": s3.model_dump(mode="json", exclude_none=True, exclude={"secret_key"}) | {"secret_key": secret},
            "engine": {"checkpoint_every_s": 0.5},
            "retry": {"base_s": 0.01, "cap_s": 0.01},
            "lease": {"poll_timeout_s": 2},
            "metrics": {"dispatch_port": 0},
        }

    def image(self, number: int, *, deadline_s: int = 3600) -> dict[str, str]:
        """A release with this image, whose workers have a directory of their own."""
        directory = self.directory / f"image-{number}"
        directory.mkdir(exist_ok=True)
        return template(
            worker=f"registry/cogmill-worker:{number}", autoscaled=False, groups=("gpu",), bounds=(2, 2),
            config=to_toml(self.settings | {"models_cache": str(directory)}),
            roll={"strategy": "in_place", "deadline_s": deadline_s},
        )  # fmt: skip

    async def until(self, reached: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not await reached():
            assert time.monotonic() < deadline, f"it never came: {await self.namespace.rows()}"
            await self.controller.run_once()
            await asyncio.sleep(0.5)

    async def is_in(self, states: dict[str, Any]) -> bool:
        return await self.namespace.rows() == states

    async def renders(self, job: NewJob, cluster: str) -> bool:
        """Whether it is under way there, and has stored a checkpoint of its claim's own."""
        row = await self.row(job)
        mine = f"/{row['claims']}/" in (row["checkpoint"] or "")
        return (row["state"], row["cluster"]) == ("running", cluster) and mine

    async def row(self, job: NewJob) -> dict[str, Any]:
        return dict(await self.database.fetchrow("SELECT * FROM jobs WHERE id = $1", job.id))

    async def outcomes(self, job: NewJob) -> list[str]:
        rows = await self.database.fetch("SELECT outcome FROM attempts WHERE job_id = $1 ORDER BY number", job.id)
        return [row["outcome"] for row in rows]

    def steps(self, job: NewJob) -> list[list[int]]:
        """What each life has rendered of a job, in the order of the images."""
        from tests.support.timed_workers import lives

        found = [life for number in (1, 2) for life in lives(self.directory / f"image-{number}")]
        return [life.steps[job.spec.seed] for life in found if job.spec.seed in life.steps]


@pytest.mark.timeout(3 * PATIENCE_S)
async def test_a_roll_fails_is_tried_again_and_every_render_is_whole(
    machines: Machines,
    namespace: Namespace,
    store: Store,
    database: asyncpg.Connection,
    database_url: str,
    s3_settings: S3Settings,
    tmp_path: Path,
) -> None:
    from tests.support.timed_workers import HURRY, STUCK

    scene = Scene(namespace, database, database_url, s3_settings, tmp_path)
    old, new = scene.image(1), scene.image(2)
    first, second = name_of(old), name_of(new)
    jobs = [a_job(spec=a_spec(model="small", seed=seed, num_inference_steps=STEPS), pool="small") for seed in (1, 2)]
    for job in jobs:
        await store.submit(job)
    namespace.install(old)

    async def both(cluster: str) -> bool:
        return all([await scene.renders(job, cluster) for job in jobs])

    await scene.until(lambda: both(first))

    # Its workers never get their model loaded: that costs one pod, whose render waits with its checkpoint.
    (tmp_path / "image-2" / STUCK).touch()
    namespace.install(new)

    async def waits() -> bool:
        states = sorted([(await scene.row(job))["state"] for job in jobs])
        return states == ["queued", "running"] and bool(machines.kuberay.pods(second))

    await scene.until(waits)
    namespace.install(scene.image(2, deadline_s=1))
    await scene.until(lambda: scene.is_in({first: KEPT, second: COMING}))
    assert await waits()
    await scene.controller.run_once()
    assert metrics.roll_overdue._value.get() == 1

    # What was wrong is mended: the render goes on there. The old one makes way when it is told to try again.
    namespace.install(new)
    (tmp_path / "image-2" / STUCK).unlink()
    await scene.until(lambda: scene.is_in({first: KEPT, second: SERVING}))
    assert await store.retry_roll() == [first]
    await scene.until(lambda: both(second))
    await scene.until(lambda: scene.is_in({second: SERVING}))
    for number in (1, 2):
        (tmp_path / f"image-{number}" / HURRY).touch()

    async def over() -> bool:
        return {(await scene.row(job))["state"] for job in jobs} == {"succeeded"}

    await scene.until(over)
    for job in jobs:
        assert await scene.outcomes(job) == ["evicted", "succeeded"]
        before, after = scene.steps(job)
        assert [*before, *after] == list(range(STEPS)), "no step is rendered twice, and none is left out"
        assert (await scene.row(job))["failures"] == 0
    assert list(machines.heads) == [second]
    assert machines.kuberay.unnamed == []
