"""What a release asks for, in a ConfigMap -> the objects of one cluster, under a name that hashes its pods. Pure."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError

from orchestrator.config.clusters import RollSettings, explained
from orchestrator.domain.errors import ConfigError
from orchestrator.policy.rolling import Target
from orchestrator.ports.kubernetes import Kind, KubeObject

# Whose an object is: the ConfigMap that owns it, and the cluster that it belongs to.
RELEASE_LABEL, CLUSTER_LABEL = "cogmill.io/release", "cogmill.io/cluster"
# Hash of the object as it was asked for: what the API server has added since does not count.
HASH_ANNOTATION = "cogmill.io/template-hash"
# In any string of the two templates these stand for the cluster, and for the ConfigMap with its `cogmill.toml`.
CLUSTER, CONFIG = "@CLUSTER@", "@CONFIG@"

# KubeRay refuses a longer name, and one that is no DNS label of RFC 1035 (kuberay v1.7, ray-operator/controllers/ray/
# utils/validation.go: ValidateRayClusterMetadata, MaxRayClusterNameLength 53). `<name>-dispatcher` fits in 63 then.
_MAX_NAME = 50
_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
# Of a worker group what may change while its pods run: Ray's autoscaler reads them anew each time, and KubeRay keeps
# the pods between them (kuberay v1.7, utils/util.go: GetWorkerGroupDesiredReplicas).
_BOUNDS = ("minReplicas", "maxReplicas", "idleTimeoutSeconds")
# Ray's autoscaler writes these (ray 2.60, autoscaler/v2/instance_manager/cloud_providers/kuberay/cloud_provider.py).
_AUTOSCALERS = ("replicas", "scaleStrategy")
# These would make KubeRay delete pods that render (kuberay v1.7, raycluster_controller.go: reconcilePods).
_DANGEROUS = ("upgradeStrategy", "suspend")
# Labels that change with each version of the chart, whatever the pods are.
_OF_THE_CHART = ("helm.sh/chart", "app.kubernetes.io/version", "app.kubernetes.io/managed-by")
# By this one Argo CD takes an object for its own, and prunes it where its repository has none.
_OF_THE_INSTALLER = "app.kubernetes.io/instance"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One cluster as the release asks for it."""

    name: str
    ray_cluster: Mapping[str, Any]
    dispatcher: Mapping[str, Any]
    config: Mapping[str, Any]
    pools: frozenset[str]
    # Those whose workers come and go with the work.
    elastic: frozenset[str]
    # Whether none of them ever has any.
    workerless: bool
    roll: RollSettings

    @property
    def target(self) -> Target:
        return Target(
            name=self.name, pools=self.pools, strategy=self.roll.strategy, deadline_s=self.roll.deadline_s,
            elastic=self.elastic, workerless=self.workerless,
        )  # fmt: skip

    def bounds(self, live: KubeObject) -> list[dict[str, Any]]:
        """The JSON patch that gives the groups of a cluster that runs their bounds; empty when they have them.

        Each group is named before it is touched: the list is addressed by place, and others write to it.
        """
        patch: list[dict[str, Any]] = []
        there = live["spec"].get("workerGroupSpecs") or []
        for place, (asked, has) in enumerate(zip(self.ray_cluster["spec"]["workerGroupSpecs"], there, strict=False)):
            path = f"/spec/workerGroupSpecs/{place}"
            changes: list[dict[str, Any]] = [
                {"op": "add", "path": f"{path}/{key}", "value": asked[key]}
                for key in _BOUNDS
                if key in asked and has.get(key) != asked[key]
            ]
            if "idleTimeoutSeconds" in has and "idleTimeoutSeconds" not in asked:
                changes.append({"op": "remove", "path": f"{path}/idleTimeoutSeconds"})
            if changes:
                patch += [{"op": "test", "path": f"{path}/groupName", "value": asked["groupName"]}, *changes]
        uid = live["metadata"]["uid"]
        return [{"op": "test", "path": "/metadata/uid", "value": uid}, *patch] if patch else []


