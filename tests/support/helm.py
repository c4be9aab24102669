"""Renders the chart into objects, as `helm template` does, and its template into those that the controller makes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.rolling.template import Wanted, wanted
from tests.support.tools import need

CHART = Path(__file__).parents[2] / "helm" / "cogmill"

# The same as the loader in Python, ten times as fast.
_SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# The least that an installation must say.
LEAST: dict[str, Any] = {
    "database": {"existingSecret": "cogmill-db"},
    "masterKey": {"existingSecret": "cogmill-key"},
    "config": {
        "default_model": "cogvideox-2b",
        "models": {"cogvideox-2b": {"family": "cogvideox-2b", "source": "/models/CogVideoX-2b"}},
        "pools": {"main": {"model": "cogvideox-2b", "workers": 1}},
    },
}


def merged(values: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Values over values, as Helm lays one file over another: maps merge, everything else is replaced."""
    both = dict(values)
    for key, value in more.items():
        old = both.get(key)
        both[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return both


def least(more: Mapping[str, Any]) -> dict[str, Any]:
    """The least, and more."""
    return merged(LEAST, more)


# A name that ends so is no other object's of the release.
OWNER, TEMPLATE = "-clusters-owner", "-clusters"


def named(objects: Sequence[Mapping[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The one object of that kind whose name ends in `name`."""
    [found] = [dict(each) for each in objects if each["kind"] == kind and each["metadata"]["name"].endswith(name)]
    return found


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes what has these labels; of expressions the chart has `In` only."""
    expressions = selector.get("matchExpressions", [])
    assert all(each["operator"] == "In" for each in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in expressions
    )


def documents(text: str) -> list[dict[str, Any]]:
    """The documents of YAML that hold something."""
    return [document for document in yaml.load_all(text, Loader=_SAFE) if document]


def chart_before() -> list[dict[str, Any]]:
    """What Helm applied when the RayCluster and its dispatcher were its own, recorded; hooks included."""
    return documents((CHART.parents[1] / "tests" / "deploy" / "chart_before.yaml").read_text())


def pods_of(objects: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod specification in these, under its object's name."""
    for found in objects:
        name, spec = found["metadata"]["name"], found.get("spec", {})
        if found["kind"] == "Pod":
            yield name, spec
        elif found["kind"] in ("Deployment", "Job"):
            yield name, spec["template"]["spec"]
        elif found["kind"] == "RayCluster":
            yield f"{name} head", spec["headGroupSpec"]["template"]["spec"]
            for group in spec["workerGroupSpecs"]:
                yield f"{name} {group['groupName']}", group["template"]["spec"]


@dataclass(frozen=True)
class Rendered:
    """What Helm printed, and the objects in it."""

    text: str

    @cached_property
    def printed(self) -> list[dict[str, Any]]:
        """What Helm applies."""
        return documents(self.text)

    @cached_property
    def template(self) -> dict[str, str]:
        """What the controller of the clusters reads."""
        return dict(named(self.printed, "ConfigMap", TEMPLATE)["data"])

    @cached_property
    def wanted(self) -> Wanted:
        """The cluster that the controller makes of it."""
        owner = named(self.printed, "ConfigMap", OWNER)["metadata"] | {"uid": "uid-of-the-owner"}
        return wanted(self.template, {"metadata": owner})

    @cached_property
    def objects(self) -> list[dict[str, Any]]:
        """Everything that there is in the end: what Helm applies, and what the controller makes of it."""
        made = self.wanted
        return [*self.printed, *(dict(each) for each in (made.ray_cluster, made.dispatcher, made.config))]

    @property
    def manifests(self) -> str:
        """The same as documents, for whoever validates them. In JSON: some digits of a hash are a number to YAML."""
        return "\n---\n".join(map(json.dumps, self.objects))

    def find(self, kind: str, name: str) -> dict[str, Any]:
        """The one object of that kind whose name ends in `name`."""
        return named(self.objects, kind, name)

    def pods(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every pod specification, under its object's name."""
        yield from pods_of(self.objects)


class Helm:
    """The `helm` program, at work on the chart of this repository."""

    def __init__(self, program: Path, folder: Path, chart: Path = CHART) -> None:
        self._program = program
        self._folder = folder
        self.chart = chart

    def of(self, chart: Path) -> Helm:
        """The same at work on another folder."""
        return Helm(self._program, self._folder, chart)

    def run(
        self, command: str, values: Mapping[str, Any], *options: str, release: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`helm COMMAND [RELEASE] CHART` with these values over the chart's."""
        path = self._folder / "values.json"
        path.write_text(json.dumps(values))
        argv = [self._program, command, *([release] if release else []), self.chart, "--values", path, *options]
        return subprocess.run(argv, capture_output=True, text=True)

    def render(self, values: Mapping[str, Any] = LEAST, *options: str, release: str = "cogmill") -> Rendered:
        """The chart's objects; fails the test when Helm refuses."""
        run = self.run("template", values, *options, release=release)
        assert run.returncode == 0, run.stderr
        return Rendered(run.stdout)

    def refuse(self, values: Mapping[str, Any], *, release: str = "cogmill") -> str:
        """What Helm says against these values; fails the test when it takes them."""
        run = self.run("template", values, release=release)
        assert run.returncode != 0, "helm took the values"
        return run.stderr


@pytest.fixture
def helm(tmp_path: Path) -> Helm:
    """Helm on this chart; skips the test where Helm is not installed."""
    return Helm(need("helm"), tmp_path)
