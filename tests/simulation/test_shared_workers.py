"""Pools that share workers, on the real dispatcher and PostgreSQL: every job ends, whoever holds which model when.

Simulated workers and time. Workers crash in the middle of a swap, dispatchers restart; swaps stay few beside renders.
"""

from __future__ import annotations

import random
from collections import Counter
from uuid import UUID

import asyncpg
import pytest

from orchestrator.capacity.plans import plans
from orchestrator.config import Settings
from orchestrator.domain.states import JobState
from orchestrator.intake.waiting import Waiting
from orchestrator.ports import ObjectStore, WorkerPlan
from orchestrator.store import Store
from tests.support.builders import a_job, a_spec
from tests.support.control import Control, publisher, saver
from tests.support.simulated_workers import SimulatedWorker, SimulatedWorkers, VirtualClock

JOBS = 20
STEPS, STEP_S = 3, 20.0
POOLS = {"five": 0.5, "two": 0.3, "new": 0.2}


def shared(workers: int) -> Settings:
    models = {name: {"family": "tiny-2b", "path": f"/{name}"} for name in POOLS}
    return Settings.model_validate(
        {
            "database_url": "postgresql://localhost/x",
            "master_key": "k" * 16,
            "default_model": "five",
            "models": models,
            "pools": {name: {"model": name} for name in POOLS},
            "shared": {
                "main": {"pools": list(POOLS), "workers": workers, "cold_wait_s": 1000, "hold_s": 100, "pays": 3}
            },
        }
    )


class World:
    """Jobs come to three models one by one; a worker takes some turns to load."""

    def __init__(
        self, store: Store, objects: ObjectStore, database: asyncpg.Connection, settings: Settings, seed: int
    ) -> None:
        self.store, self.objects, self.database, self.settings = store, objects, database, settings
        self.random, self.clock = random.Random(seed), VirtualClock()
        self.workers = SimulatedWorkers(self.clock, publisher(objects), saver(objects))
        self.workers.born = self._born
        self.jobs: dict[UUID, str] = {}
        self.began: list[tuple[str, str]] = []
        self.wanted: dict[str, WorkerPlan] = {}

    def _born(self, worker: SimulatedWorker) -> None:
        worker.loading, worker.step_s = True, STEP_S
        self.began.append((worker.plan.name, worker.plan.pool))

    async def dispatcher_starts(self) -> None:
        self.wanted = plans(self.settings)
        self.control = await Control.begin(
            self.store, self.objects, self.workers, self.wanted, self.random, pools=tuple(POOLS), shared=self.settings
        )

    async def submit(self, pool: str) -> None:
        job = a_job(pool=pool, spec=a_spec(model=pool, num_inference_steps=STEPS), cost=STEPS * STEP_S, max_attempts=9)
        await self.store.submit(job)
        self.jobs[job.id] = pool

    async def turn(self) -> None:
        """What takes as long as a step: one step of every worker, and a turn of every loop."""
        self.clock.now += STEP_S
        for name, worker in list(self.workers.workers.items()):
            if worker.loading and self.random.random() < 0.9:
                worker.loading = False
                worker.version += 1
            self.workers.advance(name)
        await self.control.round()

    async def states(self) -> Counter[JobState]:
        rows = await self.database.fetch("SELECT state, count(*) AS jobs FROM jobs GROUP BY state")
        return Counter({JobState(row["state"]): row["jobs"] for row in rows})

    async def finish(self) -> None:
        for _ in range(200):
            await self.turn()
            if set(await self.states()) == {JobState.SUCCEEDED}:
                return
        raise AssertionError(f"jobs did not end: {await self.states()}")


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.seeds(1)
async def test_every_job_ends_and_swaps_are_few(
    store: Store, objects: ObjectStore, database: asyncpg.Connection, seed: int, workers: int
) -> None:
    world = World(store, objects, database, shared(workers), seed)
    await world.dispatcher_starts()
    for _ in range(JOBS):
        await world.submit(world.random.choices(list(POOLS), list(POOLS.values()))[0])
        for _ in range(world.random.randint(0, 6 // workers)):
            await world.turn()
    await world.finish()
    swaps = [each for each in await store.scale_decisions(limit=1000) if each.change > 0]
    assert len(swaps) <= JOBS / 3
    # Each life that began is one of the first, or a swap: none was begun for nothing.
    assert len(world.began) == workers + len(swaps)
    assert all("waited" in each.why or "wait" in each.why for each in swaps)


@pytest.mark.seeds(1)
async def test_crashes_and_new_dispatchers_lose_no_job_and_no_swap(
    store: Store, objects: ObjectStore, database: asyncpg.Connection, seed: int
) -> None:
    world = World(store, objects, database, shared(2), seed)
    await world.dispatcher_starts()
    for n in range(JOBS):
        await world.submit(world.random.choices(list(POOLS), list(POOLS.values()))[0])
        for _ in range(world.random.randint(0, 4)):
            await world.turn()
        if n % 7 == 3 and world.workers.workers:
            name = world.random.choice(sorted(world.workers.workers))
            world.random.choice([world.workers.crash, world.workers.vanish])(name)
        if n % 5 == 4:
            held = {name: worker.plan.pool for name, worker in world.workers.workers.items() if not worker.draining}
            decided = await store.scale_decisions(limit=1000)
            await world.dispatcher_starts()
            for _ in range(2):
                await world.control.round()
            # Nobody was drained because a new dispatcher would begin otherwise.
            if await store.scale_decisions(limit=1000) == decided:
                assert {name: world.wanted[name].pool for name in held} == held
    await world.finish()


async def test_a_job_of_a_model_that_nobody_holds_says_so_with_its_bound(
    store: Store, objects: ObjectStore, database: asyncpg.Connection
) -> None:
    world = World(store, objects, database, shared(1), 1)
    await world.dispatcher_starts()
    for pool in ("five", "five", "new"):
        await world.submit(pool)
    for _ in range(3):
        await world.turn()
    last = list(world.jobs)[-1]
    told = await Waiting(store, world.settings.sets).told(await store.get(last, "acme"))
    assert told.queue_reason is not None
    assert told.queue_reason.startswith("no worker holds the model of pool new now: one is taken within ")
    within_s = float(told.queue_reason.rpartition("within ")[2].removesuffix(" s"))
    assert 900 <= within_s <= 1000
    await world.finish()
