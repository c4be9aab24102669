"""The controller against real PostgreSQL and a stand-in API server: install, upgrade, roll, uninstall, and faults."""

from __future__ import annotations

import asyncio
import copy
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
import yaml
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.adapters.kubernetes import KubernetesApi
from orchestrator.config.clusters import load_clusters
from orchestrator.domain.clusters import ClusterState
from orchestrator.domain.errors import ConfigError, KubernetesRefused, KubernetesUnavailable
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.ports.clusters import ClusterRow
from orchestrator.ports.kubernetes import Kind
from orchestrator.rolling.controller import Controller
from orchestrator.rolling.template import CLUSTER_LABEL, wanted
from orchestrator.store import Store
from tests.support.jobs import POOL, new_job, success, worker
from tests.support.kubernetes import KubeServer, faulty
from tests.support.postgres import Clock
from tests.support.rolling import NAMESPACE, OWNER, RELEASE, SETTINGS, TEMPLATE, owner, template

COMING, SERVING, RETIRING, KEPT, ENDING = ClusterState
OLD = template()
NEW = template(worker="registry/cogmill-worker:2", control="registry/cogmill:2")


def name_of(data: dict[str, str]) -> str:
    return wanted(data, owner()).name


@dataclass
class Site:
    """A namespace with a release in it."""

    server: KubeServer
    api: KubernetesApi
    store: Store

    @property
    def controller(self) -> Controller:
        """A new one each time: it remembers nothing."""
        return Controller(self.api, self.store, SETTINGS, NAMESPACE)

    def install(self, data: dict[str, str]) -> None:
        """What Helm does: at the first time and at an upgrade."""
        if (Kind.CONFIG_MAP.plural, OWNER) not in self.server.objects:
            self.server.put(Kind.CONFIG_MAP, OWNER, {})
        self.server.put(Kind.CONFIG_MAP, TEMPLATE, data)

    async def looks(self, times: int = 3) -> None:
        for _ in range(times):
            await self.controller.run_once()

    async def ready(self, data: dict[str, str], count: int = 2) -> None:
        """The dispatcher of a cluster tells of workers with their model loaded."""
        loads = [WorkerLoad(worker=f"w{i}", pool="small", model="m", state=LoadState.LOADED) for i in range(count)]
        await self.store.record_loads(name_of(data), loads)

    async def obeys(self, data: dict[str, str]) -> None:
        name = name_of(data)
        await self.store.cluster_obeys(name, (await self.store.cluster_wish(name)).version)

    async def rows(self) -> dict[str, ClusterState]:
        return {row.name: row.state for row in await self.store.clusters(RELEASE)}

    async def row(self, data: dict[str, str]) -> ClusterRow:
        return next(row for row in await self.store.clusters(RELEASE) if row.name == name_of(data))

    def clusters(self) -> list[str]:
        return self.server.names(Kind.RAY_CLUSTER)

    def dispatcher(self, data: dict[str, str]) -> Any:
        return self.server.one(Kind.DEPLOYMENT, f"{name_of(data)}-dispatcher")


@pytest_asyncio.fixture
async def site(store: Store) -> AsyncIterator[Site]:
    server = KubeServer()
    async with server.serving() as url:
        api = KubernetesApi(url, NAMESPACE)
        yield Site(server, api, store)
        await api.close()


async def test_an_install_makes_one_cluster_with_its_dispatcher_and_snapshot_once(site: Site) -> None:
    site.install(OLD)
    await site.looks()
    name = name_of(OLD)
    assert site.clusters() == [name]
    assert site.server.names(Kind.DEPLOYMENT) == [f"{name}-dispatcher"]
    snapshot = next(each for each in site.server.names(Kind.CONFIG_MAP) if each.startswith(name))
    assert site.server.one(Kind.CONFIG_MAP, snapshot)["data"] == {"cogmill.toml": OLD["cogmill.toml"]}
    posts = [(plural, made) for method, plural, made, _ in site.server.log if method == "POST"]
    assert len(posts) == len(set(posts)) == 3
    assert await site.rows() == {name: COMING}
    await site.ready(OLD)
    await site.looks()
    assert await site.rows() == {name: SERVING}
    assert not [entry for entry in site.server.log if entry[0] in ("PUT", "PATCH", "DELETE")]


