"""The real kubectl at the stand-in for the API server: discovery, subresources, evictions, and the program itself.

What kubectl asks beside the objects: `/api` and `/apis` before anything else (client-go, discovery/discovery_client.go;
without the aggregated form it asks for each version), `deployments/scale` to scale, `pods/eviction` to drain and
`pods/log` for logs (kubectl, pkg/drain/drain.go, pkg/polymorphichelpers/logsforobject.go).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.kube_requests import Object, refused
from tests.support.kubernetes import KINDS, KubeServer, Refusal

# Subresources by resource, each with its version and kind.
PARTS = {
    "deployments": {"scale": ("autoscaling/v1", "Scale")},
    "pods": {"eviction": ("policy/v1", "Eviction"), "log": ("v1", "Pod")},
}
CLUSTER_WIDE = {"nodes"}
SHORT = {"deployments": ["deploy"], "pods": ["po"], "configmaps": ["cm"]}


@dataclass
class KubectlServer(KubeServer):
    """The stand-in, and what kubectl asks beside the objects. `logs` are those of pods, by name."""

    logs: dict[str, str] = field(default_factory=dict)

    def make_node(self, name: str) -> None:
        self._create("nodes", {"metadata": {"name": name}, "spec": {}})

    def make_secret(self, name: str, data: dict[str, str]) -> None:
        """Its values are base64, as always."""
        self._create("secrets", {"metadata": {"name": name}, "data": data})

    def _answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, Object | str]:
        if (found := discovered(urlsplit(target).path)) is not None:
            return 200, found
        if not urlsplit(target).path.startswith(("/api/", "/apis/")):
            return 404, refused(404, "no schema is published here")  # kubectl asks for it, and does without
        return super()._answer(method, target, headers, body)

    def _do(self, method: str, plural: str, name: str, query: dict[str, str], body: Any, media: str) -> Object | str:
        if plural not in KINDS:
            raise Refusal(404, f"the server could not find the requested resource {plural}")
        name, _, part = name.partition("/")
        if not part:
            return super()._do(method, plural, name, query, body, media)
        known = self.objects.get((plural, name))
        if known is None:
            raise Refusal(404, f"{plural} {name!r} not found")
        match plural, part:
            case "pods", "log":
                return self.logs[name]
            case "pods", "eviction":  # within every budget: GPU pods have none
                return self._delete(plural, name, known, {})
            case "deployments", "scale":
                if method != "GET":
                    number = body["spec"]["replicas"]
                    known = self._patch(plural, known, {"spec": {"replicas": number}}, "application/merge-patch+json")
                return {"apiVersion": "autoscaling/v1", "kind": "Scale"} | {
                    "metadata": {key: known["metadata"][key] for key in ("name", "uid", "resourceVersion")},
                    "spec": {"replicas": known["spec"].get("replicas", 1)},
                }
        raise Refusal(404, f"{plural}/{part}")

    def _create(self, plural: str, body: Object) -> Object:
        namespace = {} if plural in CLUSTER_WIDE else {"namespace": "default"}
        return super()._create(plural, body | {"metadata": body["metadata"] | namespace})


def discovered(path: str) -> Object | None:
    """The answer about what resources there are; None for a path that is about something else."""
    versions = sorted({version for version, _ in KINDS.values()})
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = []
        for version in versions:
            if "/" in version:
                of = {"groupVersion": version, "version": version.partition("/")[2]}
                groups.append({"name": version.partition("/")[0], "versions": [of], "preferredVersion": of})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    for version in versions:
        if path == ("/api/v1" if version == "v1" else f"/apis/{version}"):
            return {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": version,
                "resources": listed(version),
            }
    return None


def listed(version: str) -> list[Object]:
    """The resources of one version, and their subresources."""
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    found: list[Object] = []
    for plural, (of, word) in KINDS.items():
        if of == version:
            one = {"name": plural, "singularName": word.lower(), "namespaced": plural not in CLUSTER_WIDE, "kind": word}
            found.append(one | {"verbs": verbs, "shortNames": SHORT.get(plural, [])})
            for part, (whose, kind) in PARTS.get(plural, {}).items():
                group, _, its = whose.rpartition("/")
                also = {"group": group, "version": its, "kind": kind, "verbs": ["create", "get", "patch", "update"]}
                found.append(also | {"name": f"{plural}/{part}", "singularName": "", "namespaced": True})
    return found


@dataclass(frozen=True)
class Shell:
    """A shell in which `kubectl` is the real program, told of one server, and of nobody else's configuration."""

    folder: Path
    environment: dict[str, str]

    async def run(self, line: str) -> tuple[int, str]:
        """Its exit status, and what it said on both streams."""
        started = await asyncio.create_subprocess_exec(
            "bash", "-euo", "pipefail", "-c", line, cwd=self.folder, env=self.environment,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await started.communicate()
        return started.returncode or 0, said.decode()


@asynccontextmanager
async def shell(kubectl: Path, home: Path, **servers: KubectlServer) -> AsyncIterator[Shell]:
    """A shell at servers by the names of their contexts, the first one current, that answer until the block ends."""
    async with AsyncExitStack() as serving:
        urls = {name: await serving.enter_async_context(server.serving()) for name, server in servers.items()}
        known = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": next(iter(urls)),
            "clusters": [{"name": name, "cluster": {"server": url}} for name, url in urls.items()],
            "contexts": [{"name": name, "context": {"cluster": name, "namespace": "default"}} for name in urls],
        }
        config = home / "kubeconfig"
        config.write_text(json.dumps(known))
        path = f"{kubectl.parent}{os.pathsep}{os.environ['PATH']}"
        yield Shell(home, {"PATH": path, "HOME": str(home), "KUBECONFIG": str(config), "LANG": "C.UTF-8"})
