"""The `Workers` port on Ray: detached, named actors in the deployment's namespace."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError, RayTaskError
from ray.util import list_named_actors

from orchestrator.domain.errors import WorkerError, WorkerLost, WorkerUnreachable
from orchestrator.domain.protocol import Answer, Assignment, Caller, WorkerStatus
from orchestrator.ports import WorkerPlan
from workers import placement
from workers.hosting import HostedRenderActor

T = TypeVar("T")

# A call that returns at once may take this many seconds before the worker counts as unreachable.
CALL_S = 10.0


class RayWorkers:
    """The workers of one Ray cluster in one namespace. Build it with `connect`."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._handles: dict[str, Any] = {}

    @classmethod
    def connect(cls, address: str | None, namespace: str) -> RayWorkers:
        """Join the cluster at `address` (`host:port`) as a driver. Blocks; raises `WorkerUnreachable`.

        Only actors of `namespace` are seen or touched, so that two deployments can share a cluster.
        """
        try:
            ray.init(address=address, namespace=namespace, log_to_driver=False, configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise WorkerUnreachable(_unlike(address, str(error)) or _silent(address, error)) from error
        return cls(namespace)

    def close(self) -> None:
        """Leave the cluster; the workers stay."""
        ray.shutdown()

    def gpus(self) -> float:
        """GPUs of all nodes, in use or not."""
        resources: Callable[[], dict[str, float]] = ray.cluster_resources
        return resources().get("GPU", 0.0)

    def bearers(self) -> dict[str, int]:
        """How many living nodes have each resource."""
        return placement.bearers()

    def startable(self) -> list[str] | None:
        """The resources of the nodes that an autoscaler may start; None where none has told Ray of them."""
        return placement.startable()

    async def list_workers(self) -> list[str]:
        return await asyncio.to_thread(_list_actors)

    async def nodes(self) -> Mapping[str, str]:
        return await asyncio.to_thread(placement.whereabouts)

    async def hosts(self) -> Mapping[str, Sequence[str]]:
        return await asyncio.to_thread(placement.hosts)

    async def leftovers(self) -> list[str]:
        # What is held first: a worker that is started meanwhile exists by the second look.
        held = await asyncio.to_thread(placement.held)
        return sorted(set(held) - set(await self.list_workers())) if held else []

    async def start(self, plan: WorkerPlan) -> None:
        self._handles[plan.name] = await asyncio.to_thread(self._start, plan)

    def _start(self, plan: WorkerPlan) -> Any:
        actor = ray.remote(HostedRenderActor).options(
            name=plan.name,
            namespace=self._namespace,
            lifetime="detached",
            get_if_exists=True,
            # Ray would wait for ever for a node that was taken away; who decides how many there are asks for another.
            max_restarts=0 if plan.may_vanish else -1,
            max_task_retries=0,
            **placement.options(plan),
        )
        return actor.remote(plan)

    async def kill(self, name: str, *, restart: bool) -> None:
        with contextlib.suppress(WorkerLost):
            handle = await self._handle(name)
            await asyncio.to_thread(ray.kill, handle, no_restart=not restart)
        if not restart:
            self._handles.pop(name, None)
            await asyncio.to_thread(placement.give_up, name)

    async def poll(self, name: str, caller: Caller, *, version: int, timeout_s: float) -> WorkerStatus:
        return await self._call(name, lambda actor: actor.poll.remote(caller, version, timeout_s), timeout_s + CALL_S)

    async def assign(self, name: str, caller: Caller, assignment: Assignment) -> Answer:
        return await self._call(name, lambda actor: actor.assign.remote(caller, assignment))

    async def cancel(self, name: str, caller: Caller, token: UUID) -> None:
        await self._call(name, lambda actor: actor.cancel.remote(caller, token))

    async def evict(self, name: str, caller: Caller, token: UUID) -> None:
        await self._call(name, lambda actor: actor.evict.remote(caller, token))

    async def forget(self, name: str, caller: Caller, token: UUID) -> None:
        await self._call(name, lambda actor: actor.forget.remote(caller, token))

    async def drain(self, name: str, caller: Caller, *, within_s: float | None = None) -> None:
        await self._call(name, lambda actor: actor.drain.remote(caller, within_s))

    async def _handle(self, name: str) -> Any:
        handle = self._handles.get(name)
        if handle is None:
            try:
                handle = await asyncio.to_thread(ray.get_actor, name, self._namespace)
            except ValueError:
                raise WorkerLost(f"no actor is named {name}") from None
            except RayError as error:
                raise WorkerUnreachable(str(error)) from error
            self._handles[name] = handle
        return handle

    async def _call(self, name: str, call: Callable[[Any], Awaitable[T]], timeout_s: float = CALL_S) -> T:
        """Call an actor and translate Ray's errors into ours. A reply that is lost leaves the call's effect open."""
        actor = await self._handle(name)
        try:
            async with asyncio.timeout(timeout_s):
                return await call(actor)
        except TimeoutError:
            raise WorkerUnreachable(f"{name} did not answer within {timeout_s:.0f} s") from None
        except ActorUnavailableError as error:
            raise WorkerUnreachable(f"{name}: {error}") from error
        except ActorDiedError as error:
            self._handles.pop(name, None)
            raise WorkerLost(f"{name}: {error}") from error
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, WorkerError):
                raise cause from None
            raise WorkerUnreachable(f"{name}: {error}") from error
        except RayError as error:
            raise WorkerUnreachable(f"{name}: {error}") from error


def _silent(address: str | None, error: Exception) -> str:
    return f"no Ray cluster answers at {address}: {error}"


def _unlike(address: str | None, said: str) -> str | None:
    """What is wrong where Ray refuses to join a cluster of other versions, as `check_version_info` of its utils does.

    Ray compares itself and Python to the patch level, for a driver as for every node that `ray start` would add.
    """
    versions = re.findall(r"^\s*(Ray|Python): (\S+)$", said, re.MULTILINE)
    if not said.startswith("Version mismatch") or len(versions) != 4:
        return None
    theirs, ours = ("Ray {Ray} on Python {Python}".format(**dict(part)) for part in (versions[:2], versions[2:]))
    return (
        f"the cluster at {address} runs {theirs}, and this process {ours}: they must be the same to the patch level;"
        " take all images from one build"
    )


def _list_actors() -> list[str]:
    # Asking for the nodes makes a driver whose head is gone for good abort instead of living on as a zombie.
    nodes: Callable[[], object] = ray.nodes
    nodes()
    return sorted(list_named_actors())
