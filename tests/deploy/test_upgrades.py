"""No upgrade path of the chart conflicts, by a model of server-side apply: what Helm owns, and what others write."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.rolling.template import CLUSTER_LABEL, RELEASE_LABEL, Wanted, wanted
from tests.support.helm import CHART, LEAST, Helm, chart_before, least, merged, named, pods_of
from tests.support.ownership import KEEP, Cluster, Conflict, Immutable, Release
from tests.support.ownership import Path as FieldPath

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
        every = helm.render(values).printed
        _RENDERED[key] = [found for found in every if "helm.sh/hook" not in found["metadata"].get("annotations", {})]
    return deepcopy(_RENDERED[key])


def look(cluster: Cluster) -> Wanted:
    """What the controller makes of what Helm has applied, and leaves then; test_cluster_life.py runs the real one."""
    owner = ("ConfigMap", "cogmill-clusters-owner")
    template = cluster.objects["ConfigMap", "cogmill-clusters"]
    data = {path[1]: text for path, text in template.items() if path[0] == "data"}
    made = wanted(data, {"metadata": {"name": owner[1], "uid": cluster.uids[owner]}})
    for each in (made.config, made.ray_cluster, made.dispatcher):
        cluster.create("cogmill-clusters", each)
    return made


def helms(cluster: Cluster) -> dict[tuple[str, str], dict[FieldPath, Any]]:
    """All but what belongs to the controller."""
    owned_by = ("metadata", "ownerReferences")
    return {key: dict(found) for key, found in cluster.objects.items() if owned_by not in found}


def installed(helm: Helm, values: dict[str, Any]) -> tuple[Cluster, Release]:
    cluster = Cluster()
    release = Release(cluster)
    release.upgrade(owned(helm, values))
    look(cluster)
    return cluster, release


NEAR = {"to": [{"podSelector": {}}]}
CHANGES: list[dict[str, Any]] = [
    {"image": {"tag": "2"}},
    {"workerImage": {"tag": "2"}},
    {"imagePullSecrets": [{"name": "registry"}]},
    {"serviceAccount": {"create": False}, "clusters": {"pod": {"serviceAccount": {"name": "keeper"}}}},
    {"config": {"log": {"level": "debug"}, "pools": {"main": {"workers": 4}}}},
    {"database": {"listenUrlKey": "direct"}},
    {"s3": {"existingSecret": "cogmill-s3"}},
    {"extraEnv": [{"name": "A", "value": "b"}]},
    {"extraVolumes": [{"name": "ca", "mountPath": "/ca", "volume": {"configMap": {"name": "ca"}}}]},
    {"metricsToken": {"existingSecret": "cogmill-metrics"}},
    {"secretsAsFiles": True},
    {"externalSecrets": MADE},
    {"caBundle": {"configMap": "ca"}},
    {"api": {"replicas": 5, "ingress": {"enabled": True, "host": "h.example"}, "service": {"port": 8080}}},
    {"clusters": {"roll": {"strategy": "in_place", "graceSeconds": 0}, "database": {"urlKey": "narrow"}}},
    {"dispatcher": {"resources": {"requests": {"memory": "2Gi"}}, "pod": {"labels": {"team": "video"}}}},
    {"maintainer": {"resources": {"requests": {"memory": "1Gi"}}}},
    {"migration": {"hook": False}},
    {"ray": {"version": "2.61.0", "worker": {"shmSize": "4Gi"}, "head": {"image": {"tag": "3"}}}},
    {"weights": {"volume": {"persistentVolumeClaim": {"claimName": "models"}}}},
    {"modelsCache": {"size": "200Gi"}},
    {"networkPolicy": {"enabled": False}},
    {"networkPolicy": {"egress": {"enabled": True, "postgres": NEAR, "kubernetesApi": NEAR, "identity": NEAR}}},
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
    before = helms(cluster)

    release.upgrade(owned(helm, least(change)))
    look(cluster)
    release.rollback()
    look(cluster)
    assert helms(cluster) == before
    assert "RayCluster" not in {kind for kind, _ in before}
    release.uninstall()
    assert not cluster.objects


def test_every_section_of_the_values_is_among_those_changes() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    untried = {"valuesVersion", "nameOverride", "fullnameOverride", "masterKey", "lookup"}

    assert {key for change in CHANGES for key in change} == set(values) - untried


def newer(helm: Helm, folder: Path) -> Helm:
    """The same chart as another version."""
    copy = shutil.copytree(CHART, folder / "cogmill")
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    (copy / "Chart.yaml").write_text(yaml.safe_dump(chart | {"version": "9.9.9"}))
    return helm.of(copy)


def test_a_new_version_of_the_chart_changes_neither_cluster_nor_dispatcher(helm: Helm, tmp_path: Path) -> None:
    cluster, release = installed(helm, LEAST)
    first = look(cluster)

    release.upgrade(owned(newer(helm, tmp_path), LEAST))

    assert look(cluster) == first


def test_the_owner_of_the_clusters_is_never_changed(helm: Helm, tmp_path: Path) -> None:
    """A tool that replaces what differs would make one with another uid, and all clusters of the first would go."""
    every = [owned(helm, least(change)) for change in CHANGES] + [owned(newer(helm, tmp_path), LEAST)]
    owners = [named(objects, "ConfigMap", "-clusters-owner") for objects in every]

    assert owners == [owners[0]] * len(every)
    assert owners[0]["immutable"] is True


def test_a_new_worker_image_changes_what_the_controller_reads_and_no_pod_of_the_control_plane(helm: Helm) -> None:
    cluster, release = installed(helm, LEAST)
    before = helms(cluster)

    release.upgrade(owned(helm, least({"workerImage": {"tag": "2"}})))

    changed = {key for key, found in helms(cluster).items() if found != before[key]}
    assert changed == {("ConfigMap", "cogmill-clusters")}


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


def test_what_kubectl_has_scaled_to_nothing_comes_back_with_force(helm: Helm) -> None:
    """As OPERATIONS.md restores a database; under an HPA the API's number is nobody's whom Helm knows."""
    cluster, release = installed(helm, LEAST)
    for part in ("api", "maintainer", "clusters"):
        cluster.write("kubectl", "Deployment", f"cogmill-{part}", ("spec", "replicas"), 0)

    with pytest.raises(Conflict, match=r"kubectl: \.spec\.replicas"):
        release.upgrade(owned(helm, LEAST))
    release.upgrade(owned(helm, LEAST), force=True)

    found = {part: cluster.value("Deployment", f"cogmill-{part}", "spec", "replicas") for part in ("api", "clusters")}
    assert found == {"api": 2, "clusters": 1}
    release.upgrade(owned(helm, least(HPA)), force=True)
    cluster.write("kubectl", "Deployment", "cogmill-api", ("spec", "replicas"), 0)
    release.upgrade(owned(helm, least(HPA)), force=True)
    assert cluster.value("Deployment", "cogmill-api", "spec", "replicas") == 0


def test_an_autoscaler_of_somebody_elses_is_left_alone_with_null(helm: Helm) -> None:
    values = least({"api": {"replicas": None}})
    cluster, release = installed(helm, values)
    cluster.write("kube-controller-manager", "Deployment", "cogmill-api", ("spec", "replicas"), 6)

    release.upgrade(owned(helm, merged(values, {"image": {"tag": "2"}})))

    assert cluster.value("Deployment", "cogmill-api", "spec", "replicas") == 6


def test_more_workers_are_the_same_cluster_and_another_image_is_another_one(helm: Helm) -> None:
    cluster, release = installed(helm, LEAST)
    first = look(cluster)

    release.upgrade(owned(helm, least({"config": {"pools": {"main": {"workers": 7}}}})))
    more = look(cluster)
    assert more.name == first.name
    [bounds] = more.ray_cluster["spec"]["workerGroupSpecs"]
    assert (bounds["minReplicas"], bounds["maxReplicas"]) == (7, 7)

    release.upgrade(owned(helm, least({"workerImage": {"tag": "2"}})))
    assert look(cluster).name != first.name
    release.rollback()
    assert look(cluster).name == first.name


def test_rays_autoscaler_keeps_its_numbers_through_every_upgrade_without_force(helm: Helm) -> None:
    """`workerGroupSpecs` is one list, and the autoscaler writes `replicas` into it: it is nobody's whom Helm knows."""
    cluster, release = installed(helm, least(KINDS))
    name = look(cluster).name
    groups = cluster.value("RayCluster", name, "spec", "workerGroupSpecs")
    scaled = [group | {"replicas": 3} for group in groups]
    cluster.write("ray-autoscaler", "RayCluster", name, ("spec", "workerGroupSpecs"), scaled)

    more = {"config": {"pools": {"more": {"kinds": {"spot": {"max": 9}}}}}}
    for change in ({"image": {"tag": "2"}}, {"workerImage": {"tag": "2"}}, {"api": {"replicas": 3}}, more):
        release.upgrade(owned(helm, least(merged(KINDS, change))))
        look(cluster)
        release.rollback()
        look(cluster)
        assert cluster.value("RayCluster", name, "spec", "workerGroupSpecs") == scaled