async def test_uninstalling_takes_everything_with_it_and_the_controller_does_not_make_it_anew(site: Site) -> None:
    site.install(OLD)
    await site.looks()
    site.server.one(Kind.CONFIG_MAP, OWNER)["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    before = dict(site.server.objects)
    await site.looks()
    assert site.server.objects == before
    site.server.remove(Kind.CONFIG_MAP, OWNER)
    assert list(site.server.objects) == [(Kind.CONFIG_MAP.plural, TEMPLATE)]
    with pytest.raises(ConfigError, match="there is no ConfigMap cogmill-release"):
        await site.looks()


async def test_bounds_change_in_place_and_leave_the_autoscalers_replicas_alone(site: Site) -> None:
    site.install(OLD)
    await site.looks()
    name = name_of(OLD)
    live = site.server.one(Kind.RAY_CLUSTER, name)
    for group in live["spec"]["workerGroupSpecs"]:
        group |= {"replicas": 3, "scaleStrategy": {"workersToDelete": ["pod-1"]}}
    before = copy.deepcopy(live["spec"])
    site.install(template(bounds=(1, 9)))
    await site.looks()
    after = site.server.one(Kind.RAY_CLUSTER, name)["spec"]
    for group, was in zip(after["workerGroupSpecs"], before["workerGroupSpecs"], strict=True):
        assert group == was | {"minReplicas": 1, "maxReplicas": 9}
    assert site.clusters() == [name]


async def test_an_upgrade_of_the_control_plane_replaces_the_dispatcher_and_rolls_no_worker(site: Site) -> None:
    site.install(OLD)
    await site.looks()
    before = copy.deepcopy(site.server.one(Kind.RAY_CLUSTER, name_of(OLD)))
    upgraded = template(control="registry/cogmill:2", chart="cogmill-0.2.0", config="[pools.small]\n[pools.b]\n")
    site.install(upgraded)
    await site.looks()
    assert site.server.one(Kind.RAY_CLUSTER, name_of(OLD)) == before
    pod = site.dispatcher(OLD)["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry/cogmill:2"
    mounted = site.server.one(Kind.CONFIG_MAP, pod["volumes"][0]["configMap"]["name"])
    assert mounted["data"]["cogmill.toml"] == upgraded["cogmill.toml"]


async def test_a_dispatcher_whose_selector_changes_is_made_anew(site: Site) -> None:
    site.install(OLD)
    await site.looks()
    body = yaml.safe_load(OLD["dispatcher.yaml"])
    for labels in (body["spec"]["selector"]["matchLabels"], body["spec"]["template"]["metadata"]["labels"]):
        labels["tier"] = "control"
    before = site.dispatcher(OLD)["metadata"]["uid"]
    site.install(OLD | {"dispatcher.yaml": yaml.safe_dump(body)})
    await site.looks()
    assert site.dispatcher(OLD)["metadata"]["uid"] != before
    assert site.dispatcher(OLD)["spec"]["selector"]["matchLabels"]["tier"] == "control"


async def test_a_roll_makes_the_new_one_drains_the_old_one_and_ends_it_when_it_is_empty(site: Site) -> None:
    site.install(OLD)
    await site.looks()
    await site.ready(OLD)
    await site.store.beat(name_of(OLD), {worker(): POOL})
    await site.store.submit(new_job())
    (held,) = await site.store.claim(POOL, name_of(OLD), [worker()])
    site.install(NEW)
    await site.looks()
    assert site.clusters() == sorted([name_of(OLD), name_of(NEW)])
    assert await site.rows() == {name_of(OLD): SERVING, name_of(NEW): COMING}
    # A retiring cluster keeps the image and the configuration of its dispatcher.
    assert site.dispatcher(OLD)["spec"]["template"]["spec"]["containers"][0]["image"] == "registry/cogmill:1"
    await site.ready(NEW, 1)
    await site.looks()
    assert (await site.row(OLD)).state is RETIRING  # of its own one worker all are ready
    await site.obeys(OLD)
    await site.looks()
    assert name_of(OLD) in site.clusters()  # it holds a render
    await site.store.settle([success(held)])
    await site.looks()
    assert site.clusters() == [name_of(NEW)]
    assert await site.rows() == {name_of(NEW): SERVING}
    owned = [it for it in site.server.objects.values() if CLUSTER_LABEL in it["metadata"].get("labels", {})]
    assert {it["metadata"]["labels"][CLUSTER_LABEL] for it in owned} == {name_of(NEW)}


async def test_a_failed_upgrade_that_is_rolled_back_leaves_one_cluster_and_no_other(site: Site, clock: Clock) -> None:
    site.install(OLD)
    await site.looks()
    await site.ready(OLD)
    await site.looks()
    uid = site.server.one(Kind.RAY_CLUSTER, name_of(OLD))["metadata"]["uid"]
    site.install(NEW)
    await site.looks()
    site.install(OLD)
    await site.looks()
    assert await site.rows() == {name_of(OLD): SERVING, name_of(NEW): RETIRING}
    await clock.advance(120)  # its dispatcher never came up
    await site.ready(OLD)
    await site.looks()
    assert site.clusters() == [name_of(OLD)]
    assert site.server.one(Kind.RAY_CLUSTER, name_of(OLD))["metadata"]["uid"] == uid


async def test_a_cluster_that_is_wanted_again_while_it_ends_is_made_anew_once_it_is_gone(site: Site) -> None:
    """As with GCS fault tolerance in Redis, whose finalizer keeps the object for a while."""
    site.install(OLD)
    await site.looks()
    site.server.one(Kind.RAY_CLUSTER, name_of(OLD))["metadata"]["finalizers"] = [
        "ray.io/gcs-ft-redis-cleanup-finalizer"
    ]
    await site.ready(OLD)
    await site.looks()
    site.install(NEW)
    await site.looks()
    await site.ready(NEW)
    await site.looks()
    await site.obeys(OLD)
    await site.looks()
    assert (await site.row(OLD)).state is ENDING
    site.install(OLD)
    await site.looks()
    assert (await site.row(OLD)).state is ENDING
    site.server.remove(Kind.RAY_CLUSTER, name_of(OLD))
    await site.looks()
    assert (await site.row(OLD)).state is COMING
    assert not site.server.one(Kind.RAY_CLUSTER, name_of(OLD))["metadata"].get("deletionTimestamp")


async def test_past_its_deadline_the_old_one_claims_again_and_a_new_try_lets_it_make_way(
    site: Site, clock: Clock
) -> None:
    site.install(OLD)
    await site.looks()
    await site.ready(OLD)
    await site.store.beat(name_of(OLD), {worker(): POOL})
    await site.store.submit(new_job())
    assert await site.store.claim(POOL, name_of(OLD), [worker()])
    site.install(NEW)
    await site.looks()
    await site.ready(NEW)
    await site.looks()
    await clock.advance(601)
    await site.looks(1)
    kept = await site.row(OLD)
    assert (kept.state, kept.why) == (KEPT, "1 renders are left after 600 s")
    assert not (await site.store.cluster_wish(name_of(OLD))).retires
    await site.looks()
    assert (await site.row(OLD)).state is KEPT
    assert await site.store.retry_roll() == [name_of(OLD)]
    await site.ready(NEW)
    await site.looks()
    assert (await site.row(OLD)).state is RETIRING


async def test_objects_without_a_row_are_adopted_and_make_way_like_any_other(
    site: Site, database: asyncpg.Connection
) -> None:
    site.install(OLD)
    await site.looks()
    await database.execute("DELETE FROM ray_clusters")  # the database was restored
    site.install(NEW)
    await site.looks(1)
    assert (await site.row(OLD)).state is SERVING


async def test_the_release_of_another_namespace_keeps_its_cluster_of_the_same_name(site: Site) -> None:
    await site.store.add_cluster(name_of(OLD), "elsewhere/cogmill", SERVING, "first")
    site.install(OLD)
    await site.looks()
    assert site.clusters() == []
    assert [row.state for row in await site.store.clusters("elsewhere/cogmill")] == [SERVING]


async def test_a_template_that_cannot_be_changes_nothing(site: Site) -> None:
    site.install(OLD)
    await site.looks()
    before = copy.deepcopy(site.server.objects)
    site.install(NEW | {"raycluster.yaml": "kind: Pod"})
    with pytest.raises(ConfigError, match=r"raycluster\.yaml: must be one RayCluster"):
        await site.looks(1)
    del before[Kind.CONFIG_MAP.plural, TEMPLATE]
    assert {key: it for key, it in site.server.objects.items() if key[1] != TEMPLATE} == before


async def test_what_an_account_may_not_do_is_said_by_its_verb_and_its_path(site: Site) -> None:
    site.install(OLD)
    site.server.fault = lambda method, plural: 403 if (method, plural) == ("GET", "configmaps") else None
    with pytest.raises(KubernetesRefused, match="GET /api/v1/namespaces/video/configmaps/cogmill-release: 403 a fault"):
        await site.looks(1)


@pytest.mark.parametrize("fault", [500, 429, 410, "lost"])
async def test_an_api_that_does_not_answer_is_unavailable(site: Site, fault: int | str) -> None:
    site.server.fault = lambda method, plural: fault
    with pytest.raises(KubernetesUnavailable):
        await site.api.list(Kind.DEPLOYMENT, "a", "b")


async def test_another_object_of_the_name_is_not_deleted(site: Site) -> None:
    site.install(OLD)
    await site.api.delete(Kind.CONFIG_MAP, OWNER, uid="that of one before it")
    assert OWNER in site.server.names(Kind.CONFIG_MAP)


@pytest.mark.seeds(3)
async def test_with_faults_and_two_controllers_at_once_a_roll_ends_the_same(site: Site, seed: int) -> None:
    """Requests are refused, fail, or are done without an answer; nothing is made twice, and nothing is left."""

    async def looks(until: Any) -> None:
        for _ in range(200):
            await asyncio.gather(*(site.controller.run_once() for _ in range(2)), return_exceptions=True)
            await site.ready(OLD)
            await site.ready(NEW)
            await site.obeys(OLD)
            if await until():
                return
        pytest.fail(f"it does not end: {await site.rows()}")

    async def serves(data: dict[str, str]) -> bool:
        return await site.rows() == {name_of(data): SERVING} and site.clusters() == [name_of(data)]

    site.server.fault = faulty(seed, 0.3)
    site.install(OLD)
    await looks(lambda: serves(OLD))
    site.install(NEW)
    await looks(lambda: serves(NEW))
    made = [entry for entry in site.server.log if entry[0] == "POST" and entry[3] == 200]
    assert len(made) == len(set(made)), "an object was made twice"
    site.server.fault = lambda method, plural: None
    await looks(lambda: asyncio.sleep(0, len(site.server.names(Kind.DEPLOYMENT)) == 1))


async def test_a_controller_that_dies_at_any_request_leaves_what_the_next_one_ends(site: Site) -> None:
    """Each life ends at its first request that writes, which is done, and nobody hears of it."""
    life: asyncio.Task[int] | None = None

    def dies(method: str, plural: str) -> int | str | None:
        if method == "GET" or life is None:
            return None
        life.cancel()
        return "lost"

    async def lives(data: dict[str, str]) -> int:
        nonlocal life
        deaths = 0
        for _ in range(40):
            await site.ready(OLD)
            await site.ready(NEW)
            await site.obeys(OLD)
            life = asyncio.create_task(site.controller.run_once())
            (end,) = await asyncio.gather(life, return_exceptions=True)
            deaths += isinstance(end, asyncio.CancelledError)
            if await site.rows() == {name_of(data): SERVING} and end == 0:
                return deaths
        pytest.fail(f"it does not end: {await site.rows()}")

    site.server.fault = dies
    site.install(OLD)
    assert await lives(OLD) == 3
    site.install(NEW)
    assert await lives(NEW) == 6
    assert site.clusters() == [name_of(NEW)]
    assert len(site.server.names(Kind.CONFIG_MAP)) == 3


async def test_the_process_is_killed_while_it_makes_a_cluster_and_started_again(site: Site, database_url: str) -> None:
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("COGMILL_")},
        "COGMILL_DATABASE_URL": database_url,
        "COGMILL_CLUSTERS__OWNER": OWNER,
        "COGMILL_CLUSTERS__TEMPLATE": TEMPLATE,
        "COGMILL_CLUSTERS__EVERY_S": "0.05",
        "COGMILL_CLUSTERS__PORT": "0",
    }

    async def started() -> asyncio.subprocess.Process:
        url = f"http://127.0.0.1:{site.server.port}"
        return await asyncio.create_subprocess_exec(sys.executable, "-c", _PROCESS, url, NAMESPACE, env=environment)

    def killing(method: str, plural: str) -> int | str | None:
        if (method, plural) != ("POST", Kind.RAY_CLUSTER.plural):
            return None
        process.kill()
        return "lost"

    site.install(OLD)
    site.server.fault = killing
    process = await started()
    async with asyncio.timeout(120):
        assert await process.wait() == -signal.SIGKILL
    assert site.clusters() == [name_of(OLD)]
    process = await started()
    async with asyncio.timeout(120):
        while not site.server.names(Kind.DEPLOYMENT):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        process.terminate()
        assert await process.wait() == 0
    assert site.clusters() == [name_of(OLD)]


