"""What tests of rolls are made of: a template as the chart prints it, and a namespace with a release in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest_asyncio
import yaml

from orchestrator.adapters.kubernetes import KubernetesApi
from orchestrator.config.clusters import ControllerSettings
from orchestrator.domain.clusters import ClusterState
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.ports.clusters import ClusterRow
from orchestrator.ports.kubernetes import Kind
from orchestrator.rolling.controller import Controller
from orchestrator.rolling.template import wanted
from orchestrator.store import Store
from tests.support.kubernetes import KubeServer

OWNER, TEMPLATE, NAMESPACE = "cogmill-release", "cogmill-clusters", "video"
SETTINGS = ControllerSettings(owner=OWNER, template=TEMPLATE, namespace=NAMESPACE)
RELEASE = f"{NAMESPACE}/{OWNER}"


def template(
    *,
    worker: str = "registry/cogmill-worker:1",
    control: str = "registry/cogmill:1",
    bounds: tuple[int, int] = (0, 4),
    chart: str = "cogmill-0.1.0",
    config: str = '[pools.small]\nmodel = "tiny-2b"\n',
    roll: dict[str, Any] | None = None,
    autoscaled: bool = True,
    groups: tuple[str, ...] = ("spot", "on-demand"),
) -> dict[str, str]:
    """The data of the template's ConfigMap."""
    labels = {"app.kubernetes.io/instance": "cogmill", "helm.sh/chart": chart}

    def pod(name: str, image: str) -> dict[str, Any]:
        spec = {"containers": [{"name": name, "image": image}]}
        return {"metadata": {"labels": dict(labels)}, "spec": spec}

    ray_cluster = {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": "cogmill", "labels": dict(labels)},
        "spec": {
            "rayVersion": "2.60.0",
            "enableInTreeAutoscaling": autoscaled,
            "headGroupSpec": {"rayStartParams": {}, "template": pod("ray-head", "registry/cogmill:pinned")},
            "workerGroupSpecs": [
                {
                    "groupName": name,
                    "minReplicas": bounds[0],
                    "maxReplicas": bounds[1],
                    "rayStartParams": {},
                    "template": pod("ray-worker", worker),
                }
                for name in groups
            ],
        },
    }
    env = [
        {"name": "COGMILL_RAY__CLUSTER", "value": "@CLUSTER@"},
        {"name": "COGMILL_RAY__ADDRESS", "value": "@CLUSTER@-head-svc:6379"},
    ]
    dispatcher = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "cogmill-dispatcher", "labels": dict(labels)},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app.kubernetes.io/component": "dispatcher"}},
            "template": {
                "metadata": {"labels": {"app.kubernetes.io/component": "dispatcher"}},
                "spec": {
                    "containers": [{"name": "dispatcher", "image": control, "env": env}],
                    "volumes": [{"name": "config", "configMap": {"name": "@CONFIG@"}}],
                },
            },
        },
    }
    return {
        "raycluster.yaml": yaml.safe_dump(ray_cluster),
        "dispatcher.yaml": yaml.safe_dump(dispatcher),
        "cogmill.toml": config,
        "roll.yaml": yaml.safe_dump({"deadline_s": 600, "grace_s": 0} | (roll or {})),
    }


def owner() -> dict[str, Any]:
    return {"metadata": {"name": OWNER, "uid": "uid-of-the-owner"}}


COMING, SERVING, YIELDING, RETIRING, KEPT, ENDING = ClusterState
OLD = template()
NEW = template(worker="registry/cogmill-worker:2", control="registry/cogmill:2")


def name_of(data: dict[str, str]) -> str:
    """What the cluster of a template is called."""
    return wanted(data, owner()).name


@dataclass
class Namespace:
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
async def namespace(store: Store) -> AsyncIterator[Namespace]:
    server = KubeServer()
    async with server.serving() as url:
        api = KubernetesApi(url, NAMESPACE)
        yield Namespace(server, api, store)
        await api.close()
