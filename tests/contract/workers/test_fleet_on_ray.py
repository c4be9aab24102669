"""Workers of kinds on Ray's real autoscaler: from zero to three nodes of two kinds and back, and what never comes."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.domain.errors import WorkerError
from orchestrator.domain.job import WorkerRef
from orchestrator.domain.protocol import Caller, WorkerStatus
from orchestrator.policy.demand import Demand
from orchestrator.ports import WorkerPlan
from tests.support.builders import a_status
from tests.support.control import hears
from tests.support.fake_nodes import autoscaling
from tests.support.ray import joined
from tests.support.scaling import Site

POOLS: dict[str, Any] = {
    "gpu": {
        "model": "small",
        "kinds": {
            # No node of the cluster has it.
            "gone": {"max": 1, "price_per_gpu_hour": 0.5, "start_s": 0.05, "resource": "nowhere"},
            "spot": {"max": 2, "price_per_gpu_hour": 1, "start_s": 1, "resource": "spot", "may_vanish": True},
            "firm": {"max": 2, "price_per_gpu_hour": 3, "start_s": 1, "resource": "firm"},
        },
    }
}
RULES = {
    "idle_s": 0.001,
    "surplus_s": 0.001,
    "patience": 60,
    "patience_s": 2,
    "backoff_s": 3600,
    "backoff_most_s": 3600,
}
NODES = {"spot-node": {"CPU": 0, "GPU": 1, "spot": 1}, "firm-node": {"CPU": 0, "GPU": 1, "firm": 1}}
WORK = Demand(backlog_s=1e6, due_s=1e6, required_rate=2.7, due_in_s=3e5, jobs=100)
TURN_S = 0.3


def _trivial() -> type:
    """A worker that loads nothing and renders nothing; made here, so that it is pickled by value."""

    class Trivial:
        def __init__(self, plan: WorkerPlan) -> None:
            self.plan, self.life = plan, uuid4().hex

        async def poll(self, caller: Caller, version: int, timeout_s: float) -> tuple[str, str]:
            return self.life, self.plan.fingerprint

        async def drain(self, caller: Caller, within_s: float | None = None) -> None:
            pass

    return Trivial


async def test_nodes_of_two_kinds_come_and_go_and_what_never_comes_is_withdrawn(
    ray_head: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers import cluster, placement

    monkeypatch.setattr(cluster, "HostedRenderActor", _trivial())
    with autoscaling(tmp_path, NODES, most=2) as head:
        async with joined(head.address) as pool:
            site = Site(WORK, pools=POOLS, rules=RULES, workers=pool)

            async def until(reached: Callable[[], bool]) -> None:
                async with asyncio.timeout(80):
                    while not reached():
                        await _turn(site, pool)

            await until(lambda: len(site.fleet.statuses()) == 3)
            # The cheapest kind was asked for first, and rests now, with nothing left of it.
            gone = site.known("gone")
            assert (gone.failures, gone.requested, gone.wanted) == (1, 0, 0)
            assert gone.rests_s > 3000
            names = ["gpu-firm-0", "gpu-spot-0", "gpu-spot-1"]
            assert sorted(await pool.nodes()) == names
            assert len(set((await pool.nodes()).values())) == 3
            assert {name: _kind_of(node) for name, node in (await pool.nodes()).items()} == {
                "gpu-firm-0": "firm", "gpu-spot-0": "spot", "gpu-spot-1": "spot",
            }  # fmt: skip
            # All nodes are processes of this host, of which none was given a name of its own.
            assert await pool.hosts() == {socket.gethostname(): names}
            # Without work all go, with their groups, and then their nodes.
            site.demand = Demand()
            await until(lambda: not site.fleet.workers and len(_alive()) == 1)
            assert placement.whereabouts() == {}
            assert await pool.list_workers() == []


async def _turn(site: Site, pool: Any) -> None:
    """One round of what the dispatcher's loops do, without claims."""
    site.now = time.monotonic()
    await site.autoscaler.run_once()
    await site.scaler.run_once()
    for name, worker in list(site.fleet.workers.items()):
        try:
            told: Any = await pool.poll(name, Caller(epoch=1), version=0, timeout_s=-9.9)
        except WorkerError:
            if worker.status is not None and name not in await _placed(pool):
                worker.status = worker.registered = None  # as its watcher leaves it
            continue
        life, plan = told
        status: WorkerStatus = a_status(worker=WorkerRef(name=name, incarnation=life), pool="gpu", plan=plan)
        hears(site.fleet, status, site.now)
    await asyncio.sleep(TURN_S)


async def _placed(pool: Any) -> set[str]:
    return {name for name, node in (await pool.nodes()).items() if node in _alive()}


def _alive() -> set[str]:
    import ray

    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def _kind_of(node: str) -> str:
    import ray

    (found,) = (each for each in ray.nodes() if each["NodeID"] == node)
    (kind,) = {"spot", "firm"} & set(found["Resources"])
    return kind
