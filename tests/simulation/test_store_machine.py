"""Random interleavings of everything that touches a job, held against a model of a few lines.

It looks for a double claim, a double publication and a lost job. Dispatchers keep every claim that they ever had, so
late and repeated writes with old tokens come up all the time; time moves only when the machine says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orchestrator.domain.errors import KeyReused
from orchestrator.domain.job import Claim, NewJob, WorkerRef
from orchestrator.domain.outcome import Ending
from orchestrator.domain.protocol import HandedBack
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.states import JobState
from orchestrator.ports import Progress, Settled
from orchestrator.store import Store
from tests.support.builders import a_checkpoint
from tests.support.jobs import POOL, broke, ending, evicted, lost, new_job, released, rendered
from tests.support.postgres import Clock, Server

T = TypeVar("T")
BACKOFF = RetryPolicy(base_s=10.0, cap_s=10.0, max_evictions=2)
TABLES = "jobs, attempts, lanes, workers, outbox, usage"
DISPATCHERS = ("blue", "green")
CAPPED = "a"


@dataclass
class Model:
    """What a job must look like, told in the rules' own words."""

    state: JobState
    ready: bool
    due: float
    token: UUID | None = None
    checkpoint: int | None = None
    ended: set[UUID] = field(default_factory=set)
    cancel: bool = False
    deleted: bool = False
    tenant: str = ""
    key: str | None = None
    asked: str | None = None


