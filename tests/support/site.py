"""One database, one bucket and one simulated cluster whose dispatcher may begin again, to try its promises on."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import asyncpg
import pytest

from orchestrator.domain.job import NewJob, VideoResult
from orchestrator.domain.protocol import Assignment
from orchestrator.domain.states import JobState
from orchestrator.ports import ObjectStore, WorkerPlan
from orchestrator.store import Store
from tests.support.builders import a_job, a_result
from tests.support.control import Control, a_plan
from tests.support.simulated_workers import SimulatedWorkers, VirtualClock

ONE = {"small-0": a_plan()}


def publish(_: Assignment) -> VideoResult:
    return a_result()


@dataclass
class Site:
    """`begins` is what a dispatcher's start does; `pool` outlives every dispatcher."""

    store: Store
    objects: ObjectStore
    database: asyncpg.Connection
    pool: SimulatedWorkers = field(default_factory=lambda: SimulatedWorkers(VirtualClock(), publish))
    control: Control = field(init=False)

    async def begins(self, wanted: Mapping[str, WorkerPlan] = ONE) -> None:
        self.control = await Control.begin(self.store, self.objects, self.pool, wanted, random.Random(1))
        await self.control.round()

    async def runs_a_job(self, **changes: object) -> NewJob:
        """A job that some worker has been given."""
        job = a_job(**changes)
        await self.store.submit(job)
        await self.control.round()
        assert await self.state(job) is JobState.RUNNING
        return job

    async def state(self, job: NewJob) -> JobState:
        found = await self.store.get(job.id, job.tenant)
        assert found is not None
        return found.state

    async def outcomes(self, job: NewJob) -> list[str]:
        rows = await self.database.fetch("SELECT outcome FROM attempts WHERE job_id = $1 ORDER BY number", job.id)
        return [row["outcome"] for row in rows]

    async def turns(self, *, until_s: float, stop: Callable[[], bool] = lambda: False) -> None:
        """Rounds of every loop for so many seconds of the dispatcher's clock, or until `stop` says so."""
        clock = self.pool.clock
        end = clock.monotonic() + until_s
        while clock.monotonic() < end and not stop():
            await self.control.round()
            await clock.sleep(1.0)

    async def finishes(self, job: NewJob) -> None:
        """Rounds of rendering until the job has succeeded."""
        for _ in range(20):
            for name in sorted(self.pool.workers):
                self.pool.advance(name)
            await self.control.round()
            if await self.state(job) is JobState.SUCCEEDED:
                return
        pytest.fail(f"still {await self.state(job)}")


@pytest.fixture
def site(store: Store, objects: ObjectStore, database: asyncpg.Connection) -> Site:
    return Site(store, objects, database)
