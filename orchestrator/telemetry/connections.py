"""Shows a process's connections to PostgreSQL, read when somebody looks: where they come and go nothing is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from weakref import WeakSet

from orchestrator.telemetry import metrics


class ConnectionPool(Protocol):
    """What is asked of SQLAlchemy's."""

    def size(self) -> int: ...

    def checkedin(self) -> int: ...

    def checkedout(self) -> int: ...


_pools: WeakSet[ConnectionPool] = WeakSet()


def watch(pool: ConnectionPool) -> None:
    """Show these connections for as long as their pool lives."""
    _pools.add(pool)


def _sum(count: Callable[[ConnectionPool], int]) -> Callable[[], float]:
    return lambda: sum(count(pool) for pool in list(_pools))


metrics.database_connections.labels("most").set_function(_sum(lambda pool: pool.size()))
metrics.database_connections.labels("open").set_function(_sum(lambda pool: pool.checkedin() + pool.checkedout()))
metrics.database_connections.labels("busy").set_function(_sum(lambda pool: pool.checkedout()))
