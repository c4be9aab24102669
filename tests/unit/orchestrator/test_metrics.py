"""What is counted at the edges: first steps, S3's answers, connections, and whose fault a failure is."""

from __future__ import annotations

import gc

import pytest
from prometheus_client import REGISTRY

from orchestrator.adapters.s3_timing import error_of
from orchestrator.telemetry import connections, metrics


@pytest.mark.parametrize(
    ("status", "error"),
    [(200, None), (404, None), (403, "refused"), (412, "refused"), (429, "busy"), (503, "busy"), (500, "server")],
)
def test_an_answer_of_s3_is_an_error_or_none(status: int, error: str | None) -> None:
    assert error_of(status) == error


class Pool:
    def size(self) -> int:
        return 1000

    def checkedin(self) -> int:
        return 200

    def checkedout(self) -> int:
        return 100


def connections_of(state: str) -> float:
    return REGISTRY.get_sample_value("cogmill_database_connections", {"state": state}) or 0.0


def test_connections_are_shown_for_as_long_as_their_pool_lives() -> None:
    states = ("most", "open", "busy")
    before = [connections_of(state) for state in states]
    pool = Pool()
    connections.watch(pool)
    assert [connections_of(state) - was for state, was in zip(states, before, strict=True)] == [1000, 300, 100]

    del pool
    gc.collect()

    assert connections_of("most") < 1000


def test_a_thousand_tenants_that_wait_are_three_series_of_a_pool() -> None:
    metrics.show_backlogs({"main": {f"tenant-{n}": float(n) for n in range(1000)}})

    def shown(name: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(name, {"pool": "main", **labels})

    assert shown("cogmill_tenants_waiting") == 1000
    assert shown("cogmill_backlog_seconds", part="all") == sum(range(1000))
    assert shown("cogmill_backlog_seconds", part="largest") == 999
    assert len(next(iter(metrics.backlog_seconds.collect())).samples) == 2

    metrics.show_backlogs({})
    assert shown("cogmill_tenants_waiting") is None
