"""Placement groups of real Ray that are left without their actor: found by name, in one's own namespace alone."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from orchestrator.ports import WorkerPlan
from tests.support.ray import Head, joined
from tests.support.workers import a_plan


def _idle() -> type:
    """A worker that does nothing; made here, so that it is pickled by value."""

    class Idle:
        def __init__(self, plan: WorkerPlan) -> None:
            self.plan = plan

    return Idle


def spot(name: str) -> WorkerPlan:
    return replace(a_plan(), name=name, kind="spot", may_vanish=True)


async def test_groups_without_an_actor_are_found_and_given_back_and_no_other_deployment_s(
    ray_head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers import cluster, placement

    monkeypatch.setattr(cluster, "HostedRenderActor", _idle())
    async with joined(ray_head.address, "another") as pool:
        placement.group_of(spot("gpu-spot-0"))
        placement.group_of(spot("gpu-spot-9"))
    try:
        async with joined(ray_head.address) as pool:
            placement.group_of(spot("gpu-spot-9"))  # of the same name as the other's
            await pool.start(spot("gpu-spot-1"))
            assert await pool.leftovers() == ["gpu-spot-9"]
            deadline = time.monotonic() + 30
            while len(await pool.nodes()) < 4:
                assert time.monotonic() < deadline, "they are never placed"
                await asyncio.sleep(0.1)
            ours, others = {"gpu-spot-1", "gpu-spot-9"}, {"gpu-spot-0"}
            assert {name for name in await pool.nodes() if " " not in name} == ours | others
            await pool.kill("gpu-spot-9", restart=False)
            assert await pool.leftovers() == []
            await pool.kill("gpu-spot-1", restart=False)
    finally:
        async with joined(ray_head.address, "another") as pool:
            left = await pool.leftovers()
            for name in left:
                await pool.kill(name, restart=False)
    assert left == ["gpu-spot-0", "gpu-spot-9"]
