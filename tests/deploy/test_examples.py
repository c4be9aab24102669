"""The values that OPERATIONS.md shows are accepted as they stand there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.helm import Helm, merged

OPERATIONS = (Path(__file__).parents[2] / "OPERATIONS.md").read_text()


def shown() -> Iterator[dict[str, Any]]:
    """The values after each YAML block of "On Kubernetes": over those before it, but for pools, which it replaces."""
    section = OPERATIONS.split("\n### On Kubernetes\n")[1].split("\n### ")[0]
    values: dict[str, Any] = {}
    for block in re.findall(r"```yaml\n(.*?)```", section, re.DOTALL):
        more = yaml.safe_load(block)
        values = merged(values, more)
        values["config"] |= {key: value for key, value in more.get("config", {}).items() if key == "pools"}
        yield values


def test_each_block_of_values_is_accepted(helm: Helm) -> None:
    every = list(shown())

    assert len(every) >= 2
    for values in every:
        helm.render(values)


def test_the_kinds_that_are_shown_become_groups_with_the_nodes_that_are_shown(helm: Helm) -> None:
    *_, values = shown()

    groups = helm.render(values).find("RayCluster", "")["spec"]["workerGroupSpecs"]

    assert {(group["groupName"], group["maxReplicas"]) for group in groups} == {("main-spot", 250), ("main-firm", 60)}
    for group in groups:
        kind = group["groupName"].removeprefix("main-")
        assert kind in group["template"]["spec"]["nodeSelector"].values()


def test_every_wait_for_pods_names_the_release() -> None:
    """Several releases may share a namespace."""
    selectors = re.findall(r"kubectl [^`\n]*-l (\S+)", OPERATIONS)

    assert selectors
    # A Ray cluster has a name of its own in each of them, and so has the owner of all clusters of a release.
    own = r"app.kubernetes.io/instance=|ray.io/cluster=|cogmill.io/release=NAME"
    assert all(re.search(own, selector) for selector in selectors)
