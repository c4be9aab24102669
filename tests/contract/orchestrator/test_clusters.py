"""What the controller makes of a release: installed, upgraded, its numbers changed, uninstalled, restored.

Real PostgreSQL, and a stand-in for the API server, as in the other files about clusters.
"""

from __future__ import annotations

import copy

import asyncpg
import pytest
import yaml

from orchestrator.domain.errors import ConfigError
from orchestrator.ports.kubernetes import Kind
from tests.support.rolling import COMING, NEW, OLD, OWNER, SERVING, TEMPLATE, Namespace, name_of, template


async def test_an_install_makes_one_cluster_with_its_dispatcher_and_snapshot_once(namespace: Namespace) -> None:
    namespace.install(OLD)
    await namespace.looks()
    name = name_of(OLD)
    assert namespace.clusters() == [name]
    assert namespace.server.names(Kind.DEPLOYMENT) == [f"{name}-dispatcher"]
    snapshot = next(each for each in namespace.server.names(Kind.CONFIG_MAP) if each.startswith(name))
    assert namespace.server.one(Kind.CONFIG_MAP, snapshot)["data"] == {"cogmill.toml": OLD["cogmill.toml"]}
    posts = [(plural, made) for method, plural, made, _ in namespace.server.log if method == "POST"]
    assert len(posts) == len(set(posts)) == 3
    assert await namespace.rows() == {name: COMING}
    await namespace.ready(OLD)
    await namespace.looks()
    assert await namespace.rows() == {name: SERVING}
    assert not [entry for entry in namespace.server.log if entry[0] in ("PUT", "PATCH", "DELETE")]


async def test_uninstalling_takes_everything_with_it_and_the_controller_does_not_make_it_anew(
    namespace: Namespace,
) -> None:
    namespace.install(OLD)
    await namespace.looks()
    namespace.server.one(Kind.CONFIG_MAP, OWNER)["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    before = dict(namespace.server.objects)
    await namespace.looks()
    assert namespace.server.objects == before
    namespace.server.remove(Kind.CONFIG_MAP, OWNER)
    assert list(namespace.server.objects) == [(Kind.CONFIG_MAP.plural, TEMPLATE)]
    with pytest.raises(ConfigError, match="there is no ConfigMap cogmill-release"):
        await namespace.looks()


async def test_bounds_change_in_place_and_leave_the_autoscalers_replicas_alone(namespace: Namespace) -> None:
    namespace.install(OLD)
    await namespace.looks()
    name = name_of(OLD)
    live = namespace.server.one(Kind.RAY_CLUSTER, name)
    for group in live["spec"]["workerGroupSpecs"]:
        group |= {"replicas": 3, "scaleStrategy": {"workersToDelete": ["pod-1"]}}
    before = copy.deepcopy(live["spec"])
    namespace.install(template(bounds=(1, 9)))
    await namespace.looks()
    after = namespace.server.one(Kind.RAY_CLUSTER, name)["spec"]
    for group, was in zip(after["workerGroupSpecs"], before["workerGroupSpecs"], strict=True):
        assert group == was | {"minReplicas": 1, "maxReplicas": 9}
    assert namespace.clusters() == [name]


async def test_an_upgrade_of_the_control_plane_replaces_the_dispatcher_and_rolls_no_worker(
    namespace: Namespace,
) -> None:
    namespace.install(OLD)
    await namespace.looks()
    before = copy.deepcopy(namespace.server.one(Kind.RAY_CLUSTER, name_of(OLD)))
    upgraded = template(control="registry/cogmill:2", chart="cogmill-0.2.0", config="[pools.small]\n[pools.b]\n")
    namespace.install(upgraded)
    await namespace.looks()
    assert namespace.server.one(Kind.RAY_CLUSTER, name_of(OLD)) == before
    pod = namespace.dispatcher(OLD)["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry/cogmill:2"
    mounted = namespace.server.one(Kind.CONFIG_MAP, pod["volumes"][0]["configMap"]["name"])
    assert mounted["data"]["cogmill.toml"] == upgraded["cogmill.toml"]


async def test_a_dispatcher_whose_selector_changes_is_made_anew(namespace: Namespace) -> None:
    namespace.install(OLD)
    await namespace.looks()
    body = yaml.safe_load(OLD["dispatcher.yaml"])
    for labels in (body["spec"]["selector"]["matchLabels"], body["spec"]["template"]["metadata"]["labels"]):
        labels["tier"] = "control"
    before = namespace.dispatcher(OLD)["metadata"]["uid"]
    namespace.install(OLD | {"dispatcher.yaml": yaml.safe_dump(body)})
    await namespace.looks()
    assert namespace.dispatcher(OLD)["metadata"]["uid"] != before
    assert namespace.dispatcher(OLD)["spec"]["selector"]["matchLabels"]["tier"] == "control"


async def test_objects_without_a_row_are_adopted_and_make_way_like_any_other(
    namespace: Namespace, database: asyncpg.Connection
) -> None:
    namespace.install(OLD)
    await namespace.looks()
    await database.execute("DELETE FROM ray_clusters")  # the database was restored
    namespace.install(NEW)
    await namespace.looks(1)
    assert (await namespace.row(OLD)).state is SERVING


async def test_the_release_of_another_namespace_keeps_its_cluster_of_the_same_name(namespace: Namespace) -> None:
    await namespace.store.add_cluster(name_of(OLD), "elsewhere/cogmill", SERVING, "first")
    namespace.install(OLD)
    await namespace.looks()
    assert namespace.clusters() == []
    assert [row.state for row in await namespace.store.clusters("elsewhere/cogmill")] == [SERVING]


async def test_a_template_that_cannot_be_changes_nothing(namespace: Namespace) -> None:
    namespace.install(OLD)
    await namespace.looks()
    before = copy.deepcopy(namespace.server.objects)
    namespace.install(NEW | {"raycluster.yaml": "kind: Pod"})
    with pytest.raises(ConfigError, match=r"raycluster\.yaml: must be one RayCluster"):
        await namespace.looks(1)
    del before[Kind.CONFIG_MAP.plural, TEMPLATE]
    assert {key: it for key, it in namespace.server.objects.items() if key[1] != TEMPLATE} == before