class StoreMachine(RuleBasedStateMachine):
    url: str
    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize(cap=st.sampled_from([None, 2]))
    def begin(self, cap: int | None) -> None:
        self.database = self.run(asyncpg.connect(self.url))
        self.run(self.database.execute(f"TRUNCATE {TABLES}"))
        self.clock = self.run(Clock.install(self.database))
        self.now = 0.0
        self.stores = {name: Store(self.url, connections=1) for name in DISPATCHERS}
        self.lives = {(name, i): 0 for name in DISPATCHERS for i in range(2)}
        self.models: dict[UUID, Model] = {}
        self.claims: list[Claim] = []
        self.clusters: dict[UUID, str] = {}
        self.cap = cap
        self.run(self.stores["blue"].set_limits(CAPPED, {"running": cap}))
        for name in DISPATCHERS:
            self.beat(name)

    def worker(self, cluster: str, i: int) -> WorkerRef:
        return WorkerRef(name=f"w{i}", incarnation=str(self.lives[cluster, i]))

    @rule(tenant=st.sampled_from([CAPPED, "b"]), later=st.sampled_from([0, 0, 0, 10]), attempts=st.integers(1, 3))
    def submit(self, tenant: str, later: int, attempts: int) -> None:
        run_at = self.run(self.clock.now()) + timedelta(seconds=later) if later else None
        self.insert(new_job(tenant, run_at=run_at, max_attempts=attempts), later)

    def insert(self, job: NewJob, later: int = 0) -> None:
        assert self.run(self.stores["blue"].submit(job)).id == job.id
        self.models[job.id] = Model(
            state=JobState.QUEUED, ready=not later, due=self.now + later,
            tenant=job.tenant, key=job.idempotency_key, asked=job.request_hash,
        )  # fmt: skip

    @rule(tenant=st.sampled_from([CAPPED, "b"]), key=st.sampled_from("kl"), asked=st.sampled_from(["this", "that"]))
    def submit_keyed(self, tenant: str, key: str, asked: str) -> None:
        """The first of a key makes a job; until that is deleted its repetitions get it, and others are refused."""
        job = new_job(tenant, idempotency_key=key, request_hash=asked)
        for job_id, model in self.models.items():
            if (model.tenant, model.key, model.deleted) == (tenant, key, False):
                if model.asked == asked:
                    assert self.run(self.stores["blue"].submit(job)).id == job_id
                else:
                    with pytest.raises(KeyReused):
                        self.run(self.stores["blue"].submit(job))
                return
        self.insert(job)

    def claimable(self) -> int:
        """How many jobs may be claimed now: the ready ones, less those of the capped tenant that have no room."""
        capped = [model for model in self.models.values() if model.tenant == CAPPED]
        over = 0
        if self.cap is not None:
            room = self.cap - sum(model.state is JobState.RUNNING for model in capped)
            over = max(0, sum(model.ready for model in capped) - room)
        return sum(model.ready for model in self.models.values()) - over

    @rule(cluster=st.sampled_from(DISPATCHERS), count=st.integers(1, 4))
    def claim(self, cluster: str, count: int) -> None:
        slots = [self.worker(cluster, i % 2) for i in range(count)]
        ready, claimable = {job_id for job_id, model in self.models.items() if model.ready}, self.claimable()
        claims = self.run(self.stores[cluster].claim(POOL, cluster, slots))
        assert len(claims) == min(count, claimable), "a ready job was not found, or one over the cap"
        for claim in claims:
            assert claim.job_id in ready, "a job was claimed that was not free"
            assert claim.token not in {old.token for old in self.claims}, "a token was used twice"
            ready.remove(claim.job_id)
            model = self.models[claim.job_id]
            assert (claim.checkpoint and claim.checkpoint.step) == model.checkpoint, "it goes on where it was"
            model.state, model.ready, model.token = JobState.RUNNING, False, claim.token
            self.clusters[claim.token] = cluster
        self.claims += claims

    @precondition(lambda self: self.claims)
    @rule(pick=st.integers(0, 1000), step=st.integers(1, 3))
    def store_checkpoint(self, pick: int, step: int) -> None:
        claim = self.claims[-1 - pick % len(self.claims)]
        progress = Progress(
            job_id=claim.job_id, token=claim.token, stage="denoising", step=step, checkpoint=a_checkpoint(step)
        )
        self.run(self.stores[self.clusters[claim.token]].record_progress([progress]))
        model = self.models[claim.job_id]
        if model.token == claim.token and model.state is JobState.RUNNING:
            model.checkpoint = step

    @precondition(lambda self: self.claims)
    @rule(
        pick=st.integers(0, 1000),
        how=st.sampled_from(["success", "fail", "fatal", "hand back", "evict", "release", "lost"]),
    )
    def settle(self, pick: int, how: str) -> None:
        """Any claim there ever was: the owner's, a rescued one that comes back late, one whose reply was lost."""
        claim = self.claims[-1 - pick % len(self.claims)]
        endings: dict[str, Ending] = {
            "success": rendered(claim), "fail": broke(gpu_seconds=5.0), "fatal": broke(retryable=False),
            "evict": evicted(), "release": released(), "lost": lost(),
            "hand back": HandedBack(reason="drain", checkpoint=a_checkpoint(4)),
        }  # fmt: skip
        self.end(claim, endings[how])

    def end(self, claim: Claim, how: Ending) -> None:
        model = self.models.get(claim.job_id)
        settlement = ending(claim, how, BACKOFF)
        [result] = self.run(self.stores[self.clusters[claim.token]].settle([settlement]))
        if model is None or model.token != claim.token or model.state is not JobState.RUNNING:
            assert result.settled is Settled.ALREADY, "every claim that is not held has been ended by somebody"
            assert result.state is (model and model.state)
            return
        assert result.settled is Settled.APPLIED
        model.state = JobState.CANCELLED if model.cancel else settlement.state
        model.ended.add(claim.token)
        if settlement.start_over or settlement.checkpoint is not None:
            model.checkpoint = settlement.checkpoint and settlement.checkpoint.step
        assert result.state is model.state
        if model.state is JobState.QUEUED:
            model.token, model.ready, model.due = None, settlement.delay_s == 0, self.now + settlement.delay_s

    @rule(cluster=st.sampled_from(DISPATCHERS))
    def beat(self, cluster: str) -> None:
        fleet = {self.worker(cluster, i): POOL for i in range(2)}
        assert self.run(self.stores[cluster].beat(cluster, fleet)) == set()

    @rule(cluster=st.sampled_from(DISPATCHERS), i=st.integers(0, 1))
    def expire(self, cluster: str, i: int) -> None:
        """A worker dies, the rescuer ends what it held, and it comes back as another incarnation."""
        store, dead = self.stores[cluster], self.worker(cluster, i)
        assert self.run(store.declare_dead(cluster, dead))
        orphaned = self.run(store.orphaned())
        held = {c.token for c in self.claims if c.worker == dead and self.clusters[c.token] == cluster}
        assert {c.token for c in orphaned} == {
            model.token for model in self.models.values() if model.state is JobState.RUNNING and model.token in held
        }
        for claim in orphaned:
            self.end(claim, lost())
        self.lives[cluster, i] += 1
        assert self.run(store.beat(cluster, {dead: POOL})) == {dead}
        self.beat(cluster)

    @precondition(lambda self: self.models)
    @rule(pick=st.integers(0, 1000), delete=st.booleans())
    def cancel(self, pick: int, delete: bool) -> None:
        job_id, model = list(self.models.items())[-1 - pick % len(self.models)]
        store, tenant = self.stores["green"], self.run(self.tenant(job_id))
        if delete:
            assert self.run(store.delete(job_id, tenant)) is not model.deleted
        else:
            assert (self.run(store.request_cancel(job_id, tenant)) is None) is model.deleted
        model.deleted |= delete
        if model.state is JobState.QUEUED:
            model.state, model.ready, model.cancel = JobState.CANCELLED, False, True
        elif model.state is JobState.RUNNING:
            model.cancel = True

    async def tenant(self, job_id: UUID) -> str:
        tenant: str = await self.database.fetchval("SELECT tenant FROM jobs WHERE id = $1", job_id)
        return tenant

    @rule(seconds=st.sampled_from([1, 10, 20]))
    def time_passes(self, seconds: int) -> None:
        self.run(self.clock.advance(seconds))
        self.now += seconds
        due = [m for m in self.models.values() if m.state is JobState.QUEUED and not m.ready and m.due <= self.now]
        assert self.run(self.stores["green"].wake_due()) == len(due)
        for model in due:
            model.ready = True

    @invariant()
    def the_rows_are_what_the_model_says(self) -> None:
        rows = self.run(
            self.database.fetch(
                "SELECT id, state, ready, token, (checkpoint ->> 'step')::int, deleted_at IS NOT NULL FROM jobs"
            )
        )
        seen = {job_id: (JobState(state), *others) for job_id, state, *others in rows}
        models = self.models.items()
        assert seen == {i: (m.state, m.ready, m.token, m.checkpoint, m.deleted) for i, m in models}

    def teardown(self) -> None:
        """Whatever happened, every job still comes to one end, and nothing was published twice."""
        if not hasattr(self, "stores"):
            return
        while any(not model.state.terminal for model in self.models.values()):
            self.time_passes(20)
            self.claim("blue", 4)
            for claim in self.claims:
                if self.models[claim.job_id].token == claim.token:
                    self.end(claim, rendered(claim))
        published = "SELECT job_id, count(*) FROM attempts WHERE outcome = 'succeeded' GROUP BY job_id"
        assert {(job_id, 1) for job_id, m in self.models.items() if m.state is JobState.SUCCEEDED} == {
            tuple(row) for row in self.run(self.database.fetch(published))
        }
        told = self.run(self.database.fetch("SELECT job_id, count(*) FROM outbox GROUP BY job_id"))
        assert {tuple(row) for row in told} == {(job_id, 1) for job_id in self.models}
        attempts = self.run(self.database.fetch("SELECT token FROM attempts"))
        assert sorted(row["token"] for row in attempts) == sorted(claim.token for claim in self.claims)
        for store in self.stores.values():
            self.run(store.close())
        self.run(self.database.close())


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.mark.seeds(1)
def test_no_interleaving_claims_twice_publishes_twice_or_loses_a_job(
    postgres_server: Server, database_url: str, loop: asyncio.AbstractEventLoop, seed: int
) -> None:
    machine = hypothesis.seed(seed)(type("Machine", (StoreMachine,), {"url": database_url, "loop": loop}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40, stateful_step_count=40, deadline=None, database=None,
            # Add Phase.shrink to make a counterexample short; with a real database that takes minutes.
            phases=[Phase.generate], suppress_health_check=list(HealthCheck), print_blob=False,
        ),
    )  # fmt: skip
