"""`cogmill clusters`: what it shows and does, and what the controller must be told."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator import cli
from orchestrator.adapters.kubernetes import KubernetesApi
from orchestrator.config.clusters import load_clusters
from orchestrator.domain.errors import ConfigError
from tests.support.rolling import KEPT, OLD, Namespace


async def test_the_command_shows_each_cluster_and_lets_kept_ones_try_again(
    namespace: Namespace, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COGMILL_DATABASE_URL", database_url)
    namespace.install(OLD)
    await namespace.looks()
    await namespace.ready(OLD)
    row = await namespace.row(OLD)
    await namespace.store.move_cluster(row.name, row.version, KEPT, why="3 renders are left after 600 s")

    async def told(*arguments: str) -> str:
        result = await asyncio.to_thread(CliRunner().invoke, cli.app, ["clusters", *arguments])
        assert result.exit_code == 0, result.output
        return result.output

    shown = await told()
    assert row.name in shown
    assert "kept" in shown
    assert "small 2/2" in shown
    assert "3 renders are left after 600 s" in shown
    assert await told("retry") == f"{row.name}\n"
    assert await told("retry") == "no cluster was kept\n"


def test_what_the_controller_is_not_told_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("COGMILL_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("COGMILL_DATABASE_URL", "mysql://somewhere")
    with pytest.raises(ConfigError, match="COGMILL_CLUSTERS: Field required"):
        load_clusters()
    monkeypatch.setenv("COGMILL_CLUSTERS__OWNER", "o")
    with pytest.raises(ConfigError, match="COGMILL_CLUSTERS__TEMPLATE: Field required"):
        load_clusters()
    monkeypatch.setenv("COGMILL_CLUSTERS__TEMPLATE", "t")
    with pytest.raises(ConfigError, match="database_url must start with postgresql://"):
        load_clusters()


def test_outside_of_a_pod_the_controller_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match="automountServiceAccountToken"):
        KubernetesApi.in_pod(tmp_path, None)