async def test_the_command_shows_each_cluster_and_lets_kept_ones_try_again(
    site: Site, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COGMILL_DATABASE_URL", database_url)
    site.install(OLD)
    await site.looks()
    await site.ready(OLD)
    row = await site.row(OLD)
    await site.store.move_cluster(row.name, row.version, KEPT, why="3 renders are left after 600 s")

    async def told(*arguments: str) -> str:
        result = await asyncio.to_thread(CliRunner().invoke, cli.app, ["clusters", *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    shown = await told()
    assert row.name in shown
    assert "kept" in shown
    assert "small 2/2" in shown
    assert "3 renders are left after 600 s" in shown
    assert await told("retry") == f"{row.name}\n"
    assert await told("retry") == "no cluster was kept\n"


def test_what_the_controller_is_not_told_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("COGMILL_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("COGMILL_DATABASE_URL", "mysql://somewhere")
    with pytest.raises(ConfigError, match="COGMILL_CLUSTERS: Field required"):
        load_clusters()
    monkeypatch.setenv("COGMILL_CLUSTERS__OWNER", "o")
    with pytest.raises(ConfigError, match="COGMILL_CLUSTERS__TEMPLATE: Field required"):
        load_clusters()
    monkeypatch.setenv("COGMILL_CLUSTERS__TEMPLATE", "t")
    with pytest.raises(ConfigError, match="database_url must start with postgresql://"):
        load_clusters()


def test_outside_of_a_pod_the_controller_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match="automountServiceAccountToken"):
        KubernetesApi.in_pod(tmp_path, None)


_PROCESS = """
import asyncio, sys
from orchestrator.adapters.kubernetes import KubernetesApi
from orchestrator.config.clusters import load_clusters
from orchestrator.processes.rolling import run_clusters
from orchestrator.telemetry import logs

settings = load_clusters()
logs.configure(settings.log)

async def main():
    await run_clusters(settings, KubernetesApi(sys.argv[1], sys.argv[2]))

asyncio.run(main())
"""
