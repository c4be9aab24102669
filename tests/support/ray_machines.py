"""Real Ray for the objects of the stand-in API server: a head for each RayCluster, a node for each pod, a dispatcher.

The dispatchers are the product's, but for a model whose steps are timed; each runs in a process of its own with the
environment and the configuration that its Deployment and its ConfigMap have. What is deleted is killed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.local import process, ray
from orchestrator.local.process import ProcessId
from orchestrator.ports.kubernetes import Kind
from tests.support.kuberay import KubeRay
from tests.support.ray import Head
from tests.support.sockets import free_port
from tests.support.sources import ROOT

_DISPATCHER = """
from workers import cluster
from tests.support.timed_workers import TimedActor
cluster.HostedRenderActor = TimedActor
from orchestrator.cli import main
main()
"""

# As Ray's fake provider starts nodes: `ray start` has none join on the loopback.
_NODE = """
import signal, sys
from ray._private.node import Node
from ray._private.parameter import RayParams
address, name = sys.argv[1:]
has = {"node_name": name, "num_cpus": 1, "num_gpus": 1, "object_store_memory": 75 * 2**20}
ports = {"min_worker_port": 0, "max_worker_port": 0, "dashboard_agent_listen_port": 0, "dashboard_port": None}
params = RayParams(gcs_address=address, redis_address=address, include_log_monitor=False, **has, **ports)
Node(params, head=False, shutdown_at_exit=False, spawn_reaper=False)
print("joined", flush=True)
signal.pause()
"""


@dataclass
class Machines:
    """Call `reconcile` as often as the world turns."""

    kuberay: KubeRay
    directory: Path
    heads: dict[str, Head] = field(default_factory=dict)
    # Nodes by pod, dispatchers by cluster.
    nodes: dict[str, ProcessId] = field(default_factory=dict)
    dispatchers: dict[str, ProcessId] = field(default_factory=dict)

    async def reconcile(self) -> None:
        """Start what is missing, and end what there is no object for any more."""
        self.kuberay.reconcile()
        clusters = self.kuberay.server.names(Kind.RAY_CLUSTER)
        pods = {pod: cluster for cluster in clusters for pod in self.kuberay.pods(cluster)}
        deployed = {it.removesuffix("-dispatcher") for it in self.kuberay.server.names(Kind.DEPLOYMENT)}
        for gone in set(self.nodes) - set(pods):
            process.kill_all(ray.session(self.nodes.pop(gone).pid))
        for gone in set(self.dispatchers) - deployed:
            process.kill_all(ray.session(self.dispatchers.pop(gone).pid))
        for gone in set(self.heads) - set(clusters):
            self._stop(self.heads.pop(gone))
        for cluster in set(clusters) - set(self.heads):
            self.heads[cluster] = await asyncio.to_thread(self._head, cluster)
        for cluster in (deployed & set(self.heads)) - set(self.dispatchers):
            self.dispatchers[cluster] = self._dispatcher(cluster)
        for pod in set(pods) - set(self.nodes):
            # A driver joins any node of its host, and ends with it: so the head is the only one when it does.
            # And of two that start at once on one host, one may find no place for its sockets.
            if '"dispatching"' in self._said(pods[pod]) and all("joined" in self._said(it) for it in self.nodes):
                self.nodes[pod] = self._node(pod, self.heads[pods[pod]])

    def _said(self, who: str) -> str:
        """What a dispatcher or a node has logged."""
        path = self.directory / f"{who}.log"
        return path.read_text() if path.exists() else ""

    def stop(self) -> None:
        """End everything."""
        for id_ in (*self.dispatchers.values(), *self.nodes.values()):
            process.kill_all(ray.session(id_.pid))
        for head in self.heads.values():
            self._stop(head)

    def _head(self, cluster: str) -> Head:
        port, temp_dir, log = free_port(), ray.make_temp_dir(), self.directory / f"{cluster}-head.log"
        id_ = ray.start(port, temp_dir, log, gpus=0)
        ray.wait_ready(id_, port, temp_dir, log=log)
        return Head(f"127.0.0.1:{port}", id_, temp_dir)

    def _node(self, pod: str, head: Head) -> ProcessId:
        env = {"TMPDIR": str(head.temp_dir)}
        return self._spawn("python", "-c", _NODE, head.address, pod, log=pod, env=env)

    def _dispatcher(self, cluster: str) -> ProcessId:
        pod = self.kuberay.server.one(Kind.DEPLOYMENT, f"{cluster}-dispatcher")["spec"]["template"]["spec"]
        env = {each["name"]: each["value"] for each in pod["containers"][0]["env"]}
        config = self.directory / f"{cluster}.toml"
        mounted = pod["volumes"][0]["configMap"]["name"]
        config.write_text(self.kuberay.server.one(Kind.CONFIG_MAP, mounted)["data"]["cogmill.toml"])
        env |= {"COGMILL_RAY__ADDRESS": self.heads[cluster].address, "COGMILL_CONFIG": str(config)}
        return self._spawn("python", "-c", _DISPATCHER, "dispatch", log=cluster, env=env)

    def _spawn(self, program: str, *arguments: str, log: str, env: dict[str, str]) -> ProcessId:
        command = [Path(sys.executable).with_name(program), *arguments]
        whole = {**os.environ, "PYTHONPATH": str(ROOT), **env}
        return process.spawn(command, log=self.directory / f"{log}.log", env=whole, cwd=ROOT)

    @staticmethod
    def _stop(head: Head) -> None:
        ray.stop(head.id, head.temp_dir)
        shutil.rmtree(head.temp_dir, ignore_errors=True)


@asynccontextmanager
async def living(machines: Machines) -> AsyncIterator[None]:
    """The machines turn as long as the block lasts, and all end with it."""

    async def turn() -> None:
        while True:
            await machines.reconcile()
            await asyncio.sleep(0.2)

    turning = asyncio.create_task(turn())
    try:
        yield
    finally:
        turning.cancel()
        await asyncio.gather(turning, return_exceptions=True)
        machines.stop()
