"""The ledger of attempts, that of workers' time and the busy metric have the same seconds, whatever becomes of renders.

Workers, dispatcher and database are real; the model alone is scripted: its moves take their time, and fail where a test
says so.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from uuid import UUID

import asyncpg
import pytest

from orchestrator.domain.errors import RenderFailed, WorkerLost
from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import NewJob, RenderSpec
from orchestrator.domain.protocol import Answer, Assignment, Caller, RenderStatus, Stage, WorkerState, WorkerStatus
from orchestrator.domain.states import JobState
from orchestrator.kit.clock import SystemClock
from orchestrator.ports import ObjectStore, WorkerPlan
from orchestrator.store import Store
from orchestrator.telemetry import metrics
from tests.support.builders import a_job, a_spec
from tests.support.control import Control, a_plan
from tests.support.workers import PATIENCE_S, ScriptedModel, parts
from workers.actor import RenderActor
from workers.engine.choice import Act

MOVE_S = 0.01
# Renders of these seeds break at once; break in their first attempt; step for ever.
HOPELESS, UNLUCKY, ENDLESS = 1, 2, 3


class InProcessWorkers:
    """A `Workers` whose actors are real ones, in this process instead of one of Ray's."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.actors: dict[str, RenderActor] = {}
        self._unlucky = {UNLUCKY}

    def close(self) -> None:
        for actor in self.actors.values():
            actor.close()

    def crash(self, name: str) -> None:
        self.actors.pop(name).close()

    async def list_workers(self) -> list[str]:
        return sorted(self.actors)

    async def start(self, plan: WorkerPlan) -> None:
        if plan.name not in self.actors:
            model = ScriptedModel(before=self._before)
            self.actors[plan.name] = RenderActor(plan, assemble=lambda plan, scratch: parts(model))

    async def kill(self, name: str, *, restart: bool) -> None:
        self.crash(name)

    async def poll(self, name: str, caller: Caller, *, version: int, timeout_s: float) -> WorkerStatus:
        return await self._actor(name).poll(caller, version, min(timeout_s, 0.05))

    async def assign(self, name: str, caller: Caller, assignment: Assignment) -> Answer:
        return await self._actor(name).assign(caller, assignment)

    async def cancel(self, name: str, caller: Caller, token: UUID) -> None:
        await self._actor(name).cancel(caller, token)

    async def evict(self, name: str, caller: Caller, token: UUID) -> None:
        await self._actor(name).evict(caller, token)

    async def forget(self, name: str, caller: Caller, token: UUID) -> None:
        await self._actor(name).forget(caller, token)

    async def drain(self, name: str, caller: Caller, *, within_s: float | None = None) -> None:
        await self._actor(name).drain(caller, within_s)

    def _actor(self, name: str) -> RenderActor:
        if name not in self.actors:
            raise WorkerLost(f"no actor is named {name}")
        return self.actors[name]

    def _before(self, act: Act, spec: RenderSpec, step: int) -> None:
        time.sleep(MOVE_S)
        if act is Act.STEP and spec.seed == HOPELESS:
            raise RenderFailed(FailureCode.RENDER_ERROR, "it never works", retryable=False)
        if act is Act.STEP and spec.seed in self._unlucky:
            self._unlucky.discard(spec.seed)
            raise RenderFailed(FailureCode.RENDER_ERROR, "it did not work")


def kind_of(pool: str, worker: str) -> str:
    return worker.removeprefix(f"{pool}-").rpartition("-")[0]


