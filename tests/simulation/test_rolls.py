"""A roll under load: the real controller and the real dispatchers, and every render is whole. Replays by seed.

Real PostgreSQL and S3; simulated workers, and an API server whose objects come to life: a RayCluster brings workers, a
Deployment a dispatcher. A Ray cluster that goes takes its workers with it, whatever they do.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from orchestrator.adapters.kubernetes import KubernetesApi
from orchestrator.dispatch.retirement import Retirement
from orchestrator.domain.clusters import ClusterState
from orchestrator.domain.states import JobState
from orchestrator.ports import ObjectStore
from orchestrator.ports.kubernetes import Kind
from orchestrator.rolling.controller import Controller
from orchestrator.rolling.template import wanted
from orchestrator.store import Store
from tests.support.builders import a_job, a_spec
from tests.support.control import Control, a_plan, publisher, saver
from tests.support.kubernetes import KubeServer
from tests.support.rolling import NAMESPACE, OWNER, RELEASE, SETTINGS, TEMPLATE, owner, template
from tests.support.simulated_workers import SimulatedWorkers, VirtualClock

WORKERS = ("small-0", "small-1")


def name_of(data: dict[str, str]) -> str:
    return wanted(data, owner()).name


class World:
    """A namespace whose objects live."""

    def __init__(self, store: Store, objects: ObjectStore, server: KubeServer, api: KubernetesApi) -> None:
        self.random = random.Random(0)
        self.clock = VirtualClock()
        self.store, self.objects, self.server = store, objects, server
        self.controller = Controller(api, store, SETTINGS, NAMESPACE)
        self.nodes: dict[str, SimulatedWorkers] = {}
        self.dispatchers: dict[str, tuple[Control, Retirement]] = {}
        # Clusters whose workers never get their model loaded.
        self.broken: set[str] = set()
        self.jobs: list[UUID] = []
        server.put(Kind.CONFIG_MAP, OWNER, {})

    def install(self, data: dict[str, str]) -> None:
        self.server.put(Kind.CONFIG_MAP, TEMPLATE, data)

    async def submit(self, count: int) -> None:
        for _ in range(count):
            job = a_job(tenant=self.random.choice(["acme", "birch"]), pool="small", spec=a_spec(), max_attempts=1)
            await self.store.submit(job)
            self.jobs.append(job.id)

    async def round(self) -> None:
        """Everybody acts once, in an order of chance; then what renders moves on a little."""
        await self.controller.run_once()
        await self._live()
        for name in self.random.sample(sorted(self.dispatchers), len(self.dispatchers)):
            control, retirement = self.dispatchers[name]
            await retirement.run_once()
            await control.round()
        for nodes in self.nodes.values():
            for worker in sorted(nodes.workers):
                for _ in range(self.random.randint(0, 2)):
                    nodes.advance(worker)

    async def _live(self) -> None:
        clusters = self.server.names(Kind.RAY_CLUSTER)
        for gone in set(self.nodes) - set(clusters):
            held = [token for worker in self.nodes[gone].workers.values() for token in worker.live]
            assert not held, f"{gone} was deleted while it rendered"
            del self.nodes[gone]
        for name in set(clusters) - set(self.nodes):
            nodes = SimulatedWorkers(self.clock, publisher(self.objects), saver(self.objects))
            if name in self.broken:
                nodes.born = lambda worker: setattr(worker, "loading", True)
            self.nodes[name] = nodes
        deployed = {name.removesuffix("-dispatcher") for name in self.server.names(Kind.DEPLOYMENT)}
        for name in set(self.dispatchers) - deployed:
            del self.dispatchers[name]
        for name in sorted((deployed & set(self.nodes)) - set(self.dispatchers)):
            plans = {worker: a_plan(worker) for worker in WORKERS}
            control = await Control.begin(self.store, self.objects, self.nodes[name], plans, self.random, name=name)
            self.dispatchers[name] = control, Retirement(control.cluster, control.dispatcher, self.store)

    async def ready(self) -> int:
        """Ready workers whose dispatcher claims."""
        rows = await self.store.clusters(RELEASE)
        return sum(sum(row.ready.values()) for row in rows if row.state.claims)

    async def states(self) -> dict[str, ClusterState]:
        return {row.name: row.state for row in await self.store.clusters(RELEASE)}

    async def all_end_well(self, database: asyncpg.Connection) -> None:
        """Every job has its video, none counts a failure, and none was rendered by two at a time."""
        for _ in range(400):
            rows = await database.fetch("SELECT state FROM jobs")
            if all(row["state"] == JobState.SUCCEEDED for row in rows):
                break
            await self.round()
        found = await database.fetch("SELECT id, state, failures, result FROM jobs")
        assert {row["id"] for row in found} == set(self.jobs)
        assert {row["state"] for row in found} == {JobState.SUCCEEDED}
        assert {row["failures"] for row in found} == {0}


@pytest_asyncio.fixture
async def world(store: Store, objects: ObjectStore) -> AsyncIterator[World]:
    server = KubeServer()
    async with server.serving() as url:
        api = KubernetesApi(url, NAMESPACE)
        yield World(store, objects, server, api)
        await api.close()


@pytest.mark.parametrize("strategy", ["surge", "in_place"])
@pytest.mark.seeds(2)
async def test_a_roll_to_a_new_image_under_load_loses_no_render(
    world: World, database: asyncpg.Connection, seed: int, strategy: str
) -> None:
    world.random.seed(seed)
    old = template(roll={"strategy": strategy})
    new = template(worker="registry/cogmill-worker:2", roll={"strategy": strategy})
    world.install(old)
    await world.submit(8)
    for _ in range(world.random.randint(4, 10)):
        await world.round()
    assert await world.ready() == len(WORKERS)
    world.install(new)
    least = len(WORKERS)
    for _ in range(200):
        if len(world.jobs) < 30:
            await world.submit(1)
        await world.round()
        least = min(least, await world.ready())
        if await world.states() == {name_of(new): ClusterState.SERVING}:
            break
    assert await world.states() == {name_of(new): ClusterState.SERVING}
    assert list(world.nodes) == [name_of(new)]
    if strategy == "surge":
        assert least == len(WORKERS), "there were fewer ready workers than before"
    await world.all_end_well(database)
    # Renders that left in the middle went on at their checkpoints: simulated workers fail where a step is done twice.
    assert await database.fetchval("SELECT count(*) FROM attempts WHERE outcome IN ('evicted', 'released')") > 0


async def test_a_roll_that_fails_leaves_the_old_one_rendering_and_is_taken_back(
    world: World, database: asyncpg.Connection
) -> None:
    old, new = template(), template(worker="registry/cogmill-worker:broken")
    world.broken.add(name_of(new))
    world.install(old)
    await world.submit(6)
    for _ in range(5):
        await world.round()
    world.install(new)
    for _ in range(20):
        await world.round()
        assert await world.ready() == len(WORKERS)
    assert await world.states() == {name_of(old): ClusterState.SERVING, name_of(new): ClusterState.COMING}
    await world.submit(6)
    world.install(old)
    for _ in range(10):
        await world.round()
    assert await world.states() == {name_of(old): ClusterState.SERVING}
    assert list(world.nodes) == [name_of(old)]
    await world.all_end_well(database)


async def test_a_dispatcher_that_starts_in_a_cluster_that_retires_claims_nothing(
    world: World, database: asyncpg.Connection
) -> None:
    old, new = template(), template(worker="registry/cogmill-worker:2")
    world.install(old)
    for _ in range(3):
        await world.round()
    world.install(new)
    while (await world.states()).get(name_of(old)) is not ClusterState.RETIRING:
        await world.round()
    del world.dispatchers[name_of(old)]  # it crashed
    await world.submit(4)
    await world._live()
    control, _ = world.dispatchers[name_of(old)]
    await control.round()  # before it has read the wish
    assert await database.fetchval("SELECT count(*) FROM jobs WHERE cluster = $1", name_of(old)) == 0
    await world.all_end_well(database)
