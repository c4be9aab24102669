"""A template gives one cluster: a name that changes with its pods and nothing else, and clear words for mistakes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from orchestrator.domain.errors import ConfigError
from orchestrator.policy.rolling import Strategy
from orchestrator.rolling.template import CLUSTER_LABEL, RELEASE_LABEL, wanted
from tests.support.rolling import OWNER, owner, template


def name_of(**changes: Any) -> str:
    return wanted(template(**changes), owner()).name


def test_a_name_changes_with_the_pods() -> None:
    assert name_of() == name_of()
    assert name_of().startswith("cogmill-")
    assert name_of(worker="registry/cogmill-worker:2") != name_of()


@pytest.mark.parametrize(
    "change",
    [
        {"bounds": (1, 9)},
        {"control": "registry/cogmill:2"},
        {"chart": "cogmill-0.2.0"},
        {"config": "[pools.other]\n"},
        {"roll": {"strategy": "in_place"}},
    ],
)
def test_nothing_else_makes_another_cluster(change: dict[str, Any]) -> None:
    assert name_of(**change) == name_of()


def test_placeholders_are_filled_and_objects_find_their_cluster_and_their_owner() -> None:
    cluster = wanted(template(), owner())
    config = cluster.config["metadata"]["name"]
    pod = cluster.dispatcher["spec"]["template"]
    container = pod["spec"]["containers"][0]
    assert [it["value"] for it in container["env"]] == [cluster.name, f"{cluster.name}-head-svc:6379"]
    assert pod["spec"]["volumes"][0]["configMap"]["name"] == config
    assert config.startswith(f"{cluster.name}-")
    assert cluster.config["immutable"] is True
    selector = cluster.dispatcher["spec"]["selector"]["matchLabels"]
    assert selector[CLUSTER_LABEL] == pod["metadata"]["labels"][CLUSTER_LABEL] == cluster.name
    for body in (cluster.ray_cluster, cluster.dispatcher, cluster.config):
        metadata = body["metadata"]
        assert metadata["labels"][RELEASE_LABEL] == OWNER
        assert metadata["labels"][CLUSTER_LABEL] == cluster.name
        assert "app.kubernetes.io/instance" not in metadata["labels"]
        assert [it["uid"] for it in metadata["ownerReferences"]] == ["uid-of-the-owner"]


@pytest.mark.parametrize(
    ("config", "workerless"),
    [
        ("[pools.a]\n", False),
        ("[pools.a]\nworkers = 0\n", True),
        ("[pools.a]\nworkers = 0\n[pools.b]\nworkers = 2\n", False),
        ("[pools.a.kinds.spot]\nmax = 2\n", False),
        ('[pools.a]\n[pools.b]\nworkers = 0\n[shared.s]\npools = ["a", "b"]\nworkers = 0\n', True),
        ('[pools.a]\n[pools.b]\nworkers = 0\n[shared.s]\npools = ["a", "b"]\nworkers = 1\n', False),
    ],
)
def test_a_release_is_without_workers_where_no_pool_kind_or_shared_set_has_any(config: str, workerless: bool) -> None:
    assert wanted(template(config=config), owner()).target.workerless is workerless


def test_another_configuration_is_another_snapshot_and_another_dispatcher_of_the_same_cluster() -> None:
    one, other = wanted(template(), owner()), wanted(template(config="[pools.other]\n"), owner())
    assert one.name == other.name
    assert one.config["metadata"]["name"] != other.config["metadata"]["name"]
    assert one.dispatcher["metadata"]["annotations"] != other.dispatcher["metadata"]["annotations"]
    assert other.pools == {"other"}


def test_bounds_are_patched_for_the_group_that_they_are_meant_for() -> None:
    live = {"metadata": {"uid": "u"}, **{"spec": wanted(template(), owner()).ray_cluster["spec"]}}
    assert wanted(template(), owner()).bounds(live) == []
    patch = wanted(template(bounds=(1, 4)), owner()).bounds(live)
    assert patch == [
        {"op": "test", "path": "/metadata/uid", "value": "u"},
        {"op": "test", "path": "/spec/workerGroupSpecs/0/groupName", "value": "spot"},
        {"op": "add", "path": "/spec/workerGroupSpecs/0/minReplicas", "value": 1},
        {"op": "test", "path": "/spec/workerGroupSpecs/1/groupName", "value": "on-demand"},
        {"op": "add", "path": "/spec/workerGroupSpecs/1/minReplicas", "value": 1},
    ]


def test_a_roll_is_as_the_template_says() -> None:
    roll = wanted(template(roll={"strategy": "in_place", "deadline_s": 60, "grace_s": 5}), owner()).roll
    assert (roll.strategy, roll.deadline_s, roll.grace_s) == (Strategy.IN_PLACE, 60, 5)


def changed(key: str, change: Any) -> dict[str, str]:
    data = template()
    body = yaml.safe_load(data[key])
    change(body)
    return data | {key: yaml.safe_dump(body)}


MISTAKES: list[tuple[dict[str, str], str]] = [
    ({}, "raycluster.yaml: the template has no such key"),
    (template() | {"raycluster.yaml": "a: [b"}, "raycluster.yaml: while parsing"),
    (template() | {"raycluster.yaml": "kind: Pod"}, "raycluster.yaml: must be one RayCluster of ray.io/v1"),
    (template() | {"dispatcher.yaml": ""}, "dispatcher.yaml: the template has no such key"),
    (template() | {"cogmill.toml": ""}, "cogmill.toml: the template has no such key"),
    (template() | {"cogmill.toml": "pools ="}, "cogmill.toml: "),
    (template() | {"cogmill.toml": "[models.a]"}, "cogmill.toml: pools: there is none"),
    (template(roll={"strategy": "slowly"}), "roll.yaml: strategy: Input should be 'surge' or 'in_place'"),
    (template(roll={"grace_s": 900}), "roll.yaml: grace_s must be less than deadline_s") ,
    (template(roll={"deadline": 5}), "roll.yaml: deadline: Extra inputs"),
    (changed("raycluster.yaml", lambda it: it["metadata"].update(name="a" * 42)), "metadata.name 'aaa"),
    (changed("raycluster.yaml", lambda it: it["metadata"].update(name="4you")), "metadata.name '4you'"),
    (changed("raycluster.yaml", lambda it: it["metadata"].pop("name")), "raycluster.yaml: metadata.name is missing"),
    (changed("raycluster.yaml", lambda it: it["spec"].pop("headGroupSpec")), "spec.headGroupSpec is missing"),
    (changed("raycluster.yaml", lambda it: it["spec"].update(suspend=True)), "spec.suspend: must be left out"),
    (changed("raycluster.yaml", lambda it: it["spec"].update(upgradeStrategy={})), "spec.upgradeStrategy: must be"),
    (changed("raycluster.yaml", lambda it: it["spec"].update(workerGroupSpecs=[])), "must be a list of groups"),
    (
        changed("raycluster.yaml", lambda it: it["spec"]["workerGroupSpecs"][1].update(groupName="spot")),
        "spec.workerGroupSpecs[1].groupName: each group needs a name of its own",
    ),
    (
        changed("raycluster.yaml", lambda it: it["spec"]["workerGroupSpecs"][0].update(replicas=3)),
        "spec.workerGroupSpecs[0].replicas: must be left out: it belongs to Ray's autoscaler",
    ),
    (
        changed("raycluster.yaml", lambda it: it["spec"]["workerGroupSpecs"][0].update(minReplicas=5)),
        "spec.workerGroupSpecs[0]: minReplicas and maxReplicas must be whole numbers",
    ),
    (
        changed("raycluster.yaml", lambda it: it["spec"]["workerGroupSpecs"][0].pop("template")),
        "each group, and the head, must have a template",
    ),
    (changed("dispatcher.yaml", lambda it: it["spec"].update(replicas=2)), "a cluster has one dispatcher"),
    (changed("dispatcher.yaml", lambda it: it["spec"].pop("strategy")), "strategy Recreate"),
    (changed("dispatcher.yaml", lambda it: it["spec"].pop("selector")), "must have selector.matchLabels"),
    (
        template() | {"dispatcher.yaml": template()["dispatcher.yaml"].replace("@CLUSTER@", "x")},
        "dispatcher.yaml: @CLUSTER@ must stand where",
    ),
    (
        template() | {"dispatcher.yaml": template()["dispatcher.yaml"].replace("@CONFIG@", "x")},
        "dispatcher.yaml: @CONFIG@ must stand where",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("data", "words"), MISTAKES, ids=[words[:60] for _, words in MISTAKES])
def test_a_mistake_is_named_by_its_key_and_its_field(data: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        wanted(data, owner())
    assert words in str(caught.value)
