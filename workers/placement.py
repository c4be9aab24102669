"""Which GPUs a worker gets from Ray: one, or a placement group with one for each rank, named like the worker."""

from __future__ import annotations

import contextlib
from typing import Any

import ray
from ray.util import get_placement_group, placement_group, placement_group_table, remove_placement_group
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from orchestrator.ports import WorkerPlan


def options(plan: WorkerPlan) -> dict[str, Any]:
    """The options of a worker's actor, which leads if the worker has several GPUs."""
    return {"num_gpus": 1, "num_cpus": 0} if plan.gpus == 1 else in_bundle(group_of(plan), 0)


def group_of(plan: WorkerPlan) -> PlacementGroup:
    """The GPUs of a worker that has several, on as few nodes as can be: one bundle for each rank."""
    group: PlacementGroup
    try:
        group = get_placement_group(plan.name)
    except ValueError:
        bundles: list[dict[str, float]] = [{"GPU": 1} for _ in range(plan.gpus)]
        group = placement_group(bundles, strategy="PACK", name=plan.name, lifetime="detached")
    return group


def give_up(name: str) -> None:
    with contextlib.suppress(ValueError):  # a worker on one GPU has none
        remove_placement_group(get_placement_group(name))


def in_bundle(group: PlacementGroup, rank: int) -> dict[str, Any]:
    """The options of a rank's actor."""
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
    return {"num_gpus": 1, "num_cpus": 0, "scheduling_strategy": strategy}


def nodes(plan: WorkerPlan) -> set[str]:
    """The nodes that a worker is on, by their ids; called in its process."""
    if plan.gpus == 1:
        return {ray.get_runtime_context().get_node_id()}
    return set(placement_group_table(get_placement_group(plan.name))["bundles_to_node_id"].values())