def wanted(data: Mapping[str, str], owner: KubeObject) -> Wanted:
    """Read a template; everything in it belongs to `owner`. Raises `ConfigError`, which names the key and the field."""
    ray_cluster = _object(data, "raycluster.yaml", Kind.RAY_CLUSTER)
    dispatcher = _object(data, "dispatcher.yaml", Kind.DEPLOYMENT)
    toml, pools, elastic, workerless = _config(data)
    roll = _roll(data)
    _check_ray_cluster(ray_cluster)
    _check_dispatcher(dispatcher)
    for pod in _pods(ray_cluster):
        for label in _OF_THE_CHART:
            pod.get("metadata", {}).get("labels", {}).pop(label, None)
    prefix = str(ray_cluster["metadata"]["name"])
    name = f"{prefix}-{_hash(_hashed(ray_cluster['spec']))}"
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name):
        raise ConfigError(
            f"raycluster.yaml: metadata.name {prefix!r}: must be lower case letters, digits and -, begin with a letter,"
            f" and have at most {_MAX_NAME - 9} characters"
        )
    config = f"{name}-{_hash(toml)}"
    puts = {CLUSTER: name, CONFIG: config}
    return Wanted(
        name=name,
        ray_cluster=_owned(_filled(ray_cluster, puts), name, name, owner),
        dispatcher=_selected(_owned(_filled(dispatcher, puts), f"{name}-dispatcher", name, owner), name),
        config=_owned(
            {"apiVersion": "v1", "kind": "ConfigMap", "immutable": True, "data": {"cogmill.toml": toml}},
            config,
            name,
            owner,
        ),
        pools=pools,
        elastic=elastic,
        workerless=workerless,
        roll=roll,
    )


def _object(data: Mapping[str, str], key: str, kind: Kind) -> dict[str, Any]:
    if not data.get(key):
        raise ConfigError(f"{key}: the template has no such key")
    try:
        found = yaml.safe_load(data[key])
    except yaml.YAMLError as error:
        raise ConfigError(f"{key}: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict) or (found.get("apiVersion"), found.get("kind")) != (kind.api_version, kind.word):
        raise ConfigError(f"{key}: must be one {kind.word} of {kind.api_version}")
    metadata, spec = found.get("metadata"), found.get("spec")
    if not isinstance(metadata, dict) or not isinstance(spec, dict):
        raise ConfigError(f"{key}: must have metadata and spec")
    if not isinstance(metadata.get("name"), str):
        raise ConfigError(f"{key}: metadata.name is missing")
    return found


def _config(data: Mapping[str, str]) -> tuple[str, frozenset[str], frozenset[str], bool]:
    """The dispatcher's configuration, its pools, those with kinds, and whether none of them ever has a worker."""
    toml = data.get("cogmill.toml")
    if not toml:
        raise ConfigError("cogmill.toml: the template has no such key")
    try:
        read = tomllib.loads(toml)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"cogmill.toml: {error}") from None
    pools = read.get("pools")
    if not isinstance(pools, dict) or not pools:
        raise ConfigError("cogmill.toml: pools: there is none")
    elastic = frozenset(name for name, pool in pools.items() if isinstance(pool, dict) and pool.get("kinds"))
    return toml, frozenset(pools), elastic, not elastic and not _workers(pools, read.get("shared"))


def _workers(pools: Mapping[str, Any], shared: object) -> bool:
    """Whether pools without kinds, or sets of them, have workers: where a pool says nothing, one if it shares none."""
    sets = [each for each in (shared.values() if isinstance(shared, dict) else ()) if isinstance(each, dict)]
    sharing = {name for each in sets for name in each.get("pools", ())}
    own = (
        pool.get("workers", 0 if name in sharing else 1) if isinstance(pool, dict) else 1
        for name, pool in pools.items()
    )
    return any(own) or any(each.get("workers") for each in sets)


