"""A stand-in for the KubeRay operator, Ray's autoscaler and the scheduler of Kubernetes, for the pods of RayClusters.

As the real ones do (kuberay v1.7, `raycluster_controller.go`: `reconcilePods`, `utils/util.go`:
`GetWorkerGroupDesiredReplicas`): pods that `workersToDelete` names go whatever the replicas are; `replicas` are kept
between the bounds; too many go only where no autoscaler runs, and then any. Each pod has one GPU, while there are some.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from orchestrator.ports.kubernetes import Kind
from orchestrator.rolling.pods import OF_CLUSTER, OF_GROUP
from tests.support.kube_requests import Object
from tests.support.kubernetes import KubeServer


@dataclass
class KubeRay:
    """Call `reconcile` as often as the world turns."""

    server: KubeServer
    # Of all nodes together.
    gpus: int
    # Pods that went though nobody had named them.
    unnamed: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def pods(self, cluster: str) -> list[str]:
        """The names of its pods that have a GPU."""
        return [pod["metadata"]["name"] for pod in self._of(cluster) if pod["status"]["phase"] == "Running"]

    def reconcile(self, wants: Callable[[str], int] = lambda cluster: 0, idle: Callable[[str], bool] = bool) -> None:
        """Make and delete pods. `wants` are the workers that a cluster has asked Ray for, `idle` is asked of a pod."""
        for name in self.server.names(Kind.RAY_CLUSTER):
            spec = self.server.one(Kind.RAY_CLUSTER, name)["spec"]
            for group in spec["workerGroupSpecs"]:
                if spec.get("enableInTreeAutoscaling"):
                    self._autoscale(name, group, wants(name), idle)
                self._reconcile(name, group, autoscaled=bool(spec.get("enableInTreeAutoscaling")))
        running = sum(pod["status"]["phase"] == "Running" for pod in self._of())
        for pod in self._of():
            if running < self.gpus and pod["status"]["phase"] == "Pending":
                pod["status"]["phase"] = "Running"
                running += 1

    def _reconcile(self, cluster: str, group: Object, *, autoscaled: bool) -> None:
        for name in (group.get("scaleStrategy") or {}).get("workersToDelete") or ():
            if (Kind.POD.plural, name) in self.server.objects:
                self.server.remove(Kind.POD, name)
        pods = self._of(cluster, group["groupName"])
        wanted = min(max(group.get("replicas") or 0, group["minReplicas"]), group["maxReplicas"])
        for _ in range(wanted - len(pods)):
            self._make(cluster, group["groupName"])
        if not autoscaled:
            for pod in pods[: max(0, len(pods) - wanted)]:
                self.unnamed.append(pod["metadata"]["name"])
                self.server.remove(Kind.POD, pod["metadata"]["name"])

    def _autoscale(self, cluster: str, group: Object, wants: int, idle: Callable[[str], bool]) -> None:
        """As Ray's: more where workers wait, those that are idle fewer; never fewer than the least."""
        pods = [pod["metadata"]["name"] for pod in self._of(cluster, group["groupName"])]
        spare = [name for name in pods if idle(name)] if len(pods) > wants else []
        gone = spare[: max(0, len(pods) - max(group["minReplicas"], wants))]
        group["replicas"] = max(len(pods) - len(gone), min(wants, group["maxReplicas"]))
        group["scaleStrategy"] = {"workersToDelete": gone}

    def _make(self, cluster: str, group: str) -> None:
        whose: Any = self.server.one(Kind.RAY_CLUSTER, cluster)["metadata"]
        name = f"{cluster}-{group}-worker-{next(self._numbers):05d}"
        owner = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "name": cluster, "uid": whose["uid"]}
        labels = {OF_CLUSTER: cluster, OF_GROUP: group}
        self.server.make(
            Kind.POD,
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
                "status": {"phase": "Pending"},
            },
        )

    def _of(self, cluster: str | None = None, group: str | None = None) -> list[Object]:
        asked = {OF_CLUSTER: cluster, OF_GROUP: group}
        return [
            pod
            for (plural, _), pod in self.server.objects.items()
            if plural == Kind.POD.plural
            and all(value in (None, pod["metadata"]["labels"].get(label)) for label, value in asked.items())
        ]
