"""Whatever crashes, hangs or loses a reply, every accepted job ends, once, in the open. Replays by seed.

Real PostgreSQL and real S3; simulated workers and time. Each seed is one run of a few hundred events in an order that
the seed decides: dispatchers restart (the old one still acting for a while), workers crash before, while and after they
upload, hang, break, go silent and vanish, replies are lost, owners cancel, rescuers look. Overlapping runs interleave
two events at a time, wherever PostgreSQL and S3 let them: those find more, and replay only roughly.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from uuid import UUID

import pytest

from orchestrator.domain.errors import StaleEpoch
from orchestrator.domain.job import Failure, Job
from orchestrator.domain.protocol import Broke
from orchestrator.domain.states import JobState
from orchestrator.ports import ObjectStore
from orchestrator.recovery import Recovery
from orchestrator.rescuer import Rescuer
from orchestrator.store import Store
from tests.support.builders import a_job
from tests.support.control import TTL_S, Control, a_plan, a_settler, publisher
from tests.support.simulated_pool import SimulatedPool, VirtualClock

PLANS = {name: a_plan(name) for name in ("small-0", "small-1", "small-2")}


class World:
    """Everything that may happen, as methods; `chaos` draws from them, `calm` lets the survivors finish."""

    def __init__(self, store: Store, objects: ObjectStore, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = VirtualClock()
        self.store = store
        self.objects = objects
        self.pool = SimulatedPool(self.clock, publisher(objects))
        recovery = Recovery(a_settler(store, self.random), objects, ended=lambda _: None)
        self.rescuer = Rescuer(store, recovery, self.clock, TTL_S)
        self.jobs: list[UUID] = []
        self.cancelled: set[UUID] = set()
        self.control: Control | None = None
        self.zombie: Control | None = None

    async def dispatcher_starts(self) -> None:
        """A new dispatcher takes over; the old one, if any, goes on as a zombie."""
        self.zombie = self.control
        self.control = await Control.begin(self.store, self.objects, self.pool, PLANS, self.random)

    @property
    def now(self) -> Control:
        assert self.control is not None
        return self.control

    # ------------------------------------------------------------ what may happen
    async def submit(self) -> None:
        job = a_job(tenant=self.random.choice(["acme", "birch"]), max_attempts=self.random.randint(1, 4))
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

    async def watch(self) -> None:
        if self.now.watchers:
            await self.random.choice(list(self.now.watchers.values())).run_once()

    async def duties(self) -> None:
        dispatcher = self.now.dispatcher
        duties = [dispatcher.beat, dispatcher.cancel, dispatcher.reconcile, dispatcher.write_progress]
        await self.random.choice([*duties, self.now.cluster.recovery.run_once])()

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
            match self.random.randint(0, 6):
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
                case _:
                    retryable = self.random.random() < 0.8
                    failure = Failure(code="render_error", message="it broke", retryable=retryable)
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

    def _draw(self) -> Callable[[], Coroutine[None, None, None]]:
        common = [self.submit, self.dispatch, self.watch, self.watch, self.render, self.render, self.duties]
        rare = [self.owner_cancels, self.rescue, self.time_passes, self.zombie_acts, self.fault, self.scale]
        if self.random.random() < 0.01:
            return self.dispatcher_starts
        return self.random.choice(common if self.random.random() < 0.75 else rare)

    async def calm(self) -> None:
        """No more faults: whoever is left finishes what was accepted."""
        self.pool.lose_replies.clear()
        for worker in self.pool.workers.values():
            worker.reachable, worker.hung = True, False
        for _ in range(400):
            await self.now.round()
            await self.rescue()
            for name in sorted(self.pool.workers):
                for _ in range(8):
                    self.pool.advance(name)
            if all(job.state.terminal for job in await self.read()):
                return
        pytest.fail(f"still waiting: {[job for job in await self.read() if not job.state.terminal]}")

    async def read(self) -> list[Job]:
        found = [await self.store.get(job, tenant) for job in self.jobs for tenant in ("acme", "birch")]
        return [job for job in found if job is not None]


@pytest.mark.parametrize("overlapping", [False, True], ids=["in-turn", "overlapping"])
@pytest.mark.parametrize("seed", range(6))
async def test_every_accepted_job_ends_once_in_the_open(
    store: Store, objects: ObjectStore, seed: int, overlapping: bool
) -> None:
    world = World(store, objects, seed)
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
