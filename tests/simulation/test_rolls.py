"""A roll under load: the real controller and the real dispatchers, and every render is whole. Replays by seed.

Real PostgreSQL and S3; simulated workers, and an API server whose objects come to life: a RayCluster brings pods with a
GPU each, while there are some, on which its workers find a place; a Deployment brings a dispatcher. A pod or a Ray
cluster that goes takes its workers with it, whatever they do.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from orchestrator.adapters.kubernetes import KubernetesApi
from orchestrator.dispatch.retirement import Retirement
from orchestrator.domain.clusters import ClusterState
from orchestrator.domain.states import JobState
from orchestrator.ports import ObjectStore
from orchestrator.ports.fleet import KindState
from orchestrator.ports.kubernetes import Kind
from orchestrator.rolling.controller import Controller
from orchestrator.rolling.template import wanted
from orchestrator.store import Store
from tests.support.builders import a_job, a_spec
from tests.support.control import Control, a_plan, publisher, saver
from tests.support.kuberay import KubeRay
from tests.support.kubernetes import KubeServer
from tests.support.postgres import Clock
from tests.support.rolling import NAMESPACE, OWNER, RELEASE, SETTINGS, TEMPLATE, owner, template
from tests.support.simulated_workers import SimulatedWorkers, VirtualClock

WORKERS = ("small-0", "small-1", "small-2")
AT_REST: dict[str, Any] = {
    "pool": "small", "kind": "spot", "wanted": 0, "requested": 0, "starting": 0, "ready": 0, "draining": 0,
    "why": "there is nothing to do",
}  # fmt: skip


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
        self.kuberay = KubeRay(server, gpus=2 * len(WORKERS))
        # Clusters whose workers never get their model loaded.
        self.broken: set[str] = set()
        # Those that each cluster's dispatcher wants; where there are none it tells of its kinds all the same.
        self.workers: tuple[str, ...] = WORKERS
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
            if not self.workers:
                await self.store.record_fleet(name, [KindState(cluster=name, **AT_REST)], [])
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
            plans = {worker: a_plan(worker) for worker in self.workers}
            control = await Control.begin(
                self.store, self.objects, self.nodes[name], plans, self.random, name=name, yields=True
            )
            self.dispatchers[name] = control, Retirement(control.cluster, control.dispatcher, self.store)
        self.kuberay.reconcile(lambda name: len(self.nodes[name].workers), self._is_idle)
        for name, nodes in self.nodes.items():
            self._place(name, nodes)

    def _is_idle(self, pod: str) -> bool:
        return not any(pod in nodes.on_node.values() for nodes in self.nodes.values())

    def _place(self, cluster: str, nodes: SimulatedWorkers) -> None:
        """Each worker on a pod of its own, as long as there are any; without one it does not answer."""
        pods = self.kuberay.pods(cluster)
        for worker, pod in list(nodes.on_node.items()):
            if worker not in nodes.workers:
                del nodes.on_node[worker]
            elif pod not in pods:
                assert not nodes.workers[worker].live, f"{pod} was deleted while it rendered"
                nodes.vanish(worker)
                del nodes.on_node[worker]
        free = sorted(set(pods) - set(nodes.on_node.values()))
        homeless = [worker for worker in sorted(nodes.workers) if worker not in nodes.on_node]
        nodes.on_node |= dict(zip(homeless, free, strict=False))
        nodes.vacant = set(pods)
        for worker, it in nodes.workers.items():
            it.reachable = worker in nodes.on_node

    async def ready(self) -> int:
        """Workers that take renders."""
        claims = {row.name for row in await self.store.clusters(RELEASE) if row.state.claims}
        return sum(
            worker in nodes.on_node and not it.loading and not it.draining
            for name, nodes in self.nodes.items()
            for worker, it in nodes.workers.items()
            if name in claims
        )

    async def until(self, reached: Callable[[], Awaitable[bool]]) -> None:
        for _ in range(100):
            if await reached():
                return
            await self.round()
        pytest.fail(f"it never came: {await self.states()}, {await self.ready()} workers are ready")

    async def is_in(self, states: dict[str, ClusterState]) -> bool:
        return await self.states() == states

    async def has_ready(self, count: int) -> bool:
        return await self.ready() == count

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


def image(number: int, **changes: Any) -> dict[str, str]:
    """A release with this image, and as many pods as there are workers."""
    least = 0 if changes.get("autoscaled", False) else len(WORKERS)
    asked = {"autoscaled": False, "groups": ("gpu",), "bounds": (least, len(WORKERS))}
    return template(**{**asked, "worker": f"registry/cogmill-worker:{number}", **changes})


@pytest.mark.parametrize(("strategy", "autoscaled"), [("surge", False), ("in_place", False), ("in_place", True)])
@pytest.mark.seeds(1)
async def test_a_roll_to_a_new_image_under_load_loses_no_render(
    world: World, database: asyncpg.Connection, seed: int, strategy: str, autoscaled: bool
) -> None:
    world.random.seed(seed)
    if strategy == "in_place":
        world.kuberay.gpus = len(WORKERS)
    old, new = (image(it, autoscaled=autoscaled, roll={"strategy": strategy}) for it in (1, 2))
    world.install(old)
    await world.submit(8)
    for _ in range(world.random.randint(4, 10)):
        await world.round()
    assert await world.ready() == len(WORKERS)
    world.install(new)
    least = len(WORKERS)
    for _ in range(200):
        if len(world.jobs) < 20:
            await world.submit(1)
        await world.round()
        least = min(least, await world.ready())
        if await world.states() == {name_of(new): ClusterState.SERVING}:
            break
    assert await world.states() == {name_of(new): ClusterState.SERVING}
    assert list(world.nodes) == [name_of(new)]
    # In place one pod is under way, and no other until it is ready.
    assert least == len(WORKERS) - (strategy == "in_place")
    assert world.kuberay.unnamed == []
    await world.all_end_well(database)
    # Renders that left in the middle went on at their checkpoints: simulated workers fail where a step is done twice.
    assert await database.fetchval("SELECT count(*) FROM attempts WHERE outcome IN ('evicted', 'released')") > 0


async def test_a_roll_that_fails_leaves_the_old_one_rendering_and_is_taken_back(
    world: World, database: asyncpg.Connection
) -> None:
    old, new = image(1), image(666)
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
    old, new = image(1), image(2)
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


async def test_in_place_a_roll_that_fails_costs_one_pod_and_the_others_render_on(
    world: World, database: asyncpg.Connection, clock: Clock
) -> None:
    roll = {"strategy": "in_place"}
    old, new = image(1, roll=roll), image(666, roll=roll)
    world.kuberay.gpus = len(WORKERS)
    world.broken.add(name_of(new))
    world.install(old)
    await world.submit(9)
    for _ in range(5):
        await world.round()
    world.install(new)
    for _ in range(20):
        await world.round()
        assert await world.ready() >= len(WORKERS) - 1
    assert await world.states() == {name_of(old): ClusterState.YIELDING, name_of(new): ClusterState.COMING}
    assert len(world.kuberay.pods(name_of(new))) == 1
    await clock.advance(601)
    await world.until(lambda: world.is_in({name_of(old): ClusterState.KEPT, name_of(new): ClusterState.COMING}))
    assert await world.ready() == len(WORKERS) - 1
    world.install(old)  # and it is taken back
    await world.until(lambda: world.is_in({name_of(old): ClusterState.SERVING}))
    await world.until(lambda: world.has_ready(len(WORKERS)))
    await world.all_end_well(database)


async def test_a_fleet_at_rest_rolls_without_waiting_for_work(world: World) -> None:
    old, new = image(1), image(2)
    world.workers = ()  # scaled to zero
    world.install(old)
    await world.until(lambda: world.is_in({name_of(old): ClusterState.COMING}))
    row = (await world.store.clusters(RELEASE))[0]
    await world.store.move_cluster(row.name, row.version, ClusterState.SERVING, why="it has had work")
    world.install(new)
    await world.until(lambda: world.is_in({name_of(new): ClusterState.COMING}))
    assert world.server.names(Kind.RAY_CLUSTER) == [name_of(new)]
