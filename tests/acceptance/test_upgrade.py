"""A control plane that is upgraded, or rolled back, while its workers stay: their renders go on, and each ends once.

The other release is the one before this one, run from its recorded tree (`tests/support/previous_release.py`).
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import psutil
import pytest
import pytest_asyncio
from pydantic import BaseModel, SecretStr

from orchestrator.config import (
    AdapterSettings,
    EngineSettings,
    FinishSettings,
    LogSettings,
    ModerationSettings,
    PoolSettings,
    S3Settings,
)
from orchestrator.domain.catalog import Profile
from orchestrator.domain.errors import ProtocolMismatch, StaleEpoch, WorkerLost, WorkerUnreachable
from orchestrator.domain.job import Continuity, Failure, Incident, NewJob
from orchestrator.domain.protocol import (
    Answer,
    Assignment,
    Broke,
    Caller,
    HandedBack,
    Rendered,
    Stage,
    Stopped,
    WorkerState,
    WorkerStatus,
)
from orchestrator.local.configuration import to_toml
from orchestrator.ports import WorkerPlan
from orchestrator.store import Store
from tests.architecture.test_travelling import RAISED, TRAVELS
from tests.support import previous_release
from tests.support.builders import a_checkpoint, a_claim, a_job, a_render, a_result, a_spec, a_status
from tests.support.models import Checkpoint
from tests.support.ray import Head, joined
from tests.support.sources import ROOT

if TYPE_CHECKING:
    from workers.cluster import RayWorkers

POOL = "main"
WORKER = "main-0"

# Long enough for a busy machine; nothing waits this long unless it fails.
PATIENCE_S = 120.0

# Takes bytes, and gives back what the other release makes of them.
_REPEAT = """
import pickle, sys
values = pickle.load(sys.stdin.buffer)
import orchestrator
print(orchestrator.__file__, file=sys.stderr)
pickle.dump(values, sys.stdout.buffer)
"""


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of the release before this one."""
    return previous_release.unpack(tmp_path_factory.mktemp("previous"))


@dataclass
class Site:
    """A database, a bucket and a cluster of one worker, which a dispatcher of either release drives, then another."""

    store: Store
    database: asyncpg.Connection
    head: Head
    workers: RayWorkers
    namespace: str
    directory: Path
    epoch: int = 0

    @asynccontextmanager
    async def driven_from(self, tree: Path) -> AsyncIterator[int]:
        """A dispatcher of this tree, ended as a rollout ends it; yields how many renders it found and adopted."""
        self.epoch += 1
        log = self.directory / f"{self.epoch}.log"
        command = [sys.executable, "-c", "from orchestrator.cli import main; main()", "dispatch"]
        with log.open("wb") as out:
            # In its tree: Ray's workers import what lies in the directory of who started them.
            dispatcher = await asyncio.create_subprocess_exec(
                *command, cwd=tree, env=self._environment(tree), stdout=out, stderr=out
            )

        async def begun() -> dict[str, Any] | None:
            assert dispatcher.returncode is None, log.read_text()
            whole = log.read_text().rpartition("\n")[0].splitlines()
            lines = [json.loads(line) for line in whole if line.startswith("{")]
            return next((line for line in lines if line["event"] == "dispatching"), None)

        try:
            yield (await eventually(begun))["adopted"]
            dispatcher.terminate()
            async with asyncio.timeout(PATIENCE_S):
                assert await dispatcher.wait() == 0, log.read_text()
        finally:
            if dispatcher.returncode is None:
                dispatcher.kill()
                await dispatcher.wait()

    def _environment(self, tree: Path) -> dict[str, str]:
        config = str(self.directory / "cogmill.toml")
        return os.environ | {"PYTHONPATH": str(tree), "COGMILL_CONFIG": config}

    async def rendering(self, *, steps: int) -> NewJob:
        """A new job, some of whose steps are done."""
        job = a_job(pool=POOL, spec=a_spec(num_inference_steps=steps))
        await self.store.submit(job)

        async def begun() -> bool:
            renders = (await self.status()).renders
            return any(render.job_id == job.id and render.step > 0 for render in renders) or await self._over(job)

        await eventually(begun)
        return job

    async def ended(self, job: NewJob) -> None:
        """Wait until it is over."""
        await eventually(lambda: self._over(job))

    async def _over(self, job: NewJob) -> bool:
        found = await self.store.get(job.id, job.tenant)
        assert found is not None
        return found.state.terminal

    async def attempts(self, job: NewJob) -> list[tuple[str, str]]:
        """Of each of its attempts, the incarnation that rendered it and its outcome."""
        rows = await self.database.fetch("SELECT * FROM attempts WHERE job_id = $1 ORDER BY number", job.id)
        return [(row["incarnation"], row["outcome"]) for row in rows]

    async def status(self) -> WorkerStatus:
        """What the worker tells the dispatcher that drives it now, and this process, whose release may be another."""

        async def answer() -> WorkerStatus | None:
            try:
                return await self.workers.poll(WORKER, Caller(epoch=self.epoch), version=0, timeout_s=1)
            except (WorkerLost, WorkerUnreachable):
                return None

        return await eventually(answer)

    def stop_worker(self) -> psutil.Process:
        """Have its process stand still until it is resumed, so that no render ends before the next dispatcher."""
        (process,) = self.head.named("ray::HostedRenderActor")
        process.suspend()
        return process

    async def replaced_by(self, tree: Path) -> None:
        """Wait until the worker's code is from this tree: a plan of another release is another plan."""
        import ray

        async def runs() -> bool:
            try:
                actor: Any = await asyncio.to_thread(ray.get_actor, WORKER, self.namespace)
                file = await actor.__ray_call__.remote(attrgetter("poll.__wrapped__.__code__.co_filename"))
            except (ValueError, ray.exceptions.RayActorError):  # between the two workers
                return False
            return Path(file).parents[1] == tree

        await eventually(runs)


