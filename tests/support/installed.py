"""A namespace that Helm installs into, seen from the controller: its objects, its settings, its looks."""

from __future__ import annotations

import pytest

from orchestrator.adapters.kubernetes import KubernetesApi
from orchestrator.config.clusters import ClustersSettings, load_clusters
from orchestrator.domain.clusters import ClusterState
from orchestrator.domain.loading import LoadState, WorkerLoad
from orchestrator.ports.kubernetes import Kind
from orchestrator.rolling.controller import Controller
from orchestrator.store import Store
from tests.support.helm import OWNER, TEMPLATE, Rendered, named
from tests.support.kubernetes import KubeServer

NAMESPACE = "default"


class Site:
    """A namespace that Helm installs into, and the controller as the chart starts it."""

    def __init__(self, server: KubeServer, api: KubernetesApi, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server, self.api, self.store = server, api, store
        self._monkeypatch = monkeypatch
        self.settings: ClustersSettings | None = None

    def helm(self, rendered: Rendered) -> None:
        """What Helm does that the controller sees."""
        for end in (OWNER, TEMPLATE):
            found = named(rendered.printed, "ConfigMap", end)
            name = found["metadata"]["name"]
            if end == TEMPLATE or name not in self.server.names(Kind.CONFIG_MAP):
                self.server.put(Kind.CONFIG_MAP, name, found.get("data"))
        self.settings = told(rendered, self._monkeypatch)

    async def looks(self, times: int = 3) -> None:
        assert self.settings is not None
        for _ in range(times):
            await Controller(self.api, self.store, self.settings.clusters, NAMESPACE).run_once()

    async def ready(self, rendered: Rendered) -> None:
        """The dispatcher of its cluster tells of a worker with its model loaded."""
        load = WorkerLoad(worker="w", pool="main", model="cogvideox-2b", state=LoadState.LOADED)
        await self.store.record_loads(rendered.wanted.name, [load])

    async def obeys(self, name: str) -> None:
        await self.store.cluster_obeys(name, (await self.store.cluster_wish(name)).version)

    async def rows(self) -> dict[str, ClusterState]:
        assert self.settings is not None
        return {row.name: row.state for row in await self.store.clusters(f"{NAMESPACE}/{self.settings.clusters.owner}")}

    def clusters(self) -> list[str]:
        return self.server.names(Kind.RAY_CLUSTER)


def told(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> ClustersSettings:
    """The settings of the controller in the environment that its pod has."""
    [container] = rendered.find("Deployment", TEMPLATE)["spec"]["template"]["spec"]["containers"]
    for each in container["env"]:
        monkeypatch.setenv(each["name"], each.get("value", "postgresql://narrow@db/cogmill"))
    return load_clusters()
