"""Which GPUs a worker gets from Ray: one, or a placement group with one for each rank, named like the worker.

A worker of a kind always has a group, with the kind's resource in every bundle: it is what Ray's autoscaler sees as
demand, and what ends it when the worker is withdrawn before its node has come.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import ray

# The public API does not tell what an autoscaler may start.
from ray._private.state import state
from ray.util import get_placement_group, placement_group, placement_group_table, remove_placement_group
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from orchestrator.ports import WorkerPlan

# So little of a kind's resource that any number of workers finds it on a node.
_A_TRACE = 0.001


def options(plan: WorkerPlan) -> dict[str, Any]:
    """The options of a worker's actor, which leads if the worker has several GPUs."""
    if plan.gpus == 1 and plan.kind is None:
        return {"num_gpus": 1, "num_cpus": 0}
    return in_bundle(group_of(plan), 0)


def group_of(plan: WorkerPlan) -> PlacementGroup:
    """The GPUs of a worker that has a group, on as few nodes as can be: one bundle for each rank."""
    group: PlacementGroup
    try:
        group = get_placement_group(plan.name)
    except ValueError:
        trace = {} if plan.resource is None else {plan.resource: _A_TRACE}
        bundles: list[dict[str, float]] = [{"GPU": 1, **trace} for _ in range(plan.gpus)]
        group = placement_group(bundles, strategy="PACK", name=plan.name, lifetime="detached")
    return group


def give_up(name: str) -> None:
    with contextlib.suppress(ValueError):  # a worker on one GPU may have none
        remove_placement_group(get_placement_group(name))


def held() -> list[str]:
    """The names of the groups in this namespace; the table that Ray gives has those of all."""
    table = placement_group_table()
    return [
        group["name"]
        for key, group in table.items()
        if group["name"] and group["state"] != "REMOVED" and _is_ours(group["name"], key)
    ]


def _is_ours(name: str, key: str) -> bool:
    try:
        return bool(get_placement_group(name).id.hex() == key)
    except ValueError:  # another deployment's, or removed by now
        return False


def in_bundle(group: PlacementGroup, rank: int) -> dict[str, Any]:
    """The options of a rank's actor."""
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
    return {"num_gpus": 1, "num_cpus": 0, "scheduling_strategy": strategy}


def nodes(plan: WorkerPlan) -> set[str]:
    """The nodes that a worker is on, by their ids; called in its process."""
    if plan.gpus == 1:
        return {ray.get_runtime_context().get_node_id()}
    return set(placement_group_table(get_placement_group(plan.name))["bundles_to_node_id"].values())


def bearers() -> dict[str, int]:
    """How many living nodes have each resource."""
    nodes: Callable[[], list[dict[str, Any]]] = ray.nodes
    return dict(Counter(name for node in nodes() if node["Alive"] for name in node["Resources"]))


def startable() -> list[str] | None:
    """The resources of the nodes that an autoscaler may start; None where none has told Ray of them."""
    offered: dict[str, int] | None = state.get_max_resources_from_cluster_config()
    return None if offered is None else sorted(name for name, most in offered.items() if most > 0)


def hosts() -> dict[str, list[str]]:
    """Each living host with GPUs, and the names of the actors and of the groups that are there."""
    nodes: Callable[[], list[dict[str, Any]]] = ray.nodes
    names = {
        node["NodeID"]: _name_of(node) for node in nodes() if node["Alive"] and node["Resources"].get("GPU", 0.0) > 0
    }
    found: dict[str, set[str]] = {host: set() for host in names.values()}
    for state_of in ("ALIVE", "PENDING_CREATION"):
        for actor in state.actor_table(None, None, state_of).values():
            host = names.get(actor["Address"]["NodeID"])
            if host is not None and actor["Name"]:
                found[host].add(actor["Name"])
    for name, where in whereabouts().items():
        for node in where.split():
            if node in names:
                found[names[node]].add(name)
    return {host: sorted(there) for host, there in found.items()}


def _name_of(node: dict[str, Any]) -> str:
    """What a node was named by `ray start --node-name`, where it was; Ray takes its address otherwise."""
    return str(node["NodeManagerHostname"] if node["NodeName"] == node["NodeManagerAddress"] else node["NodeName"])


def whereabouts() -> dict[str, str]:
    """On which node each worker that has a group is, by its name; of one that is on several, all of them.

    Other deployments' are among them. One that is named like ours has its group's key behind its name.
    """
    placed = {
        key: group
        for key, group in placement_group_table().items()
        if group["state"] == "CREATED" and any(group["bundles_to_node_id"].values())
    }
    times = Counter(group["name"] for group in placed.values())
    found = {}
    for key, group in placed.items():
        name = group["name"]
        known = name if times[name] == 1 or _is_ours(name, key) else f"{name} {key}"
        found[known] = " ".join(sorted({node for node in group["bundles_to_node_id"].values() if node}))
    return found