@pytest_asyncio.fixture
async def site(
    store: Store,
    database: asyncpg.Connection,
    database_url: str,
    s3_settings: S3Settings,
    tiny_checkpoint: Checkpoint,
    ray_head: Head,
    tmp_path: Path,
) -> AsyncIterator[Site]:
    told = s3_settings.model_dump(mode="json", exclude_none=True, exclude={"secret_key"})
    document = {
        "database_url": database_url,
        "master_key": "tests-only-tests-only",
        "default_model": "tiny-2b",
        "models": {"tiny-2b": {"family": "tiny-2b", "source": str(tiny_checkpoint("tiny-2b"))}},
        "pools": {POOL: {"model": "tiny-2b"}},
        "s3": told | {"secret_key": s3_settings.secret_key.get_secret_value() if s3_settings.secret_key else ""},
        "ray": {"address": ray_head.address},
        "metrics": {"dispatch_port": 0},
    }
    (tmp_path / "cogmill.toml").write_text(to_toml(document))
    namespace = f"cogmill-{await store.deployment_id()}"
    async with joined(ray_head.address, namespace) as workers:
        yield Site(store, database, ray_head, workers, namespace, tmp_path)
        for process in ray_head.named("ray::HostedRenderActor"):
            process.resume()


async def eventually(look: Callable[[], Awaitable[Any]]) -> Any:
    """Look again until there is something."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := await look()):
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.05)
    return found


@pytest.mark.timeout(4 * PATIENCE_S)
async def test_renders_go_on_through_an_upgrade_of_the_dispatcher_and_back_and_each_ends_once(
    site: Site, previous: Path
) -> None:
    async with site.driven_from(previous):
        first = await site.rendering(steps=100)
        old = (await site.status()).worker
        stopped = site.stop_worker()

    async with site.driven_from(ROOT) as adopted:
        assert adopted == 1
        stopped.resume()
        await site.ended(first)
        assert await site.attempts(first) == [(old.incarnation, "succeeded")]

        await site.replaced_by(ROOT)
        second = await site.rendering(steps=100)
        new = (await site.status()).worker
        stopped = site.stop_worker()

    async with site.driven_from(previous) as adopted:
        assert adopted == 1
        stopped.resume()
        await site.ended(second)
        assert await site.attempts(second) == [(new.incarnation, "succeeded")]

        await site.replaced_by(previous)
        third = await site.rendering(steps=4)
        await site.ended(third)
        assert [outcome for _, outcome in await site.attempts(third)] == ["succeeded"]


def test_what_travels_between_two_releases_arrives_whole_both_ways(previous: Path) -> None:
    values = _travellers()
    assert {f"{kind.__module__}.{kind.__qualname__}" for kind in map(type, _within(values))} >= {
        *(f"{module}.{name}" for module, names in TRAVELS.items() for name in names),
        *(f"orchestrator.domain.errors.{name}" for name in RAISED),
    }
    done = subprocess.run(
        [sys.executable, "-c", _REPEAT],
        input=pickle.dumps(values),
        capture_output=True,
        cwd=previous,
        env=os.environ | {"PYTHONPATH": str(previous)},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr.decode().strip() == str(previous / "orchestrator" / "__init__.py")
    for sent, returned in zip(values, pickle.loads(done.stdout), strict=True):
        assert type(returned) is type(sent)
        assert repr(returned) == repr(sent)
        if not isinstance(sent, Exception):
            assert returned == sent
        if isinstance(sent, WorkerPlan):
            assert returned.fingerprint == sent.fingerprint


def _travellers() -> list[object]:
    """A value of every class that a call to a worker or its answer is made of, and what a call raises."""
    result = a_result(thumbnail=a_result().cover, numerics="b" * 16, prompt_tokens=3, incidents=tuple(Incident))
    failure = Failure(code="boom", message="it broke", retryable=False)
    ends = [
        Rendered(result=result),
        *(Rendered(result=a_result(continuity=continuity)) for continuity in Continuity),
        Broke(failure=failure, gpu_seconds=1.0),
        Stopped(gpu_seconds=2.0),
        HandedBack(reason="drained", checkpoint=a_checkpoint(), gpu_seconds=3.0),
    ]
    renders = [a_render(stage=stage, checkpoint=a_checkpoint(), preview=result.cover) for stage in Stage]
    renders += [a_render(end=end, incidents=tuple(Incident), stages={"denoising": 1.0}) for end in ends]
    spec = a_spec(image=result.cover, adapter="ink", adapter_scale=0.5, reproducible=True, strict_prompt=True)
    return [
        Caller(epoch=7),
        *Answer,
        # Of nobody, as the other release has it: it does not know whose a render is.
        *(replace(Assignment.of(a_claim(spec=a_spec(profile=profile))), tenant="") for profile in Profile),
        replace(Assignment.of(a_claim(spec=spec, checkpoint=a_checkpoint())), tenant=""),
        *(a_status(*renders, state=state, interrupts=3, adapters=("ink",), error="?") for state in WorkerState),
        _a_plan(),
        StaleEpoch("epoch 2 has called"),
        ProtocolMismatch("another protocol"),
    ]


def _a_plan() -> WorkerPlan:
    """With something set in every section."""
    return WorkerPlan(
        name=WORKER,
        pool=POOL,
        model="tiny",
        family="tiny-2b",
        source="/models/tiny",
        cache=Path("/cache"),
        settings=PoolSettings(model="tiny", profiles=(Profile.FAST,), batch_size=2),
        engine=EngineSettings(park_mib=7),
        adapters={"ink": AdapterSettings(source="/ink", models=("tiny",), scale=0.5)},
        s3=S3Settings(endpoint_url="http://s3", access_key="me", secret_key=SecretStr("hush")),
        log=LogSettings(level="debug"),
        finish=FinishSettings(max_crop=0.1),
        moderation=ModerationSettings(entry_point="somebody:looks", video=True),
        sizes=((96, 64),),
    )


def _within(value: object) -> Iterable[object]:
    """The value and what it is made of."""
    yield value
    if isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, list | tuple):
        parts = list(value)
    elif is_dataclass(value):
        parts = [getattr(value, field.name) for field in fields(value)]
    elif isinstance(value, BaseModel):
        parts = [getattr(value, name) for name in type(value).model_fields]
    else:
        parts = []
    for part in parts:
        yield from _within(part)
