"""A Ray cluster that gives up hosts, and its pods -> the change to its worker groups that frees their GPUs. Pure.

Without Ray's autoscaler the pods are named and the group gets smaller, in one patch: KubeRay deletes what
`scaleStrategy.workersToDelete` names whatever the replicas are, and where it must delete more it takes any
(kuberay v1.7, `raycluster_controller.go`: `reconcilePods`). `replicas` below `minReplicas` counts as that
(`utils/util.go`: `GetWorkerGroupDesiredReplicas`). Nobody takes the names out of the list again; pods that are gone
are passed over, and no two pods have one name.

With it only Ray deletes pods (`reconcilePods`: "The only decision-maker for Pod deletions is Autoscaler"), and does so
once they are idle for `idleTimeoutSeconds` and the group has more than `minReplicas` (ray 2.60, `autoscaler/v2/
scheduler.py`: `_enforce_idle_termination`). So there the least becomes 0, and pods that have workers stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from orchestrator.ports.kubernetes import KubeObject

# Labels that KubeRay gives its pods (kuberay v1.7, `utils/constant.go`: RayClusterLabelKey, RayNodeGroupLabelKey).
OF_CLUSTER, OF_GROUP = "ray.io/cluster", "ray.io/group"


def frees(live: KubeObject, pods: Sequence[KubeObject], empty: Collection[str]) -> list[dict[str, Any]]:
    """The JSON patch by which the pods of these hosts go; empty when there is nothing to change.

    A pod's host name is its own (Kubernetes, "Pod hostname"). Groups and their least are named before they are touched:
    the list is addressed by place, and others write to it.
    """
    patch: list[dict[str, Any]] = []
    autoscaled = bool(live["spec"].get("enableInTreeAutoscaling"))
    for place, group in enumerate(live["spec"].get("workerGroupSpecs") or []):
        change = {"minReplicas": 0} if autoscaled else _named(group, _names(pods, group["groupName"], empty))
        changes = {key: value for key, value in change.items() if group.get(key) != value}
        if changes:
            path = f"/spec/workerGroupSpecs/{place}"
            patch += [
                {"op": "test", "path": f"{path}/groupName", "value": group["groupName"]},
                {"op": "test", "path": f"{path}/minReplicas", "value": group["minReplicas"]},
                *({"op": "add", "path": f"{path}/{key}", "value": value} for key, value in changes.items()),
            ]
    return [{"op": "test", "path": "/metadata/uid", "value": live["metadata"]["uid"]}, *patch] if patch else []


def _names(pods: Iterable[KubeObject], group: str, empty: Collection[str]) -> list[str]:
    of_group = (pod["metadata"] for pod in pods if pod["metadata"].get("labels", {}).get(OF_GROUP) == group)
    return sorted(it["name"] for it in of_group if it["name"] in empty and not it.get("deletionTimestamp"))


def _named(group: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The fields of a group that is rid of these pods."""
    strategy = group.get("scaleStrategy") or {}
    fresh = set(names) - set(strategy.get("workersToDelete") or ())
    if not fresh:
        return {}
    least, replicas = group["minReplicas"], group.get("replicas") or 0
    left = max(0, max(least, replicas) - len(fresh))
    fewer = {"minReplicas": min(least, left), "scaleStrategy": {**strategy, "workersToDelete": list(names)}}
    return fewer | ({"replicas": left} if replicas > least else {})
