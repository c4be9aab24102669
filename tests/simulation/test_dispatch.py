"""Whatever crashes, hangs or loses a reply, every accepted job ends, once, in the open. Replays by seed.

Real PostgreSQL and real S3; simulated workers and time. Each seed is one run of a few hundred events in an order that
the seed decides: dispatchers restart (the old one still acting for a while), workers crash before, while and after they
upload, hang, break, go silent and vanish, replies are lost, owners cancel, rescuers look.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest

from orchestrator import results
from orchestrator.config import S3Settings
from orchestrator.dispatcher import Dispatcher
from orchestrator.domain.errors import StaleEpoch
from orchestrator.domain.job import Artifact, Failure, Job, VideoResult, claim_prefix
from orchestrator.domain.protocol import Assignment, Broke, Caller
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.states import JobState
from orchestrator.domain.watchdog import Patience
from orchestrator.fleet import Fleet
from orchestrator.ports import ObjectStore, WorkerPlan
from orchestrator.rescuer import Rescuer
from orchestrator.scaler import Scaler
from orchestrator.settler import Settler
from orchestrator.store import Store
from orchestrator.watcher import Desk, Limits, Watcher
from tests.support.builders import a_job, a_result
from tests.support.simulated_pool import SimulatedPool, VirtualClock

TTL_S = 60.0
LIMITS = Limits(
    poll_s=1, ttl_s=TTL_S, patience=Patience(floor_s=40, factor=5, upload_s=40), unheld_grace_s=10, load_s=100
)
PLANS = {
    name: WorkerPlan(name=name, pool="small", model="tiny-2b", family="tiny-2b", path=Path("/none"), s3=S3Settings())
    for name in ("small-0", "small-1", "small-2")
}


class World:
    """Everything that may happen, as methods; `chaos` draws from them, `calm` lets the survivors finish."""

    def __init__(self, store: Store, objects: ObjectStore, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = VirtualClock()
        self.store = store
        self.objects = objects
        self.pool = SimulatedPool(self.clock, self.publish)
        self.settler = Settler(store, objects, RetryPolicy(base_s=0.001, cap_s=0.001), self.random)
        self.rescuer = Rescuer(store, self.settler, self.clock, TTL_S)
        self.jobs: list[UUID] = []
        self.cancelled: set[UUID] = set()
        self.zombie: tuple[Desk, Dispatcher] | None = None

    async def dispatcher_starts(self) -> None:
        """A new dispatcher takes over; the old one, if any, goes on as a zombie."""
        self.zombie = (self.desk, self.dispatcher) if hasattr(self, "desk") else None
        caller = Caller(epoch=await self.store.next_epoch("default"))
        self.desk = Desk(
            cluster="default",
            caller=caller,
            fleet=Fleet(),
            store=self.store,
            pool=self.pool,
            settler=self.settler,
            clock=self.clock,
            limits=LIMITS,
        )
        self.dispatcher = Dispatcher(self.desk, ("small",))
        self.scaler = Scaler(self.desk, PLANS)
        self.watchers: dict[str, Watcher] = {}
        await self.dispatcher.reconcile()
        await self.scale()

    async def scale(self) -> None:
        for seat in await self.scaler.run_once():
            self.watchers.setdefault(seat.name, Watcher(self.desk, seat))

    def publish(self, assignment: Assignment) -> VideoResult:
        """What a real worker does at the end: video, cover, and result.json last."""
        prefix = claim_prefix(assignment.job_id, assignment.claim)
        video, cover = self._put(f"{prefix}video.mp4"), self._put(f"{prefix}cover.png")
        result = a_result(video=video, cover=cover)
        document = results.dump(assignment.job_id, assignment.claim, result)
        self.objects.put(results.key(assignment.job_id, assignment.claim), document, results.CONTENT_TYPE)
        return result

    def _put(self, key: str) -> Artifact:
        data = key.encode()
        self.objects.put(key, data, "application/octet-stream")
        digest = hashlib.sha256(data).hexdigest()
        return Artifact(key=key, size=len(data), sha256=digest, content_type="application/octet-stream")

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
        self.dispatcher.announce()
        await self.dispatcher.run_once()

    async def watch(self) -> None:
        await self.random.choice(list(self.watchers.values())).run_once()

    async def duties(self) -> None:
        await self.random.choice(
            [self.dispatcher.beat, self.dispatcher.cancel, self.dispatcher.reconcile, self.dispatcher.write_progress]
        )()

    async def zombie_acts(self) -> None:
        if self.zombie is not None:
            desk, dispatcher = self.zombie
            try:
                await self.random.choice([dispatcher.run_once, dispatcher.cancel, dispatcher.beat])()
                seats = list(desk.fleet.seats.values())
                if seats:
                    await Watcher(desk, self.random.choice(seats)).run_once()
            except StaleEpoch:
                self.zombie = None

    async def rescue(self) -> None:
        await self.store.wake_due()
        await self.rescuer.run_once()

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
    async def chaos(self, events: int) -> None:
        await self.dispatcher_starts()
        common = [self.submit, self.dispatch, self.watch, self.watch, self.render, self.render, self.duties]
        rare = [self.owner_cancels, self.rescue, self.time_passes, self.zombie_acts, self.fault, self.scale]
        for _ in range(events):
            happening: Callable[[], Awaitable[None]]
            if self.random.random() < 0.01:
                happening = self.dispatcher_starts
            else:
                happening = self.random.choice(common if self.random.random() < 0.75 else rare)
            await happening()

    async def calm(self) -> None:
        """No more faults: whoever is left finishes what was accepted."""
        self.pool.lose_replies.clear()
        for worker in self.pool.workers.values():
            worker.reachable, worker.hung = True, False
        for _ in range(400):
            await self.scale()
            await self.store.wake_due()
            await self.rescuer.run_once()
            await self.dispatcher.reconcile()
            await self.dispatcher.cancel()
            await self.dispatch()
            for watcher in list(self.watchers.values()):
                await watcher.run_once()
            await self.dispatcher.beat()
            for name in sorted(self.pool.workers):
                for _ in range(8):
                    self.pool.advance(name)
            if all(job.state.terminal for job in await self.read()):
                return
        pytest.fail(f"still waiting: {[job for job in await self.read() if not job.state.terminal]}")

    async def read(self) -> list[Job]:
        found = [await self.store.get(job, tenant) for job in self.jobs for tenant in ("acme", "birch")]
        return [job for job in found if job is not None]


@pytest.mark.parametrize("seed", range(12))
async def test_every_accepted_job_ends_once_in_the_open(store: Store, objects: ObjectStore, seed: int) -> None:
    world = World(store, objects, seed)
    await world.chaos(events=300)
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
