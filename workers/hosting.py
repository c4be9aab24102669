"""What Ray runs for a worker: its actor in a process of its own, and the actors of the ranks that follow it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import ray

# What Ray's own Train asks; the public `ray.nodes()` does not tell.
from ray._private.state import state
from ray.actor import ActorClass
from ray.exceptions import RayError
from ray.util import get_node_ip_address, get_placement_group

from orchestrator.domain.protocol import Answer, Assignment, Caller, WorkerStatus
from orchestrator.kit.importing import quickly
from orchestrator.ports import WorkerPlan
from orchestrator.telemetry import logs
from workers import placement
from workers.actor import RenderActor
from workers.engine.parts import Parts

# How often a worker asks whether its node has to go. A spot notice is 30 s.
DRAIN_LOOK_S = 2.0

# What the answer to a worker's last call may take to get out of its process.
GOODBYE_S = 0.5


class HostedRenderActor:
    """A `RenderActor` in a process of its own, which hands its renders back when it has to go.

    It has to on SIGTERM, and when Ray drains a node that it uses, which is all that a pod's SIGTERM comes to here: the
    raylet drains, signals nobody, and in the end kills (`RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S`).

    Whoever asks Ray for a worker by its name gets this class as its starter pickled it: by the names of all its
    methods. A release in whose tree one of them is missing cannot talk to it. So it has what is called, and no more.
    """

    _told_to_leave: threading.Event

    def __new__(cls, *arguments: object) -> Self:
        actor = super().__new__(cls)
        # Ray makes the object on the main thread, where alone a handler can be installed, and initializes it on
        # another. In whoever starts a worker it makes one as well, of a class that is both.
        if not issubclass(cls, ActorClass):
            actor._told_to_leave = threading.Event()
            signal.signal(signal.SIGTERM, lambda number, frame: actor._told_to_leave.set())
        return actor

    def __init__(self, plan: WorkerPlan) -> None:
        logs.configure(plan.log, worker=plan.name)
        self._plan = plan
        self._actor = RenderActor(plan, assemble=leading) if plan.gpus > 1 else RenderActor(plan)
        threading.Thread(target=self._leave_in_time, name="leave", daemon=True).start()

    async def poll(self, caller: Caller, version: int, timeout_s: float) -> WorkerStatus:
        return await self._actor.poll(caller, version, timeout_s)

    async def assign(self, caller: Caller, assignment: Assignment) -> Answer:
        return await self._actor.assign(caller, assignment)

    async def cancel(self, caller: Caller, token: UUID) -> None:
        await self._actor.cancel(caller, token)

    async def forget(self, caller: Caller, token: UUID) -> None:
        await self._actor.forget(caller, token)

    async def evict(self, caller: Caller, token: UUID) -> None:
        await self._actor.evict(caller, token)

    async def drain(self, caller: Caller, within_s: float | None = None) -> None:
        await self._actor.drain(caller, within_s)

    def _leave_in_time(self) -> None:
        log = logs.get("worker").bind(worker=self._plan.name)
        while not self._told_to_leave.wait(DRAIN_LOOK_S):
            try:
                if placement.nodes(self._plan).intersection(state.get_draining_nodes()):
                    break
            except Exception as error:  # Ray's head is away, and may come back
                log.warning("drain_unknown", error=str(error)[:200])
        log.warning("leaving", seconds=self._plan.engine.notice_s)
        self._actor.leave(self._plan.engine.notice_s)
        time.sleep(GOODBYE_S)
        # Ray starts the worker again, on a node that stays.
        os._exit(0)


class FollowerActor:
    """A rank that follows a `HostedRenderActor`, which made it and with which it ends."""

    def __new__(cls, *arguments: object) -> Self:
        if not issubclass(cls, ActorClass):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the leader needs it until it has left
        return super().__new__(cls)

    def __init__(self, plan: WorkerPlan, rank: int) -> None:
        logs.configure(plan.log, worker=plan.name, rank=rank)
        self._plan = plan
        self._rank = rank

    def follow(self, address: str) -> None:
        """Raises when the group is lost; returns when it could not be made."""
        with quickly():
            from workers.parallel.follower import follow  # imports torch

        follow(self._plan, self._rank, address)


def leading(plan: WorkerPlan, scratch: Path) -> Parts[Any]:
    """Assemble the plan's worker in this process, and its other ranks in the other bundles of its placement group."""
    with quickly():
        from workers.assembly import assemble  # imports torch
        from workers.parallel.group import Group
        from workers.parallel.meeting import Meeting

    def recruit(address: str) -> None:
        group = get_placement_group(plan.name)
        actor: Any = ray.remote(FollowerActor)
        ranks = range(1, plan.gpus)
        followers = [actor.options(**placement.in_bundle(group, rank)).remote(plan, rank) for rank in ranks]
        ends = [follower.follow.remote(address) for follower in followers]
        # The handles go along: Ray ends an actor that nobody holds.
        threading.Thread(target=_end_with, args=(followers, ends), name="ranks", daemon=True).start()

    host: Callable[[], str] = get_node_ip_address

    def meet(device: Any) -> Group:
        together = len(placement.nodes(plan)) == 1
        meeting = Meeting.on_one_node(scratch) if together else Meeting.across_nodes(host())
        return Group.led(plan.gpus, device, meeting, recruit)

    return assemble(plan, scratch, meet)


def _end_with(followers: list[Any], ends: list[Any]) -> None:
    """End this process as soon as one of its followers is lost; Ray ends the others then, and starts the group anew."""
    while ends:
        ended, ends = ray.wait(ends, num_returns=1)
        try:
            ray.get(ended)
        except RayError as error:
            logs.get("leader").critical("rank_lost", error=str(error)[:500])
            os._exit(1)