def of_the_chart_before() -> list[dict[str, Any]]:
    return [found for found in chart_before() if "helm.sh/hook" not in found["metadata"].get("annotations", {})]


OLD = "cogmill-72c4c3fd"
BEFORE = {("RayCluster", OLD), ("Deployment", "cogmill-dispatcher")}


@pytest.mark.parametrize("kept", [False, True], ids=["as it is", "kept from Helm"])
def test_an_upgrade_from_the_chart_before_deletes_its_cluster_unless_that_is_kept(helm: Helm, kept: bool) -> None:
    cluster = Cluster()
    release = Release(cluster)
    release.upgrade(of_the_chart_before())
    assert cluster.objects.keys() >= BEFORE
    for kind, name in BEFORE if kept else ():  # as OPERATIONS.md says; the controller finds them by these labels
        cluster.write("kubectl", kind, name, KEEP, "keep")
        cluster.write("kubectl", kind, name, ("metadata", "labels", RELEASE_LABEL), "cogmill-clusters-owner")
        cluster.write("kubectl", kind, name, ("metadata", "labels", CLUSTER_LABEL), OLD)
    cluster.write("ray-autoscaler", "RayCluster", OLD, ("spec", "workerGroupSpecs"), [{"replicas": 3}])

    release.upgrade(owned(helm, LEAST))

    assert BEFORE & cluster.objects.keys() == (BEFORE if kept else set())
    assert look(cluster).name != OLD
    gone = {(it["kind"], it["metadata"]["name"]) for it in of_the_chart_before()} - cluster.objects.keys()
    assert gone == {("Service", "cogmill-dispatcher")} | (set() if kept else BEFORE)


def test_a_cluster_that_is_kept_from_the_chart_before_finds_its_accounts_and_its_configuration(helm: Helm) -> None:
    """Its dispatcher starts once more after the upgrade, and so may its pods."""
    there = {(found["kind"], found["metadata"]["name"]) for found in helm.render().printed}
    pods = {name: pod for name, pod in pods_of(of_the_chart_before()) if name.startswith((OLD, "cogmill-dispatcher"))}

    assert len(pods) == 3
    for pod in pods.values():
        assert ("ServiceAccount", pod["serviceAccountName"]) in there
        mounted = {each["configMap"]["name"] for each in pod["volumes"] if "configMap" in each}
        assert {("ConfigMap", name) for name in mounted} <= there


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
