"""Nodes that are held for workers that do not exist: what a dispatcher leaves that dies half-way through ending one."""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.dispatch.cluster import Cluster
from orchestrator.telemetry import aside, logs

_log = logs.get("leftovers")

# A worker that is just being started by somebody has what is held for it a moment before it exists itself.
GRACE_S = 60.0


class Leftovers:
    """Gives back what is held under a name that nobody wants and that no worker has, seen so for a while."""

    def __init__(self, cluster: Cluster, wanted: Collection[str]) -> None:
        self._cluster = cluster
        self._wanted = wanted
        # Since when each has been seen.
        self._since: dict[str, float] = {}

    async def run_once(self) -> list[str]:
        """Look, and give back what has been left for long enough; its names."""
        cluster, now = self._cluster, self._cluster.clock.monotonic()
        held = await cluster.workers.leftovers()
        left = [name for name in held if name not in self._wanted and name not in cluster.fleet.workers]
        self._since = {name: self._since.get(name, now) for name in left}
        late = [name for name, since in self._since.items() if now - since >= GRACE_S]
        given = []
        for name in late:
            with aside.unless_it_breaks("leftovers", worker=name):
                await cluster.workers.kill(name, restart=False)
                _log.warning("left_behind", worker=name)
                given.append(name)
        return given
