"""What a dispatcher promises to the jobs of its cluster, on real PostgreSQL and S3 with simulated workers and time."""

from __future__ import annotations

import random
from pathlib import Path

import asyncpg
import pytest

from orchestrator.config import S3Settings
from orchestrator.dispatcher import Dispatcher
from orchestrator.domain.job import NewJob, VideoResult
from orchestrator.domain.protocol import Assignment, Caller
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.states import JobState
from orchestrator.domain.watchdog import Patience
from orchestrator.fleet import Fleet
from orchestrator.ports import ObjectStore, WorkerPlan
from orchestrator.scaler import Scaler
from orchestrator.settler import Settler
from orchestrator.store import Store
from orchestrator.watcher import Desk, Limits, Watcher
from tests.support.builders import a_job, a_result
from tests.support.postgres import Clock
from tests.support.simulated_pool import SimulatedPool, VirtualClock

LIMITS = Limits(poll_s=1, ttl_s=60, patience=Patience(floor_s=60, factor=5, upload_s=60), unheld_grace_s=30, load_s=100)
A_WORKER = WorkerPlan(
    name="small-0", pool="small", model="tiny-2b", family="tiny-2b", path=Path("/none"), s3=S3Settings()
)


def publish(_: Assignment) -> VideoResult:
    return a_result()


class Cluster:
    """One cluster's dispatcher, which `restarts`, and the workers that live through it."""

    def __init__(self, store: Store, objects: ObjectStore, pool: SimulatedPool) -> None:
        self.store = store
        self.objects = objects
        self.pool = pool

    async def restarts(self, *workers: WorkerPlan) -> None:
        """A new dispatcher, in the order in which `service.run_dispatcher` begins."""
        self.desk = Desk(
            cluster="default",
            caller=Caller(epoch=await self.store.next_epoch("default")),
            fleet=Fleet(),
            store=self.store,
            pool=self.pool,
            settler=Settler(self.store, self.objects, RetryPolicy(base_s=1, cap_s=1), random.Random(1)),
            clock=self.pool.clock,
            limits=LIMITS,
        )
        self.dispatcher = Dispatcher(self.desk, ("small",))
        self.scaler = Scaler(self.desk, {plan.name: plan for plan in workers})
        await self.dispatcher.reconcile()
        await self.looks()

    async def looks(self) -> None:
        """One round of every loop that matters here."""
        for seat in await self.scaler.run_once():
            await Watcher(self.desk, seat).run_once()
        await self.dispatcher.reconcile()
        self.dispatcher.announce()
        await self.dispatcher.run_once()

    async def submits(self) -> NewJob:
        job = a_job()
        await self.store.submit(job)
        return job

    async def state(self, job: NewJob) -> JobState:
        found = await self.store.get(job.id, job.tenant)
        assert found is not None
        return found.state

    def finishes_rendering(self) -> None:
        for _ in range(10):
            self.pool.advance("small-0")


@pytest.fixture
def cluster(store: Store, objects: ObjectStore) -> Cluster:
    return Cluster(store, objects, SimulatedPool(VirtualClock(), publish))


async def outcomes(database: asyncpg.Connection, job: NewJob) -> list[str]:
    rows = await database.fetch("SELECT outcome FROM attempts WHERE job_id = $1 ORDER BY number", job.id)
    return [row["outcome"] for row in rows]


async def test_a_render_of_an_hour_survives_any_number_of_dispatchers(
    cluster: Cluster, clock: Clock, database: asyncpg.Connection
) -> None:
    await cluster.restarts(A_WORKER)
    job = await cluster.submits()
    await cluster.looks()
    for _ in range(3):
        await clock.advance(1200)
        await cluster.restarts(A_WORKER)
        assert await cluster.state(job) is JobState.RUNNING
    cluster.finishes_rendering()
    await cluster.looks()
    assert await cluster.state(job) is JobState.SUCCEEDED
    assert await outcomes(database, job) == ["succeeded"]


async def test_a_claim_whose_worker_was_configured_away_and_is_gone_is_lost_and_tried_elsewhere(
    cluster: Cluster, clock: Clock, database: asyncpg.Connection
) -> None:
    await cluster.restarts(A_WORKER)
    job = await cluster.submits()
    await cluster.looks()
    cluster.pool.vanish("small-0")
    await clock.advance(LIMITS.unheld_grace_s + 1)
    await cluster.restarts()
    assert await outcomes(database, job) == ["lost"]
    assert await cluster.state(job) is JobState.QUEUED


async def test_a_worker_too_many_is_ended_once_it_holds_nothing(cluster: Cluster) -> None:
    await cluster.restarts(A_WORKER)
    job = await cluster.submits()
    await cluster.looks()
    await cluster.restarts()
    await cluster.looks()
    assert await cluster.state(job) is JobState.RUNNING
    cluster.finishes_rendering()
    for _ in range(3):
        await cluster.looks()
    assert await cluster.state(job) is JobState.SUCCEEDED
    assert cluster.pool.workers == {}


async def test_a_drained_stack_evicts_what_does_not_end_in_time(cluster: Cluster, database: asyncpg.Connection) -> None:
    await cluster.restarts(A_WORKER)
    job = await cluster.submits()
    await cluster.looks()
    assert await cluster.dispatcher.drain(within_s=5) == 1
    assert await outcomes(database, job) == ["evicted"]
    assert await cluster.state(job) is JobState.QUEUED
