"""The RayCluster has the pods that the pools need; its name says what they are made of."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.config.rendering import KindSettings, PoolSettings
from tests.support.helm import CHART, LEAST, Helm, Rendered, least, merged

# A RayCluster on standard input -> what Ray's autoscaler makes of its groups.
_READ = """
import json, sys
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr as read
print(json.dumps(read(json.load(sys.stdin))["available_node_types"]))
"""

KINDS: dict[str, Any] = LEAST | {
    "config": LEAST["config"]
    | {
        "pools": {
            "main": {
                "model": "cogvideox-2b",
                "gpus_per_worker": 2,
                "max_gpus": 400,
                "max_money_per_hour": 300,
                "kinds": {
                    "spot": {
                        "max": 250,
                        "price_per_gpu_hour": 1.1,
                        "speed": 0.8,
                        "start_s": 420,
                        "resource": "spot",
                        "may_vanish": True,
                    },
                    "firm": {"min": 3, "max": 60, "price_per_gpu_hour": 3.2, "resource": "firm"},
                },
            },
            "own": {"model": "cogvideox-2b", "workers": 3},
        }
    },
    "ray": {
        "worker": {"gpus": 4, "pod": {"nodeSelector": {"disk": "ssd"}}},
        "kinds": {
            "spot": {
                "gpus": 2,
                "pod": {"nodeSelector": {"capacity": "spot"}, "tolerations": [{"key": "spot", "operator": "Exists"}]},
                "terminationGracePeriodSeconds": 90,
                "idleTimeoutSeconds": 30,
                "resources": {"limits": {"memory": "48Gi"}},
            },
            "firm": {"priority": 3, "runtimeClassName": "nvidia", "gpuResource": "example.com/gpu"},
        },
    },
    "monitoring": {"enabled": True},
}


def cluster_of(rendered: Rendered) -> dict[str, Any]:
    return rendered.find("RayCluster", "")


def groups_of(rendered: Rendered) -> dict[str, dict[str, Any]]:
    return {group["groupName"]: group for group in cluster_of(rendered)["spec"]["workerGroupSpecs"]}


def container(group: dict[str, Any]) -> dict[str, Any]:
    [only] = group["template"]["spec"]["containers"]
    return only


@pytest.fixture
def scaled(helm: Helm) -> Rendered:
    return helm.render(KINDS)


@pytest.mark.parametrize(
    ("workers", "gpus", "pods"),
    [({"main": 1}, 1, 1), ({"main": 3}, 2, 2), ({"main": 3, "b": 5}, 4, 2), ({"main": 0}, 1, 0)],
)
def test_there_are_as_many_gpu_pods_as_the_pools_need(
    helm: Helm, workers: dict[str, int], gpus: int, pods: int
) -> None:
    pools = {name: {"model": "cogvideox-2b", "workers": count} for name, count in workers.items()}
    rendered = helm.render(least({"config": {"pools": pools}, "ray": {"worker": {"gpus": gpus}}}))

    [group] = cluster_of(rendered)["spec"]["workerGroupSpecs"]
    assert group["minReplicas"] == group["maxReplicas"] == pods
    assert "replicas" not in group
    assert group["rayStartParams"]["num-gpus"] == str(gpus)
    assert container(group)["resources"]["limits"]["nvidia.com/gpu"] == gpus


@pytest.mark.parametrize(
    ("pools", "gpus", "pods"),
    [
        ({"a": (1, 4)}, 4, 1),
        ({"a": (4, 3)}, 4, 4),
        ({"a": (3, 2), "b": (1, 2)}, 4, 2),
        ({"a": (1, 4), "b": (4, 1)}, 4, 2),
        ({"a": (0, 4), "b": (1, 1)}, 8, 1),
    ],
)
def test_no_worker_of_several_gpus_is_spread_over_pods(
    helm: Helm, pools: dict[str, tuple[int, int]], gpus: int, pods: int
) -> None:
    wanted = {
        name: {"model": "cogvideox-2b", "workers": workers, "gpus_per_worker": each}
        for name, (workers, each) in pools.items()
    }
    values = least({"config": {"pools": {"main": {"workers": 0}} | wanted}, "ray": {"worker": {"gpus": gpus}}})

    [group] = cluster_of(helm.render(values))["spec"]["workerGroupSpecs"]

    assert group["maxReplicas"] == pods


def test_workers_that_pools_share_are_counted_once_beside_their_own(helm: Helm) -> None:
    pools = {"main": {}, "own": {"model": "cogvideox-2b", "workers": 2}, "third": {"model": "cogvideox-2b"}}
    shared = {"set": {"pools": ["main", "own", "third"], "workers": 4}}
    values = least({"config": {"pools": {"main": {"workers": 0}} | pools, "shared": shared}})

    [group] = cluster_of(helm.render(values))["spec"]["workerGroupSpecs"]

    assert group["maxReplicas"] == 4 + 2 + 1  # that of main, which the chart's own values give it


def test_each_pools_kind_is_a_group_that_scales_between_its_bounds(scaled: Rendered) -> None:
    groups = groups_of(scaled)

    def told(name: str) -> tuple[int, ...]:
        return tuple(groups[name][key] for key in ("minReplicas", "maxReplicas", "priority", "idleTimeoutSeconds"))

    assert list(groups) == ["gpu", "main-firm", "main-spot"]
    assert (groups["gpu"]["minReplicas"], groups["gpu"]["maxReplicas"]) == (1, 1)  # three workers in a pod of four
    assert told("main-firm") == (2, 30, 3, 60)  # two workers of two GPUs in a pod
    assert told("main-spot") == (0, 250, 10, 30)
    assert not any("replicas" in group for group in groups.values())


def test_a_kinds_pods_are_the_workers_but_for_what_is_said_of_it(scaled: Rendered) -> None:
    groups = groups_of(scaled)
    spot, firm = (groups[f"main-{kind}"]["template"]["spec"] for kind in ("spot", "firm"))

    assert spot["nodeSelector"] == {"disk": "ssd", "capacity": "spot"}
    assert spot["tolerations"] == [{"key": "spot", "operator": "Exists"}]
    assert firm["nodeSelector"] == {"disk": "ssd"}
    assert firm["runtimeClassName"] == "nvidia"
    assert "tolerations" not in firm
    assert container(groups["main-spot"])["resources"]["limits"] == {"memory": "48Gi", "nvidia.com/gpu": 2}
    assert container(groups["main-firm"])["resources"]["limits"] == {"memory": "32Gi", "example.com/gpu": 4}


def test_a_worker_is_told_to_end_before_kubernetes_kills_it(scaled: Rendered) -> None:
    for name, grace in {"gpu": 60, "main-firm": 60, "main-spot": 90}.items():
        group = groups_of(scaled)[name]
        env = {each["name"]: each["value"] for each in container(group)["env"]}
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] == grace
        assert env["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == str(grace - 15)


def test_rays_autoscaler_reads_each_group_as_it_is_meant(scaled: Rendered) -> None:
    cluster = cluster_of(scaled)
    cluster["metadata"]["namespace"] = "default"

    # In a process of its own: Ray reads its network when it is imported, which other tests still have to set.
    command = [sys.executable, "-c", _READ]
    read = subprocess.run(command, input=json.dumps(cluster), capture_output=True, check=True, text=True)
    types = json.loads(read.stdout.splitlines()[-1])

    def told(name: str) -> tuple[Any, ...]:
        resources = types[name]["resources"]
        named = {key: value for key, value in resources.items() if key not in ("CPU", "memory")}
        return types[name]["min_workers"], types[name]["max_workers"], types[name].get("priority"), named

    assert told("main-spot") == (0, 250, 10, {"GPU": 2, "spot": 1})
    assert told("main-firm") == (2, 30, 3, {"GPU": 4, "firm": 1})
    assert told("gpu") == (1, 1, None, {"GPU": 4})


def test_ray_scales_by_its_own_autoscaler_only_where_there_are_kinds(helm: Helm, scaled: Rendered) -> None:
    spec = cluster_of(scaled)["spec"]
    options = spec["autoscalerOptions"]

    assert spec["enableInTreeAutoscaling"] is True
    assert options["version"] == "v2"
    assert {"name": "RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S", "value": "30"} in options["env"]
    fixed = cluster_of(helm.render())["spec"]
    assert fixed.keys() == {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
    assert all("idleTimeoutSeconds" not in group for group in fixed["workerGroupSpecs"])


def test_the_heads_kubernetes_token_is_in_the_autoscalers_container_only(scaled: Rendered) -> None:
    """KubeRay binds patch rights to the head's account; whoever holds Ray's token can read what the head mounts."""
    spec = cluster_of(scaled)["spec"]
    head = spec["headGroupSpec"]["template"]["spec"]
    [token] = [volume["name"] for volume in head["volumes"] if "projected" in volume]

    assert token in {mount["name"] for mount in spec["autoscalerOptions"]["volumeMounts"]}
    assert token not in {mount["name"] for mount in head["containers"][0]["volumeMounts"]}
    assert head["automountServiceAccountToken"] is False
    accounts = [pod["serviceAccountName"] for _, pod in scaled.pods()]
    assert accounts.count(head["serviceAccountName"]) == 1


def test_nobody_moves_pods_of_ray_to_save_a_node(scaled: Rendered) -> None:
    spec = cluster_of(scaled)["spec"]

    for part in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        annotations = part["template"]["metadata"]["annotations"]
        assert annotations["karpenter.sh/do-not-disrupt"] == "true"
        assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


def test_no_budget_of_disruptions_stops_a_drain(scaled: Rendered) -> None:
    budgets = [found for found in scaled.objects if found["kind"] == "PodDisruptionBudget"]

    assert [budget["spec"]["maxUnavailable"] for budget in budgets] == [1]
    assert budgets[0]["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert budgets[0]["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"] == "api"


def test_a_worker_without_a_gpu_asks_kubernetes_for_none(helm: Helm) -> None:
    [group] = groups_of(helm.render(least({"ray": {"worker": {"gpuResource": ""}}}))).values()

    assert set(container(group)["resources"]["limits"]) == {"memory"}
    assert group["rayStartParams"]["num-gpus"] == "1"  # Ray counts what it is told


@pytest.mark.parametrize(
    "changed",
    [
        {"workerImage": {"tag": "2"}},
        {"ray": {"version": "2.61.0"}},
        {"ray": {"worker": {"shmSize": "3Gi"}}},
        {"ray": {"head": {"resources": {"requests": {"cpu": "2"}}}}},
        {"weights": {"volume": {"persistentVolumeClaim": {"claimName": "models"}}}},
        {"ray": {"worker": {"pod": {"labels": {"team": "video"}}}}},
        {"ray": {"head": {"pod": {"annotations": {"moved": "2026-12-01"}}}}},
    ],
    ids=json.dumps,
)
def test_whatever_changes_a_pod_of_ray_makes_another_cluster(helm: Helm, changed: dict[str, Any]) -> None:
    before, after = helm.render(LEAST), helm.render(least(changed))

    assert cluster_of(before)["metadata"]["name"] != cluster_of(after)["metadata"]["name"]


@pytest.mark.parametrize(
    "changed",
    [
        {"config": {"pools": {"main": {"workers": 5}}}},
        {"config": {"log": {"level": "debug"}}},
        {"api": {"replicas": 3}},
        {"dispatcher": {"pod": {"labels": {"team": "video"}}}},
        {"clusters": {"roll": {"strategy": "in_place"}}},
    ],
    ids=json.dumps,
)
def test_nothing_else_does(helm: Helm, changed: dict[str, Any]) -> None:
    before, after = helm.render(LEAST), helm.render(least(changed))

    assert cluster_of(before)["metadata"]["name"] == cluster_of(after)["metadata"]["name"]


def test_how_many_pods_there_are_and_when_idle_ones_end_changes_no_name(helm: Helm) -> None:
    fewer = {"kinds": {"spot": {"max": 9}, "firm": {"min": 0}}, "max_gpus": 40}
    changed = {"config": {"pools": {"main": fewer}}, "ray": {"autoscaler": {"idleTimeoutSeconds": 90}}}
    before, after = helm.render(KINDS), helm.render(merged(KINDS, changed))

    assert before.wanted.name == after.wanted.name
    assert groups_of(before)["gpu"]["idleTimeoutSeconds"] == 60
    assert groups_of(after)["gpu"]["idleTimeoutSeconds"] == 90


def test_a_new_control_plane_or_chart_leaves_the_cluster_as_it_is(helm: Helm, tmp_path: Path) -> None:
    """Helm waits for ever for a RayCluster whose spec changes without its pods (kuberay #1217)."""
    newer = shutil.copytree(CHART, tmp_path / "cogmill")
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    (newer / "Chart.yaml").write_text(yaml.safe_dump(chart | {"version": "9.9.9"}))
    pinned = least({"workerImage": {"tag": "1"}, "image": {"tag": "1"}})

    old = cluster_of(helm.render(pinned))
    new = cluster_of(helm.of(newer).render(pinned | {"image": {"tag": "2"}}))

    assert (old["metadata"]["name"], old["spec"]) == (new["metadata"]["name"], new["spec"])


def test_the_chart_knows_every_key_of_a_pool(helm: Helm) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = schema["properties"]["config"]["properties"]["pools"]["additionalProperties"]["properties"]

    assert set(known) == set(PoolSettings.model_fields)
    assert set(known["kinds"]["additionalProperties"]["properties"]) == set(KindSettings.model_fields)