class Scene:
    """A dispatcher over two workers, and what was busy before."""

    def __init__(self, store: Store, objects: ObjectStore, database: asyncpg.Connection) -> None:
        self.store, self.objects, self.database = store, objects, database
        self.workers = InProcessWorkers()
        self.before_s = self._busy_s()

    async def begins(self) -> None:
        wanted = {name: a_plan(name) for name in ("small-spot-0", "small-firm-0")}
        self.control = await Control.begin(
            self.store,
            self.objects,
            self.workers,
            wanted,
            random.Random(1),
            kind_of,  # type: ignore[arg-type]
        )
        await self.until(
            lambda: all(
                worker.status is not None and worker.status.state is WorkerState.READY
                for worker in self.control.cluster.fleet.workers.values()
            )
        )

    async def submits(self, seed: int, steps: int = 6, priority: int = 10) -> NewJob:
        job = a_job(spec=a_spec(seed=seed, num_inference_steps=steps), priority=priority)
        await self.store.submit(job)
        return job

    async def until(self, wanted: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not wanted():
                await self.control.round()

    async def ends(self, *jobs: NewJob) -> list[JobState]:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await self.control.round()
                found = [await self.store.get(job.id, job.tenant) for job in jobs]
                states = [job.state for job in found if job is not None]
                if all(state.terminal for state in states):
                    return states

    def renders(self) -> list[RenderStatus]:
        """What the dispatcher has heard of."""
        return [render for status in self.control.cluster.fleet.statuses() for render in status.renders]

    def steps(self, job: NewJob) -> int:
        """Steps of a job that the dispatcher has heard of."""
        return max((render.step for render in self.renders() if render.job_id == job.id), default=0)

    def claim_of(self, job: NewJob) -> tuple[str, UUID]:
        (claim,) = [claim for claim in self.control.cluster.claims.by_token.values() if claim.job_id == job.id]
        return claim.worker.name, claim.token

    @property
    def busy_s(self) -> float:
        """What the metric has counted since the scene began."""
        return self._busy_s() - self.before_s

    @staticmethod
    def _busy_s() -> float:
        return float(metrics.gpu_busy_seconds.labels("small")._value.get())

    async def ledger(self) -> dict[str, float]:
        rows = await self.database.fetch("SELECT outcome, sum(gpu_seconds) AS used FROM usage GROUP BY outcome")
        return {row["outcome"]: row["used"] for row in rows}

    async def all_agree(self) -> None:
        """Attempts, workers' time and the metric have the same seconds within 1%, and the first two by kind, too."""
        await self.control.timekeeper.run_once()
        attempts = await self.database.fetch("SELECT kind, sum(gpu_seconds) AS used FROM usage GROUP BY kind")
        busy = await self.database.fetch(
            "SELECT kind, sum(seconds) AS used FROM worker_time WHERE spell = 'busy' GROUP BY kind"
        )
        by_kind, of_workers = ({row["kind"]: row["used"] for row in rows} for rows in (attempts, busy))
        assert set(by_kind) <= {"spot", "firm"}
        assert by_kind == pytest.approx(of_workers, rel=0.01)
        assert sum(by_kind.values()) == pytest.approx(self.busy_s, rel=0.01)


@pytest.fixture
async def scene(store: Store, objects: ObjectStore, database: asyncpg.Connection) -> AsyncIterator[Scene]:
    opened = Scene(store, objects, database)
    await opened.begins()
    yield opened
    opened.workers.close()


async def test_the_ledger_sums_to_the_busy_metric_whatever_becomes_of_renders(scene: Scene) -> None:
    cancelled, evicted = await scene.submits(ENDLESS, 100_000), await scene.submits(7, 40)
    await scene.until(lambda: scene.steps(cancelled) > 3 and scene.steps(evicted) > 3)
    await scene.store.request_cancel(cancelled.id, cancelled.tenant)
    name, token = scene.claim_of(evicted)
    await scene.workers.evict(name, scene.control.cluster.caller, token)
    others = [await scene.submits(seed) for seed in (HOPELESS, UNLUCKY, 10, 11, 12, 13)]
    states = await scene.ends(cancelled, evicted, *others)
    assert states == [JobState.CANCELLED, JobState.SUCCEEDED, JobState.FAILED, *[JobState.SUCCEEDED] * 5]
    ledger = await scene.ledger()
    assert set(ledger) == {"cancelled", "evicted", "failed", "succeeded"}
    assert all(seconds >= MOVE_S for seconds in ledger.values())
    await scene.all_agree()


async def test_a_render_that_steps_aside_for_a_more_urgent_one_pays_for_none_of_its_seconds(scene: Scene) -> None:
    bulk = [await scene.submits(seed, 60, priority=30) for seed in (30, 31)]
    await scene.until(lambda: all(scene.steps(job) > 3 for job in bulk))
    urgent = [await scene.submits(seed, 20, priority=0) for seed in (32, 33)]
    await scene.until(lambda: any(render.stage is Stage.PREEMPTED for render in scene.renders()))
    assert await scene.ends(*bulk, *urgent) == [JobState.SUCCEEDED] * 4
    used = {
        row["job_id"]: row["used"]
        for row in await scene.database.fetch("SELECT job_id, sum(gpu_seconds) AS used FROM usage GROUP BY job_id")
    }
    assert all(used[job.id] >= 60 * MOVE_S for job in bulk)
    assert all(used[job.id] >= 20 * MOVE_S for job in urgent)
    await scene.all_agree()


async def test_what_a_worker_had_used_when_it_vanished_is_in_the_ledger_as_lost(scene: Scene) -> None:
    lost = await scene.submits(20, 60)
    await scene.until(lambda: scene.steps(lost) > 20)
    scene.workers.crash(scene.claim_of(lost)[0])
    assert await scene.ends(lost) == [JobState.SUCCEEDED]
    assert (await scene.ledger())["lost"] >= 20 * MOVE_S
    await scene.all_agree()


async def test_loading_and_waiting_for_work_are_in_neither(scene: Scene) -> None:
    began = time.monotonic()
    while time.monotonic() < began + 0.3:
        await scene.control.round()
    assert scene.busy_s == 0.0
    assert await scene.ledger() == {}
