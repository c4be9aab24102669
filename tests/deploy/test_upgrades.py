"""No upgrade path of the chart conflicts, by a model of server-side apply: what Helm owns, and what others write."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.helm import CHART, LEAST, Helm, least, merged
from tests.support.ownership import Cluster, Conflict, Immutable, Release

REDIS = {"config": {"limits": {"storage": "redis://redis"}}}
HPA = merged(REDIS, {"api": {"autoscaling": {"enabled": True}}})
KEDA = merged(HPA, {"api": {"autoscaling": {"by": "keda", "triggers": [{"type": "cpu", "metadata": {"value": "60"}}]}}})
KINDS = {"config": {"pools": {"more": {"model": "cogvideox-2b", "kinds": {"spot": {"max": 4, "resource": "spot"}}}}}}
MADE = {"enabled": True, "secretStoreRef": {"name": "vault"}, "remote": {"databaseUrl": {"key": "prod/db"}}}

_RENDERED: dict[str, list[dict[str, Any]]] = {}


def owned(helm: Helm, values: dict[str, Any]) -> list[dict[str, Any]]:
    """What Helm applies: hooks are made and deleted beside it."""
    key = f"{helm.chart} {json.dumps(values, sort_keys=True)}"
    if key not in _RENDERED:
        every = helm.render(values).objects
        _RENDERED[key] = [found for found in every if "helm.sh/hook" not in found["metadata"].get("annotations", {})]
    return deepcopy(_RENDERED[key])


def clusters(cluster: Cluster) -> list[str]:
    return [name for kind, name in cluster.objects if kind == "RayCluster"]


def installed(helm: Helm, values: dict[str, Any]) -> tuple[Cluster, Release]:
    cluster = Cluster()
    release = Release(cluster)
    release.upgrade(owned(helm, values))
    return cluster, release


CHANGES: list[dict[str, Any]] = [
    {"image": {"tag": "2"}},
    {"workerImage": {"tag": "2"}},
    {"imagePullSecrets": [{"name": "registry"}]},
    {"serviceAccount": {"create": False}},
    {"config": {"log": {"level": "debug"}, "pools": {"main": {"workers": 4}}}},
    {"database": {"listenUrlKey": "direct"}},
    {"s3": {"existingSecret": "cogmill-s3"}},
    {"extraEnv": [{"name": "A", "value": "b"}]},
    {"extraVolumes": [{"name": "ca", "mountPath": "/ca", "volume": {"configMap": {"name": "ca"}}}]},
    {"secretsAsFiles": True},
    {"externalSecrets": MADE},
    {"caBundle": {"configMap": "ca"}},
    {"api": {"replicas": 5, "ingress": {"enabled": True, "host": "h.example"}, "service": {"port": 8080}}},
    {"dispatcher": {"drainSeconds": 900, "replicas": 0, "pod": {"labels": {"team": "video"}}}},
    {"maintainer": {"resources": {"requests": {"memory": "1Gi"}}}},
    {"migration": {"hook": False}},
    {"ray": {"version": "2.61.0", "worker": {"shmSize": "4Gi"}, "head": {"image": {"tag": "3"}}}},
    {"weights": {"volume": {"persistentVolumeClaim": {"claimName": "models"}}}},
    {"modelsCache": {"size": "200Gi"}},
    {"networkPolicy": {"enabled": False}},
    {"networkPolicy": {"egress": {"enabled": True, "postgres": {"to": [{"podSelector": {}}]}}}},
    {"ray": {"gcsFaultTolerance": {"backend": "rocksdb"}}},
    {"podDisruptionBudget": {"enabled": False}},
    {"monitoring": {"enabled": True}},
    {"test": {"waitSeconds": 10}},
    HPA,
    KEDA,
    KINDS,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: json.dumps(change)[:60])
def test_a_change_of_each_section_is_applied_taken_back_and_leaves_nothing(helm: Helm, change: dict[str, Any]) -> None:
    cluster, release = installed(helm, LEAST)
    before = {key: dict(found) for key, found in cluster.objects.items()}

    release.upgrade(owned(helm, least(change)))
    assert len(clusters(cluster)) == 1
    release.rollback()
    assert cluster.objects == before
    release.uninstall()
    assert not cluster.objects


def test_every_section_of_the_values_is_among_those_changes() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    untried = {"valuesVersion", "nameOverride", "fullnameOverride", "masterKey", "lookup"}

    assert {key for change in CHANGES for key in change} == set(values) - untried


def test_a_new_version_of_the_chart_changes_no_cluster(helm: Helm, tmp_path: Path) -> None:
    """Helm would wait for ever for a RayCluster whose spec changes without its pods (kuberay #1217)."""
    newer = shutil.copytree(CHART, tmp_path / "cogmill")
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    (newer / "Chart.yaml").write_text(yaml.safe_dump(chart | {"version": "9.9.9"}))
    cluster, release = installed(helm, LEAST)
    [name] = clusters(cluster)
    spec = {path: value for path, value in cluster.objects["RayCluster", name].items() if path[0] == "spec"}

    release.upgrade(owned(helm.of(newer), LEAST))

    assert clusters(cluster) == [name]
    assert {path: v for path, v in cluster.objects["RayCluster", name].items() if path[0] == "spec"} == spec


@pytest.mark.parametrize("scaled", [HPA, KEDA], ids=["hpa", "keda"])
def test_an_autoscaler_of_the_api_keeps_its_number_through_upgrades(helm: Helm, scaled: dict[str, Any]) -> None:
    cluster, release = installed(helm, LEAST)
    release.upgrade(owned(helm, least(scaled)))
    assert cluster.value("Deployment", "cogmill-api", "spec", "replicas") is None
    cluster.write("kube-controller-manager", "Deployment", "cogmill-api", ("spec", "replicas"), 6)

    release.upgrade(owned(helm, least(merged(scaled, {"image": {"tag": "2"}}))))

    assert cluster.value("Deployment", "cogmill-api", "spec", "replicas") == 6
    with pytest.raises(Conflict, match=r"kube-controller-manager: \.spec\.replicas"):
        release.upgrade(owned(helm, least(REDIS)))  # as OPERATIONS.md says
    release.upgrade(owned(helm, least(REDIS)), force=True)
    assert cluster.value("Deployment", "cogmill-api", "spec", "replicas") == 2


def test_an_autoscaler_of_somebody_elses_is_left_alone_with_null(helm: Helm) -> None:
    values = least({"api": {"replicas": None}})
    cluster, release = installed(helm, values)
    cluster.write("kube-controller-manager", "Deployment", "cogmill-api", ("spec", "replicas"), 6)

    release.upgrade(owned(helm, merged(values, {"image": {"tag": "2"}})))

    assert cluster.value("Deployment", "cogmill-api", "spec", "replicas") == 6


def test_a_dispatcher_is_stopped_and_started_by_values_and_kubectl_would_conflict(helm: Helm) -> None:
    cluster, release = installed(helm, LEAST)
    for replicas in (0, 1):
        release.upgrade(owned(helm, least({"dispatcher": {"replicas": replicas}})))
        assert cluster.value("Deployment", "cogmill-dispatcher", "spec", "replicas") == replicas

    cluster.write("kubectl", "Deployment", "cogmill-dispatcher", ("spec", "replicas"), 0)
    with pytest.raises(Conflict, match="kubectl"):
        release.upgrade(owned(helm, least({"workerImage": {"tag": "2"}})))


def test_more_workers_are_the_same_cluster_and_another_image_is_another_one(helm: Helm) -> None:
    cluster, release = installed(helm, LEAST)
    [first] = clusters(cluster)

    release.upgrade(owned(helm, least({"config": {"pools": {"main": {"workers": 7}}}})))
    assert clusters(cluster) == [first]
    [group] = cluster.value("RayCluster", first, "spec", "workerGroupSpecs")
    assert (group["minReplicas"], group["maxReplicas"]) == (7, 7)

    release.upgrade(owned(helm, least({"workerImage": {"tag": "2"}})))
    [second] = clusters(cluster)
    assert second != first
    release.rollback()
    assert clusters(cluster) == [first]


def test_rays_autoscaler_conflicts_with_an_upgrade_until_it_is_forced_or_makes_another_cluster(helm: Helm) -> None:
    """As OPERATIONS.md says: `workerGroupSpecs` is one list, and the autoscaler writes `replicas` into it."""
    cluster, release = installed(helm, least(KINDS))
    [name] = clusters(cluster)

    def autoscale() -> None:
        [*groups] = cluster.value("RayCluster", name, "spec", "workerGroupSpecs")
        scaled = [group | {"replicas": 3} for group in groups]
        cluster.write("ray-autoscaler", "RayCluster", name, ("spec", "workerGroupSpecs"), scaled)

    autoscale()
    with pytest.raises(Conflict, match=r"ray-autoscaler: \.spec\.workerGroupSpecs"):
        release.upgrade(owned(helm, least(merged(KINDS, {"api": {"replicas": 3}}))))
    release.upgrade(owned(helm, least(merged(KINDS, {"api": {"replicas": 3}}))), force=True)
    assert clusters(cluster) == [name]

    autoscale()
    release.upgrade(owned(helm, least(merged(KINDS, {"workerImage": {"tag": "2"}}))))
    assert name not in clusters(cluster)


def test_a_plain_job_is_applied_again_and_again(helm: Helm) -> None:
    """By `helm template | kubectl apply`, which deletes nothing, before and after the Job's time to live."""
    plain = {"migration": {"hook": False}}
    cluster = Cluster()
    for change in (
        {},
        {},
        {"image": {"tag": "2"}},
        {"config": {"log": {"level": "debug"}}},
        {"image": {"tag": "2"}},
        {},
    ):
        for found in owned(helm, least(merged(plain, change))):
            cluster.apply("kubectl", found)
    jobs = [name for kind, name in cluster.objects if kind == "Job"]
    assert len(jobs) == 3
    for name in jobs:
        cluster.delete("Job", name)
    for found in owned(helm, least(plain)):
        cluster.apply("kubectl", found)


def deployment(replicas: int | None, image: str = "a") -> dict[str, Any]:
    spec = {"image": image} | ({} if replicas is None else {"replicas": replicas})
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}


def test_the_model_holds_what_the_api_server_holds() -> None:
    """As Kubernetes documents server-side apply."""
    cluster = Cluster()
    cluster.apply("helm", deployment(2))
    cluster.write("hpa", "Deployment", "d", ("spec", "replicas"), 2)  # nothing changes, nobody takes it
    cluster.apply("helm", deployment(3))
    cluster.write("hpa", "Deployment", "d", ("spec", "replicas"), 5)
    cluster.apply("helm", deployment(5, "b"))  # the same value: both own it
    cluster.apply("helm", deployment(None, "b"))  # given up, and the other one's now
    assert cluster.value("Deployment", "d", "spec", "replicas") == 5
    with pytest.raises(Conflict, match=r"conflict with hpa: \.spec\.replicas"):
        cluster.apply("helm", deployment(2))
    cluster.apply("helm", deployment(2), force=True)
    cluster.apply("helm", deployment(None))
    assert cluster.value("Deployment", "d", "spec", "replicas") is None
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": {"a": 1}}}
    cluster.apply("helm", job)
    with pytest.raises(Immutable):
        cluster.apply("helm", job | {"spec": {"template": {"a": 2}}}, force=True)
