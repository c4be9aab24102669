"""The values for real places are accepted, and name only what the commands and manifests for those places make."""

from __future__ import annotations

import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator import config
from tests.support.helm import CHART, Helm
from tests.support.places import (
    CLOUDS,
    HEADINGS,
    PLACES,
    asked,
    claims_made,
    groups,
    invalid,
    manifests,
    nodes_of,
    objects_shown,
    ray_cluster,
    rendered_at,
    secrets_made,
    section,
    shown,
    tolerated,
    values_of,
)
from tests.support.tools import need

# Places whose commands make GPU nodes with labels and taints.
LABELLED = ["eks-karpenter", "gke-spot", "on-premises"]
# The line of the page's table of notices that a place's values go by.
NOTICES = {
    "eks-karpenter": "EC2 spot under Karpenter",
    "gke-spot": "GKE spot, the pool as below",
    "on-premises": "on-demand, own machines",
    "one-gpu": "on-demand, own machines",
}
TAIL_S = 15  # by which a raylet ends before Kubernetes kills its pod
SEES_S = 2  # within which a worker sees that it must go
GIB = 2**30


def notices() -> dict[str, tuple[int | None, int, int]]:
    """Of each line of the table: the notice, where it is a number, the pods' grace period, and the engine's notice."""
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| (\d+) \| (\d+) \|$", section("Notice"), re.MULTILINE)
    return {
        where: (int(number[1]) if (number := re.match(r"(\d+) s", notice)) else None, int(grace), int(engine))
        for where, notice, grace, engine in rows
    }


def selector_of(group: dict[str, Any]) -> dict[str, str]:
    return dict(group["template"]["spec"].get("nodeSelector", {}))


def test_every_place_is_on_the_page_and_every_file_is_a_place() -> None:
    assert {*HEADINGS, "trial"} == set(PLACES)
    named = re.findall(r"`helm/cogmill/values/([\w-]+)\.yaml`", CLOUDS)
    assert sorted(named) == PLACES
    for place in PLACES:
        comment = (CHART / "values" / f"{place}.yaml").read_text()
        assert comment.startswith("# ")
        assert place == "trial" or f'deploy/clouds.md, "{HEADINGS[place]}"' in comment


def test_all_that_a_place_gets_is_valid_under_the_restricted_pod_security_standard(helm: Helm) -> None:
    """The chart, and what the page has the reader apply, but for Karpenter's kinds, which are its own.

    Each place is a release of its name, so that one look at all of them tells whose object it is.
    """
    every = [found for place in HEADINGS for found in objects_shown(HEADINGS[place])]
    known = [found for found in every if "karpenter" not in found["apiVersion"]]
    assert [found["kind"] for found in known] == ["PersistentVolumeClaim", "PersistentVolumeClaim", "Pod"]
    charts = [helm.render(values_of(place), release=place).manifests for place in PLACES]
    assert invalid("\n---\n".join([*charts, yaml.safe_dump_all(known)])) == ""


@pytest.mark.parametrize("place", PLACES)
def test_the_configuration_of_each_place_loads(
    helm: Helm, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cogmill.toml").write_text(
        rendered_at(helm, place).find("ConfigMap", "cogmill")["data"]["cogmill.toml"]
    )
    monkeypatch.setenv("COGMILL_CONFIG", str(tmp_path / "cogmill.toml"))
    monkeypatch.setenv("COGMILL_DATABASE_URL", "postgresql://cogmill@db/cogmill")
    monkeypatch.setenv("COGMILL_MASTER_KEY", "k" * 32)

    settings = config.load()

    assert settings.default_model in settings.models


@pytest.mark.parametrize("place", PLACES)
def test_pods_read_only_secrets_claims_and_files_that_the_commands_make(helm: Helm, place: str) -> None:
    rendered = rendered_at(helm, place)
    cluster = ray_cluster(rendered)["metadata"]["name"]
    pods = [pod for _, pod in rendered.pods()]
    env = [each for pod in pods for container in pod["containers"] for each in container.get("env", ())]
    refs = [each["valueFrom"]["secretKeyRef"] for each in env if "secretKeyRef" in each.get("valueFrom", {})]
    volumes = [volume for pod in pods for volume in pod.get("volumes", ())]

    # KubeRay makes the one with Ray's token.
    read = {(ref["name"], ref["key"]) for ref in refs if ref["name"] != cluster}
    assert {name for name, _ in read} >= {"cogmill-database", "cogmill-master-key"}
    assert read <= secrets_made(place)
    claims = {each["persistentVolumeClaim"]["claimName"] for each in volumes if "persistentVolumeClaim" in each}
    assert claims <= claims_made(place)
    commands = "" if place == "trial" else shown(HEADINGS[place], "sh")
    for pull in {each["name"] for pod in pods for each in pod.get("imagePullSecrets", ())}:
        assert f"create secret docker-registry {pull} " in commands
    own = {found["metadata"]["name"] for found in rendered.objects if found["kind"] == "ConfigMap"}
    for name in {each["configMap"]["name"] for each in volumes if "configMap" in each} - own:
        assert f"create configmap {name} " in commands


def test_a_ca_is_where_the_environment_says(helm: Helm) -> None:
    command = re.search(r"create configmap (\S+) --from-file=(\S+?)=", shown(HEADINGS["on-premises"], "sh"))
    assert command
    for name, pod in rendered_at(helm, "on-premises").pods():
        [container] = pod["containers"]
        env = {each["name"]: each.get("value") for each in container.get("env", ())}
        mounts = {each["name"]: each["mountPath"] for each in container.get("volumeMounts", ())}
        if "AWS_CA_BUNDLE" in env:
            [volume] = [each for each in pod["volumes"] if each.get("configMap", {}).get("name") == command[1]]
            assert env["AWS_CA_BUNDLE"] == f"{mounts[volume['name']]}/{command[2]}"
        assert ("AWS_CA_BUNDLE" in env) is not name.endswith((" head", "-test")), name


