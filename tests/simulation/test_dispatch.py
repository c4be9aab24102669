"""Whatever crashes, hangs or loses a reply, every accepted job ends, once, in the open. Replays by seed.

Real PostgreSQL and real S3; simulated workers and time. Each seed deals one deck of a few hundred events in an order of
its own: dispatchers restart (the old one still acting for a while), workers crash before, while and after they upload,
hang, break, fall sick, go silent, vanish and are taken for dead, replies are lost, owners cancel, rescuers look, the
pool shrinks and grows, the stack stops and starts. Every run must meet each kind of action that a watcher decides on.
Some jobs are urgent and interrupt others; what is evicted resumes at its checkpoint, though one worker has other
numerics. Overlapping runs interleave two events at a time, wherever PostgreSQL and S3 let them: those find more, and
replay only roughly.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, get_args
from uuid import UUID

import asyncpg
import pytest

from orchestrator.config import RetentionSettings
from orchestrator.dispatch import verdict as attempt
from orchestrator.dispatch import watcher
from orchestrator.dispatch.recovery import Recovery
from orchestrator.dispatch.rescuer import Rescuer
from orchestrator.dispatch.verdict import Action, Rest
from orchestrator.dispatch.watcher import Watcher
from orchestrator.domain.errors import StaleEpoch
from orchestrator.domain.job import Failure, Job, WorkerRef
from orchestrator.domain.protocol import Broke
from orchestrator.domain.states import JobState
from orchestrator.objects.videos import Retention
from orchestrator.policy import placement
from orchestrator.ports import ObjectStore
from orchestrator.store import Store
from tests.support.builders import a_job, a_spec
from tests.support.control import RULES, TTL_S, Control, a_plan, a_settler, publisher, saver
from tests.support.simulated_workers import SimulatedWorkers, VirtualClock

Event = Callable[[], Coroutine[None, None, None]]

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
        self.pool = SimulatedWorkers(self.clock, publisher(objects), saver(objects))
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
                for watching in list(control.watchers.values()):
                    await watching.run_once()

        await asyncio.gather(control.dispatcher.drain(within_s=5), watch())
        await self.dispatcher_starts()

    async def watch(self) -> None:
        if self.now.watchers:
            await self.random.choice(list(self.now.watchers.values())).run_once()

    async def duties(self) -> None:
        dispatcher = self.now.dispatcher
        duties = [dispatcher.beat, dispatcher.cancel, self.now.cluster.reconcile, dispatcher.write_progress]
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

    # What is staged: it leads up to an action that a watcher must decide on.
    async def _rendering(self) -> tuple[str, Watcher]:
        """A worker that answers and renders, and its watcher."""
        for worker in self.pool.workers.values():
            worker.reachable, worker.hung = True, False
        for _ in range(10):
            await self.now.round()
            self._equip()
            for name, watching in sorted(self.now.watchers.items()):
                worker, known = self.pool.workers[name], self.now.cluster.fleet.workers[name]
                held = {claim.token for claim in self.now.cluster.claims.held_by(name)}
                if held.intersection(worker.on_gpu) and known.registered is not None:
                    return name, watching
            await self.submit()
        pytest.fail("nobody renders")

    async def a_cancel_is_lost(self) -> None:
        """An owner cancels what renders, and the worker does not answer when it is told: the watcher tells it again."""
        name, watching = await self._rendering()
        claim = next(c for c in self.now.cluster.claims.held_by(name) if c.token in self.pool.workers[name].on_gpu)
        await self.store.request_cancel(claim.job_id, claim.tenant)
        self.cancelled.add(claim.job_id)
        self.pool.workers[name].reachable = False
        await self.now.dispatcher.cancel()
        self.pool.workers[name].reachable = True
        await watching.run_once()

    async def a_worker_is_taken_for_dead(self) -> None:
        """Somebody rescues what it holds while it renders on; its own dispatcher finds that out."""
        name, watching = await self._rendering()
        life = self.now.cluster.fleet.workers[name].registered
        assert life is not None
        await self.store.declare_dead("default", life)
        await self.rescuer.rescue()
        await self.now.cluster.reconcile()
        await watching.run_once()

    async def a_render_hangs(self) -> None:
        """For longer than anybody's patience, while the other workers move."""
        name, watching = await self._rendering()
        self.pool.workers[name].hung = True
        await self.clock.sleep(RULES.patience.floor_s + 1)
        for other in sorted(set(self.pool.workers) - {name}):
            self.pool.advance(other)
        await watching.run_once()

    async def a_worker_falls_sick(self) -> None:
        """One job after the other fails there, until it is taken out of service."""
        name, watching = await self._rendering()
        self.pool.workers[name].sick = True
        for _ in range(2 * RULES.quarantine_after):
            await self.submit()
            await self.dispatch()
            self.pool.advance(name)
            await watching.run_once()

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
    async def chaos(self, *, overlapping: bool) -> None:
        """Deal the deck; overlapping, two cards at a time that interleave wherever they wait."""
        await self.dispatcher_starts()
        staged = (self.a_cancel_is_lost, self.a_worker_is_taken_for_dead, self.a_render_hangs, self.a_worker_falls_sick)
        deck = [event for event, count in self._deck().items() for _ in range(count)] + 3 * list(staged)
        self.random.shuffle(deck)
        while deck:
            happening = [deck.pop()]
            if overlapping and happening[0] not in staged:
                # No loop overlaps itself, and what is staged goes as it must.
                happening += [event for event in deck if event not in {*staged, *happening}][-1:]
                for event in happening[1:]:
                    deck.remove(event)
            await asyncio.gather(*(event() for event in happening))
            await self.no_checkpoint_goes_back()
            if happening == [self.dispatch]:
                await self.no_worker_waits_for_work_that_waits_for_it()

    def _deck(self) -> dict[Event, int]:
        """How often each of the other events happens in a run."""
        return {
            self.submit: 32,
            self.dispatch: 32,
            self.watch: 64,
            self.render: 64,
            self.duties: 32,
            self.owner_cancels: 10,
            self.rescue: 10,
            self.time_passes: 10,
            self.zombie_acts: 10,
            self.fault: 10,
            self.scale: 10,
            self.resize: 10,
            self.dispatcher_starts: 3,
            self.stack_stops: 3,
        }

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
        """After a look, no job is ready that a free worker could have, or that would interrupt what another renders.

        But for a look that found a free worker dead by its row: the next beat tells the dispatcher, which looks again.
        """
        alive = {beat.worker for beat in await self.store.heartbeats()}
        cluster = self.now.cluster
        takers, claims = cluster.fleet.takers("small"), cluster.claims.by_token.values()
        free = placement.slots(takers, claims)
        if not alive.issuperset(free):
            return
        assert not alive.intersection(free) or not await self.ready_for(free)
        for priority, workers in placement.interruptible(takers, claims):
            assert not alive.intersection(workers) or priority <= min(await self.ready_for(workers), default=priority)

    async def ready_for(self, workers: Sequence[WorkerRef]) -> list[int]:
        """The priorities of the jobs that these could have. One that failed on a worker waits a little for another."""
        found = await self.database.fetch(
            """SELECT priority FROM jobs
               WHERE ready AND coalesce(NOT avoid = ALL ($1) OR avoid_until <= cogmill_now(), true)""",
            [worker.name for worker in workers],
        )
        return [row["priority"] for row in found]

    async def read(self) -> list[Job]:
        found = [await self.store.get(job, tenant) for job in self.jobs for tenant in ("acme", "birch")]
        return [job for job in found if job is not None]


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> Counter[type[Action]]:
    """How often the watchers decided on each kind of action."""
    counts: Counter[type[Action]] = Counter()

    def counting(*args: Any, **kwargs: Any) -> list[Action]:
        actions = attempt.decide(*args, **kwargs)
        counts.update(type(action) for action in actions)
        return actions

    monkeypatch.setattr(watcher, "decide", counting)
    return counts


@pytest.mark.parametrize("overlapping", [False, True], ids=["in-turn", "overlapping"])
@pytest.mark.seeds(4)
async def test_every_accepted_job_ends_once_in_the_open(
    store: Store,
    objects: ObjectStore,
    database: asyncpg.Connection,
    decided: Counter[type[Action]],
    seed: int,
    overlapping: bool,
) -> None:
    world = World(store, objects, database, seed)
    await world.chaos(overlapping=overlapping)
    # No worker of these fails to load: `Rest` has its own tests, in tests/contract/orchestrator/test_dispatcher.py.
    assert {*decided, Rest} == {*get_args(Action)}, f"a run that met only {decided}"
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