def _roll(data: Mapping[str, str]) -> RollSettings:
    try:
        return RollSettings.model_validate(yaml.safe_load(data.get("roll.yaml") or "{}"))
    except yaml.YAMLError as error:
        raise ConfigError(f"roll.yaml: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise ConfigError(explained(error, "roll.yaml: ")) from None


def _check_ray_cluster(body: Mapping[str, Any]) -> None:
    spec = body["spec"]
    for key in _DANGEROUS:
        if key in spec:
            raise ConfigError(f"raycluster.yaml: spec.{key}: must be left out: KubeRay would delete pods that render")
    if not isinstance(spec.get("headGroupSpec"), dict):
        raise ConfigError("raycluster.yaml: spec.headGroupSpec is missing")
    groups = spec.get("workerGroupSpecs")
    if not isinstance(groups, list) or not groups or not all(isinstance(group, dict) for group in groups):
        raise ConfigError("raycluster.yaml: spec.workerGroupSpecs must be a list of groups")
    names: set[str] = set()
    for place, group in enumerate(groups):
        where = f"raycluster.yaml: spec.workerGroupSpecs[{place}]"
        name = group.get("groupName")
        if not isinstance(name, str) or name in names:
            raise ConfigError(f"{where}.groupName: each group needs a name of its own")
        names.add(name)
        for key in _AUTOSCALERS:
            if key in group:
                raise ConfigError(f"{where}.{key}: must be left out: it belongs to Ray's autoscaler")
        least, most = (group.get(key) for key in _BOUNDS[:2])
        if type(least) is not int or type(most) is not int or not 0 <= least <= most:
            raise ConfigError(f"{where}: minReplicas and maxReplicas must be whole numbers, the first not the greater")


def _check_dispatcher(body: Mapping[str, Any]) -> None:
    text, spec = json.dumps(body), body["spec"]
    for put in (CLUSTER, CONFIG):
        if put not in text:
            raise ConfigError(f"dispatcher.yaml: {put} must stand where the dispatcher is told of it, and does not")
    if spec.get("replicas", 1) != 1 or (spec.get("strategy") or {}).get("type") != "Recreate":
        raise ConfigError("dispatcher.yaml: spec: a cluster has one dispatcher: replicas 1, strategy Recreate")
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if not isinstance(labels, dict) or not isinstance((spec.get("selector") or {}).get("matchLabels"), dict):
        raise ConfigError("dispatcher.yaml: spec must have selector.matchLabels and template.metadata.labels")


def _pods(ray_cluster: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The pod templates of a cluster."""
    for group in (ray_cluster["spec"]["headGroupSpec"], *ray_cluster["spec"]["workerGroupSpecs"]):
        template = group.get("template")
        if not isinstance(template, dict):
            raise ConfigError("raycluster.yaml: each group, and the head, must have a template")
        yield template


def _hashed(spec: Mapping[str, Any]) -> str:
    """What tells one cluster from another: all but the bounds of its groups."""
    bare = {**spec, "workerGroupSpecs": [_without(group, _BOUNDS) for group in spec["workerGroupSpecs"]]}
    return json.dumps(bare, sort_keys=True)


def _without(group: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key not in keys}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _filled(value: Any, puts: Mapping[str, str]) -> Any:
    """The same with every string's placeholders replaced."""
    if isinstance(value, dict):
        return {_filled(key, puts): _filled(each, puts) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, puts) for each in value]
    if isinstance(value, str):
        for put, text in puts.items():
            value = value.replace(put, text)
    return value


def _owned(body: dict[str, Any], name: str, cluster: str, owner: KubeObject) -> dict[str, Any]:
    """The object under its name, with the labels that find it, its hash, and the owner with which it goes."""
    body, metadata = copy.deepcopy(body), body.get("metadata", {})
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != _OF_THE_INSTALLER}
    whose = owner["metadata"]
    body["metadata"] = {
        "name": name,
        "labels": labels | {RELEASE_LABEL: whose["name"], CLUSTER_LABEL: cluster},
        "annotations": {
            **(metadata.get("annotations") or {}),
            HASH_ANNOTATION: _hash(json.dumps(body, sort_keys=True)),
        },
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": whose["name"], "uid": whose["uid"]},
        ],
    }
    return body


def _selected(deployment: dict[str, Any], cluster: str) -> dict[str, Any]:
    """A Deployment that finds its own pods, and not those of another cluster's dispatcher."""
    spec = deployment["spec"]
    spec["selector"]["matchLabels"][CLUSTER_LABEL] = cluster
    spec["template"]["metadata"]["labels"][CLUSTER_LABEL] = cluster
    return deployment