@pytest.mark.parametrize("place", LABELLED)
def test_every_group_of_workers_lands_on_nodes_that_the_commands_make(helm: Helm, place: str) -> None:
    kinds = nodes_of(place)
    for name, group in groups(rendered_at(helm, place)).items():
        [nodes] = [each for each in kinds if selector_of(group).items() <= each.labels.items()]
        assert all(tolerated(group["template"]["spec"], taint) for taint in nodes.taints), name
        assert nodes.most is None or group["maxReplicas"] <= nodes.most, name


@pytest.mark.parametrize("place", LABELLED)
def test_nothing_else_lands_there(helm: Helm, place: str) -> None:
    taints = {taint for nodes in nodes_of(place) for taint in nodes.taints}
    assert taints
    workers = tuple(f" {name}" for name in groups(rendered_at(helm, place)))
    for name, pod in rendered_at(helm, place).pods():
        if not name.endswith(workers):
            assert not any(tolerated(pod, taint) for taint in taints), name


def test_what_may_vanish_is_what_the_place_takes_back(helm: Helm) -> None:
    for place in ("eks-karpenter", "gke-spot"):
        kinds = values_of(place)["config"]["pools"]["main"]["kinds"]
        assert [kind for kind, said in kinds.items() if said.get("may_vanish")] == ["spot"]
    spot = {
        pool["metadata"]["name"]: requirement["values"]
        for pool in objects_shown(HEADINGS["eks-karpenter"])
        if pool["kind"] == "NodePool"
        for requirement in pool["spec"]["template"]["spec"]["requirements"]
        if requirement["key"] == "karpenter.sh/capacity-type"
    }
    assert spot == {"cogmill-spot": ["spot"], "cogmill-ondemand": ["on-demand"]}


def test_every_line_of_the_table_of_notices_has_room_for_a_checkpoint() -> None:
    table = notices()
    assert len(table) == 5
    for where, (notice, grace, engine) in table.items():
        assert grace >= engine + SEES_S + TAIL_S, where
        assert notice is None or notice >= engine + SEES_S, where


@pytest.mark.parametrize(("place", "line"), NOTICES.items())
def test_workers_have_the_time_that_the_table_says(helm: Helm, place: str, line: str) -> None:
    notice, grace, engine = notices()[line]
    for name, group in groups(rendered_at(helm, place)).items():
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] == grace, name
    assert notice is None or grace <= notice
    default = config.settings.Settings.model_fields["engine"].get_default().notice_s
    assert values_of(place)["config"].get("engine", {}).get("notice_s", default) == engine


def test_karpenter_ends_spot_workers_within_the_notice_and_replaces_no_node_that_has_any() -> None:
    """It evicts none that are marked do-not-disrupt (aws/karpenter-provider-aws #8276) but by this setting."""
    [spot] = [
        found["spec"]
        for found in objects_shown(HEADINGS["eks-karpenter"])
        if found["metadata"]["name"] == "cogmill-spot"
    ]
    notice, grace, _ = notices()[NOTICES["eks-karpenter"]]
    within = re.fullmatch(r"(\d+)s", spot["template"]["spec"]["terminationGracePeriod"])
    assert notice
    assert within
    assert grace <= int(within[1]) < notice
    assert {"nodes": "0", "reasons": ["Drifted"]} in spot["disruption"]["budgets"]


def test_the_pool_of_gke_gives_pods_the_notice_that_the_table_says() -> None:
    said = re.search(r"kubeletConfig: (\{.*\})", shown(HEADINGS["gke-spot"], "sh"))
    assert said
    kubelet = yaml.safe_load(said[1])
    given = kubelet["shutdownGracePeriodSeconds"] - kubelet["shutdownGracePeriodCriticalPodsSeconds"]
    assert given == notices()[NOTICES["gke-spot"]][0]


@pytest.mark.parametrize(("place", "made"), [("trial", ()), ("one-gpu", ("postgres.yaml", "s3.yaml"))])
def test_all_pods_fit_on_the_one_node_that_the_file_names(helm: Helm, place: str, made: tuple[str, ...]) -> None:
    """Beside what Kubernetes itself, KubeRay's operator and a device plugin take: 1.2 CPUs and 1 GiB."""
    size = re.search(r"(\d+) CPUs and (\d+) GB of memory", (CHART / "values" / f"{place}.yaml").read_text())
    assert size
    pods = [pod for _, pod in rendered_at(helm, place).pods()]
    pods += [found["spec"]["template"]["spec"] for found in manifests(*made) if "template" in found.get("spec", {})]

    assert len(pods) >= 8
    assert asked(pods, "cpu") <= float(size[1]) - 1.2
    assert asked(pods, "memory") <= float(size[2]) * 1e9 - GIB


def test_the_charts_package_has_the_files(tmp_path: Path) -> None:
    subprocess.run([need("helm"), "package", CHART, "--destination", tmp_path], check=True, capture_output=True)

    [package] = tmp_path.iterdir()
    with tarfile.open(package) as tar:
        packed = [name for name in tar.getnames() if name.startswith("cogmill/values/")]
    assert sorted(packed) == [f"cogmill/values/{place}.yaml" for place in PLACES]
