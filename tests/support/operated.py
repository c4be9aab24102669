"""Kubernetes clusters that an operator's shell reaches: the stand-in, the controller, and pods as others make them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.kubernetes import KubernetesApi
from orchestrator.ports.kubernetes import Kind
from orchestrator.rolling.pods import OF_CLUSTER
from orchestrator.store import Store
from tests.support.helm import Rendered
from tests.support.installed import NAMESPACE, Site
from tests.support.kubectl import KubectlServer, Shell, shell
from tests.support.tools import need

CONTROL_PLANE = ("cogmill-api", "cogmill-clusters", "cogmill-maintainer")
# The least that `cogmill pools` must be told.
_CONFIG = """
default_model = "m"
models = {m = {family = "cogvideox-2b", source = "/models/m"}}
pools = {main = {model = "m"}}
s3 = {bucket = "b"}
"""


class Place(Site):
    """One Kubernetes cluster with the release, and its pods as their controllers would make them."""

    server: KubectlServer

    def install(self, rendered: Rendered) -> None:
        """`helm install`, or an upgrade that takes back what others have scaled."""
        self.helm(rendered)
        for found in rendered.printed:
            if found["kind"] == "Deployment":
                name = found["metadata"]["name"]
                if name not in self.server.names(Kind.DEPLOYMENT):
                    self.server.make(Kind.DEPLOYMENT, found)
                elif "replicas" in found["spec"]:
                    self.server.one(Kind.DEPLOYMENT, name)["spec"]["replicas"] = found["spec"]["replicas"]

    def pod(self, name: str, template: dict[str, Any], owner: dict[str, Any], labels: dict[str, str]) -> None:
        """One pod of an object, on the node gpu-1."""
        whose = {key: owner[key] for key in ("apiVersion", "kind")}
        whose |= {key: owner["metadata"][key] for key in ("name", "uid")} | {"controller": True}
        metadata = {"name": name, "labels": template["metadata"]["labels"] | labels, "ownerReferences": [whose]}
        body = {"metadata": metadata, "spec": template["spec"] | {"nodeName": "gpu-1"}, "status": {"phase": "Running"}}
        self.server.make(Kind.POD, body)

    def pods(self) -> None:
        """Of each Ray cluster a head and a worker, and of the controller its one."""
        for name in self.clusters():
            live = self.server.one(Kind.RAY_CLUSTER, name)
            groups = {"head": live["spec"]["headGroupSpec"], "worker": live["spec"]["workerGroupSpecs"][0]}
            for group, spec in groups.items():
                self.pod(f"{name}-{group}", spec["template"], live, {OF_CLUSTER: name})
        controller = self.server.one(Kind.DEPLOYMENT, "cogmill-clusters")
        self.pod("controller-0", controller["spec"]["template"], controller, {})

    def replicas(self) -> list[int]:
        return [self.server.one(Kind.DEPLOYMENT, name)["spec"]["replicas"] for name in CONTROL_PLANE]


@asynccontextmanager
async def played(
    store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch, home: Path, *contexts: str
) -> AsyncIterator[tuple[Shell, list[Place]]]:
    """A shell at Kubernetes clusters of these contexts, all with the one database."""
    servers = {name: KubectlServer() for name in contexts}
    async with shell(need("kubectl"), home, **servers) as at:
        config = home / "cogmill.toml"
        config.write_text(_CONFIG)
        at.environment.update(COGMILL_DATABASE_URL=database_url, COGMILL_CONFIG=str(config), DATABASE_URL=database_url)
        apis = [KubernetesApi(f"http://127.0.0.1:{server.port}", NAMESPACE) for server in servers.values()]
        places = zip(servers.values(), apis, strict=True)
        yield at, [Place(server, api, store, monkeypatch) for server, api in places]
        for api in apis:
            await api.close()
