"""The places that the chart has values for: what they say, and what the page and the manifests make there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tests.support.helm import CHART, Helm, Rendered
from tests.support.tools import need_shared

ROOT = CHART.parents[1]
TRIAL = ROOT / "deploy" / "trial"
CLOUDS = (ROOT / "deploy" / "clouds.md").read_text()
PLACES = sorted(path.stem for path in (CHART / "values").glob("*.yaml"))
# Where the page has a place's commands.
HEADINGS = {
    "one-gpu": "One machine with a GPU",
    "eks-karpenter": "EKS with Karpenter",
    "gke-spot": "GKE with spot pools",
    "on-premises": "On-premises, without internet",
}
_RENDERED: dict[str, Rendered] = {}
_UNITS = {"": 1.0, "m": 1e-3, "Mi": 2.0**20, "Gi": 2.0**30}


def values_of(place: str) -> dict[str, Any]:
    return dict(yaml.safe_load((CHART / "values" / f"{place}.yaml").read_text()))


def rendered_at(helm: Helm, place: str) -> Rendered:
    """The chart with a place's values, rendered once."""
    if place not in _RENDERED:
        _RENDERED[place] = helm.render(values_of(place))
    return _RENDERED[place]


def ray_cluster(rendered: Rendered) -> dict[str, Any]:
    """The RayCluster of an installation, wherever the chart puts it."""
    return rendered.find("RayCluster", "")


def groups(rendered: Rendered) -> dict[str, dict[str, Any]]:
    """The worker groups, by name."""
    return {group["groupName"]: group for group in ray_cluster(rendered)["spec"]["workerGroupSpecs"]}


def manifests(*names: str) -> list[dict[str, Any]]:
    """The objects of these files of deploy/trial/, or of all."""
    paths = [TRIAL / name for name in names] or sorted(TRIAL.glob("*.yaml"))
    return [found for path in paths for found in yaml.safe_load_all(path.read_text())]


def trial_secrets() -> str:
    """What secrets.sh prints."""
    return subprocess.run(["sh", TRIAL / "secrets.sh"], check=True, capture_output=True, text=True).stdout


def section(heading: str) -> str:
    """A chapter of the page of commands."""
    return CLOUDS.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def shown(heading: str, language: str) -> str:
    """All code of a language in a chapter of the page."""
    return "\n---\n".join(re.findall(rf"```{language}\n(.*?)```", section(heading), re.DOTALL))


def objects_shown(heading: str) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all(shown(heading, "yaml")) if found]


@dataclass(frozen=True)
class Nodes:
    """Nodes of one kind, as a place's commands make them."""

    labels: Mapping[str, str]
    taints: tuple[tuple[str, str, str], ...]
    most: int | None


def nodes_of(place: str) -> list[Nodes]:
    """The kinds of GPU nodes that the commands of a place make."""
    pools = [found for found in objects_shown(HEADINGS[place]) if found["kind"] == "NodePool"]
    return [_karpenter(pool["spec"]) for pool in pools] or list(_by_shell(shown(HEADINGS[place], "sh")))


def _karpenter(spec: dict[str, Any]) -> Nodes:
    template = spec["template"]
    taints = tuple((taint["key"], taint["value"], taint["effect"]) for taint in template["spec"]["taints"])
    return Nodes(template["metadata"]["labels"], taints, int(spec["limits"]["nvidia.com/gpu"]))


def _by_shell(commands: str) -> Iterator[Nodes]:
    """`kubectl label` and `kubectl taint`, or gcloud's options, for each `kind` that they are repeated for."""
    label = re.search(r'(?:--node-labels "|kubectl label node "\$node" )([\w./-]+)=([\w$]+)', commands)
    taint = re.search(r'(?:--node-taints |kubectl taint node "\$node" )([\w./-]+)=(\w+):(\w+)', commands)
    most = re.search(r"--total-max-nodes (\d+)", commands)
    repeated = re.search(r"for kind in ([\w ]+);", commands)
    assert label
    assert taint
    for kind in repeated[1].split() if repeated else [label[2]]:
        value = kind if label[2] == "$kind" else label[2]
        yield Nodes({label[1]: value}, ((taint[1], taint[2], taint[3]),), int(most[1]) if most else None)


def tolerated(pod: Mapping[str, Any], taint: tuple[str, str, str]) -> bool:
    """As Kubernetes matches a toleration that names key, value and effect."""
    wanted = dict(zip(("key", "value", "effect"), taint, strict=True)) | {"operator": "Equal"}
    return wanted in pod.get("tolerations", [])


def secrets_made(place: str) -> set[tuple[str, str]]:
    """Secrets and their keys, as the commands of a place make them."""
    if place in ("trial", "one-gpu"):
        made = [found for found in yaml.safe_load_all(trial_secrets()) if found]
        return {(each["metadata"]["name"], key) for each in made for key in each["stringData"]}
    commands = shown("Secrets and the installation", "sh")
    return {
        (name, key)
        for name, rest in re.findall(r"create secret generic (\S+) (.*)", commands)
        for key in re.findall(r"--from-literal=([\w-]+)=", rest)
    }


def claims_made(place: str) -> set[str]:
    """PersistentVolumeClaims of the manifests and blocks that the commands of a place apply."""
    applied = manifests() if place == "trial" else objects_shown(HEADINGS[place])
    return {found["metadata"]["name"] for found in applied if found["kind"] == "PersistentVolumeClaim"}


def quantity(text: object) -> float:
    """A quantity of Kubernetes, of those units that we write."""
    found = re.fullmatch(r"([\d.]+)([A-Za-z]*)", str(text))
    assert found
    return float(found[1]) * _UNITS[found[2]]


def asked(pods: Iterable[Mapping[str, Any]], resource: str) -> float:
    """What these pods ask a node for."""
    return sum(quantity(each["resources"]["requests"][resource]) for pod in pods for each in pod["containers"])


def invalid(text: str) -> str:
    """What is wrong with these manifests under Pod Security `restricted`; skips the test without the validator."""
    command = [sys.executable, str(need_shared("validate_manifests.py")), "--kube-version", "1.34", "--pss-restricted"]
    run = subprocess.run(command, input=text, capture_output=True, text=True)
    return "" if run.returncode == 0 else run.stdout + run.stderr
