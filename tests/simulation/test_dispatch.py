"""Whatever crashes, hangs or loses a reply, every accepted job ends, once, in the open. Replays by seed.

Real PostgreSQL and real S3; simulated workers and time. Each seed is one run of a few hundred events in an order that
the seed decides: dispatchers restart (the old one still acting for a while), workers crash before, while and after they
upload, hang, break, fall sick, go silent and vanish, replies are lost, owners cancel, rescuers look, the pool shrinks
and grows, the stack stops and starts. Some jobs are urgent and interrupt others; what is evicted resumes at its
checkpoint, though one worker has other numerics. Overlapping runs interleave two events at a time, wherever PostgreSQL
and S3 let them: those find more, and replay only roughly.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from uuid import UUID

import asyncpg
import pytest

from orchestrator.config import RetentionSettings
from orchestrator.domain.errors import StaleEpoch
from orchestrator.domain.job import Failure, Job
from orchestrator.domain.protocol import Broke
from orchestrator.domain.states import JobState
from orchestrator.ports import ObjectStore
from orchestrator.recovery import Recovery
from orchestrator.rescuer import Rescuer
from orchestrator.retention import Retention
from orchestrator.store import Store
from tests.support.builders import a_job, a_spec
from tests.support.control import TTL_S, Control, a_plan, a_settler, publisher, saver
from tests.support.simulated_pool import SimulatedPool, VirtualClock

PLANS = {name: a_plan(name) for name in ("small-0", "small-1", "small-2")}
URGENT, BULK = 0, 20
# Failures that say nothing against a checkpoint, and one that may come of it.
CODES = ("upload_failed", "out_of_memory", "render_error")


class World:
    """Everything that may happen, as methods; `chaos` draws from them, `calm` lets the survivors finish."""

    def __init__(self, store: Store, objects: ObjectStore, database: asyncpg.Connection, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = VirtualClock()
        self.store = store
        self.objects = objects
        self.database = database
        self.pool = SimulatedPool(self.clock, publisher(objects), saver(objects))
        self.plans = dict(PLANS)
        recovery = Recovery(a_settler(store, self.random), objects, ended=lambda _: None)
        self.rescuer = Rescuer(store, recovery, self.clock, TTL_S)
        self.jobs: list[UUID] = []
        self.cancelled: set[UUID] = set()
        self.seen: dict[UUID, asyncpg.Record] = {}
        self.control: Control | None = None
        self.zombie: Control | None = None

    async def dispatcher_starts(self) -> None:
        """A new dispatcher takes over; the old one, if any, goes on as a zombie."""
        self.zombie = self.control
        self.control = await Control.begin(self.store, self.objects, self.pool, self.plans, self.random)
        self._equip()

    def _equip(self) -> None:
        """Slow workers, so that renders are long enough to be interrupted; one of them with other numerics."""
        for name, worker in self.pool.workers.items():
            worker.step_s = 1.0
            worker.numerics = ("b" if name == "small-2" else "a") * 16

    @property
    def now(self) -> Control:
        assert self.control is not None
        return self.control

    # ------------------------------------------------------------ what may happen
    async def submit(self) -> None:
        job = a_job(
            tenant=self.random.choice(["acme", "birch"]),
            max_attempts=self.random.randint(1, 4),
            priority=self.random.choice([URGENT, BULK, BULK]),
            spec=a_spec(resume_anywhere=self.random.random() < 0.3),
        )
        await self.store.submit(job)
        self.jobs.append(job.id)

    async def owner_cancels(self) -> None:
        if self.jobs:
            job = self.random.choice(self.jobs)
            for tenant in ("acme", "birch"):
                if await self.store.request_cancel(job, tenant):
                    self.cancelled.add(job)

    async def dispatch(self) -> None:
        await self.now.dispatch()

    async def scale(self) -> None:
        await self.now.scale()
        self._equip()

    async def resize(self) -> None:
        """The pool shrinks to a worker less, or grows to its size again."""
        if len(self.plans) < len(PLANS):
            self.plans |= PLANS
        else:
            del self.plans[self.random.choice(sorted(PLANS))]
        await self.scale()

    async def stack_stops(self) -> None:
        """Everything that can be is handed back, and the next dispatcher begins."""
        control = self.now

        async def watch() -> None:
            for _ in range(3):
                for watcher in list(control.watchers.values()):
                    await watcher.run_once()

        await asyncio.gather(control.dispatcher.drain(within_s=5), watch())
        await self.dispatcher_starts()

    async def watch(self) -> None:
        if self.now.watchers:
            await self.random.choice(list(self.now.watchers.values())).run_once()

    async def duties(self) -> None:
        dispatcher = self.now.dispatcher
        duties = [dispatcher.beat, dispatcher.cancel, dispatcher.reconcile, dispatcher.write_progress]
        await self.random.choice([*duties, dispatcher.rebalance, self.now.cluster.recovery.run_once])()

    async def zombie_acts(self) -> None:
        if self.zombie is not None:
            dispatcher, watchers = self.zombie.dispatcher, list(self.zombie.watchers.values())
            try:
                await self.random.choice([self.zombie.dispatch, dispatcher.cancel, dispatcher.beat])()
                if watchers:
                    await self.random.choice(watchers).run_once()
            except StaleEpoch:
                self.zombie = None

    async def rescue(self) -> None:
        await self.store.wake_due()
        await self.rescuer.expire()
        await self.rescuer.rescue()

    async def time_passes(self) -> None:
        await self.clock.sleep(self.random.choice([0.1, 1, 5, 15]))

    async def render(self) -> None:
        for _ in range(self.random.randint(1, 6)):
            if name := self._any_worker():
                self.pool.advance(name)

    async def fault(self) -> None:
        if name := self._any_worker():
            worker = self.pool.workers[name]
            match self.random.randint(0, 7):
                case 0:
                    self.pool.crash(name)
                case 1:
                    self.pool.upload_unseen(name)
                case 2:
                    self.pool.vanish(name)
                case 3:
                    worker.hung = True
                case 4:
                    worker.reachable = not worker.reachable
                case 5:
                    self.pool.lose_replies.add(name)
                case 6:
                    worker.sick = True
                case _:
                    retryable = self.random.random() < 0.8
                    failure = Failure(code=self.random.choice(CODES), message="it broke", retryable=retryable)
                    self.pool.break_render(name, Broke(failure=failure, gpu_seconds=0.5))

    def _any_worker(self) -> str | None:
        return self.random.choice(sorted(self.pool.workers)) if self.pool.workers else None

    # ------------------------------------------------------------ the run
    async def chaos(self, events: int, *, overlapping: bool) -> None:
        """Draw events; overlapping ones come in pairs that interleave wherever they wait."""
        await self.dispatcher_starts()
        for _ in range(events):
            happening = {self._draw(), self._draw()} if overlapping else {self._draw()}  # no loop overlaps itself
            await asyncio.gather(*(event() for event in sorted(happening, key=lambda event: event.__name__)))
            await self.no_checkpoint_goes_back()
            if happening == {self.dispatch}:
                await self.no_worker_waits_for_work_that_waits_for_it()

    def _draw(self) -> Callable[[], Coroutine[None, None, None]]:
        common = [self.submit, self.dispatch, self.watch, self.watch, self.render, self.render, self.duties]
        rare = [
            self.owner_cancels,
            self.rescue,
            self.time_passes,
            self.zombie_acts,
            self.fault,
            self.scale,
            self.resize,
        ]
        if self.random.random() < 0.02:
            return self.random.choice([self.dispatcher_starts, self.stack_stops])
        return self.random.choice(common if self.random.random() < 0.75 else rare)

    async def calm(self) -> None:
        """No more faults: whoever is left finishes what was accepted."""
        self.pool.lose_replies.clear()
        for worker in self.pool.workers.values():
            worker.reachable, worker.hung, worker.sick = True, False, False
        for _ in range(400):
            await self.now.round()
            await self.rescue()
            for name in sorted(self.pool.workers):
                for _ in range(8):
                    self.pool.advance(name)
            if all(job.state.terminal for job in await self.read()):
                return
        pytest.fail(f"still waiting: {[job for job in await self.read() if not job.state.terminal]}")

    # ------------------------------------------------------------ what must hold
    async def no_checkpoint_goes_back(self) -> None:
        """Steps that the row's checkpoint has are lost only with numerics, or to a failure that it may have caused."""
        for row in await self.database.fetch(
            "SELECT id, failures, checkpoint ->> 'numerics' AS numerics, (checkpoint ->> 'step')::int AS step FROM jobs"
        ):
            before = self.seen.get(row["id"])
            self.seen[row["id"]] = row
            if before is not None and before["step"] is not None and row["failures"] == before["failures"]:
                assert row["numerics"] != before["numerics"] or row["step"] >= before["step"]
                assert row["step"] is not None

    async def no_worker_waits_for_work_that_waits_for_it(self) -> None:
        """After a look, no job is ready that a free worker could have, or that would interrupt what another renders."""
        alive = {beat.worker for beat in await self.store.heartbeats()}
        fleet = self.now.cluster.fleet
        ready = [row["priority"] for row in await self.database.fetch("SELECT priority FROM jobs WHERE ready")]
        assert not ready or not alive.intersection(fleet.slots("small"))
        for priority, workers in fleet.interruptible("small"):
            assert not alive.intersection(workers) or priority <= min(ready, default=priority)

    async def read(self) -> list[Job]:
        found = [await self.store.get(job, tenant) for job in self.jobs for tenant in ("acme", "birch")]
        return [job for job in found if job is not None]


@pytest.mark.parametrize("overlapping", [False, True], ids=["in-turn", "overlapping"])
@pytest.mark.parametrize("seed", range(6))
async def test_every_accepted_job_ends_once_in_the_open(
    store: Store, objects: ObjectStore, database: asyncpg.Connection, seed: int, overlapping: bool
) -> None:
    world = World(store, objects, database, seed)
    await world.chaos(events=300, overlapping=overlapping)
    await world.calm()
    jobs = await world.read()
    assert len(jobs) == len(world.jobs)
    for job in jobs:
        if job.state is JobState.SUCCEEDED:
            assert job.result is not None
            assert job.result.video.key.startswith(f"videos/{job.id.hex}/")
            assert world.objects.size(job.result.video.key) == job.result.video.size
        elif job.state is JobState.FAILED:
            assert job.failure is not None
            assert job.failures >= job.max_attempts or not job.failure.retryable
        else:
            assert job.id in world.cancelled
    assert any(job.state is JobState.SUCCEEDED for job in jobs)
    await Retention(store, objects, RetentionSettings()).run_once()
    assert [key for key in objects.list_keys("videos/") if "/checkpoints/" in key] == []
