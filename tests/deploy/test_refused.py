"""Values that cannot work are refused by name: each message of the templates, and each rule of the schema."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from tests.support.helm import CHART, LEAST, Helm, least

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
TWO_KINDS = {"spot": {"max": 2, "resource": "spot", "may_vanish": True}, "firm": {"max": 1, "resource": "firm"}}


def pools(more: dict[str, Any]) -> dict[str, Any]:
    return least({"config": {"pools": more}})


def kinds(more: dict[str, Any]) -> dict[str, Any]:
    """Values of which the one pool has kinds."""
    return LEAST | {"config": LEAST["config"] | {"pools": {"main": {"model": "cogvideox-2b", "kinds": more}}}}


SCALED_API = {"api": {"autoscaling": {"enabled": True}}, "config": {"limits": {"storage": "redis://redis"}}}

# What the templates say, in the order of _validate.tpl; what stands above it is the schema's.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "/database/existingSecret"),
    (least({"extraEnv": [{"name": "PGPASSWORD", "value": "Change-Me!"}]}), "extraEnv.0.value is still the placeholder"),
    (least({"config": {"aliases": {"x": "change_me"}}}), "config.aliases.x is still the placeholder"),
    (least({"metricsToken": {"existingSecret": "change-me"}}), "metricsToken.existingSecret is still the placeholder"),
    (least({"config": {"metrics": {"token": "x" * 20}}}), "/config/metrics/token"),
    (least({"databse": {}}), "databse"),
    (least({"config": {"database_url": "postgresql://u:p@h/d"}}), "/config/database_url"),
    (least({"config": {"master_keys": [{"generation": 2, "key": "k" * 32}]}}), "/config/master_keys"),
    (least({"masterKey": {"key": ""}}), "masterKey.key or masterKey.ringKey is needed"),
    (least({"config": {"adapters": {"ink": {"source": "/x"}}}}), "/config/adapters/ink"),
    (pools({"main": {"workers": "two"}}), "/config/pools/main/workers"),
    (least({"api": {"resources": {"requests": {"memory": "lots"}}}}), "/api/resources/requests/memory"),
    (least({"valuesVersion": 1}), "Say --reset-then-reuse-values"),
    (LEAST | {"config": {}}, "config must have default_model, models and pools, as in {"),
    (LEAST | {"config": LEAST["config"] | {"pools": {}}}, "config must have default_model, models and pools, as in {"),
    (
        least({"config": {"models": {"cogvideox-2b": {"path": "/x"}}}}),
        "config.models.cogvideox-2b must have source, or path",
    ),
    (pools({"main": {"model": "sora"}}), 'config.pools.main.model is "sora", which config.models'),
    (
        pools({"main": {"gpus_per_worker": 2}}),
        "config.pools.main.gpus_per_worker is 2, and ray.worker.gpus only 1",
    ),
    (
        least({"config": {"shared": {"set": {"pools": ["main", "none"], "workers": 1}}}}),
        'config.shared.set.pools has "none", which config.pools does not have',
    ),
    (least({"config": {"default_model": "sora"}}), 'config.default_model is "sora", which config.models does not have'),
    (
        pools({"Big One": {"model": "cogvideox-2b", "kinds": TWO_KINDS}}),
        "config.pools.Big One has kinds: its name must hold only a-z",
    ),
    (pools({"main": {"kinds": TWO_KINDS}}), "config.pools.main has workers and kinds, which exclude each other"),
    (least({"ray": {"kinds": {"spot": {}}}}), "ray.kinds.spot: no pool of config.pools has a kind of this name"),
    (
        pools(
            {
                "a": {"model": "cogvideox-2b", "kinds": {"b-c": {"max": 1, "resource": "x"}}},
                "a-b": {"model": "cogvideox-2b", "kinds": {"c": {"max": 1, "resource": "y"}}},
            }
        ),
        "two worker groups would be called a-b-c",
    ),
    (
        least({"config": {"engine": {"notice_s": 50}}}),
        "terminationGracePeriodSeconds of the worker group gpu is 60: a worker sees within 2 s that it must go, has"
        " config.engine.notice_s (50) for its checkpoints",
    ),
    (
        kinds({"spot": {"max": 2}, "firm": {"max": 1, "resource": "firm"}}),
        "config.pools.main.kinds.spot.resource is needed where there are other workers",
    ),
    (
        pools({"big": {"model": "cogvideox-2b", "gpus_per_worker": 2, "kinds": TWO_KINDS}}),
        "config.pools.big.gpus_per_worker is 2, and a pod of its kind firm has only 1 GPUs (ray.kinds.firm.gpus",
    ),
    (
        kinds(TWO_KINDS) | {"serviceAccount": {"create": False}},
        "ray.head.pod.serviceAccount.name is needed with kinds where serviceAccount.create is false",
    ),
    (
        least({"dispatcher": {"drainSeconds": 900}}),
        "dispatcher.drainSeconds is no more, leave it out: a Ray cluster that",
    ),
    (
        least({"clusters": {"roll": {"graceSeconds": 14400}}}),
        "clusters.roll.graceSeconds is 14400, and must be less than deadlineSeconds, 14400, or no roll ends in time",
    ),
    (
        least({"serviceAccount": {"create": False}}),
        "clusters.pod.serviceAccount.name is needed where serviceAccount.create is false: the controller may change",
    ),
    (
        least({"ray": {"worker": {"resources": {"limits": {"nvidia.com/gpu": 2}}}}}),
        "ray.worker.resources has nvidia.com/gpu, which ray.worker.gpus sets",
    ),
    (
        least({"maintainer": {"resources": {"requests": {"memory": "2G"}}}}),
        "maintainer.resources.requests.memory is 2G, more than its limit, 1536Mi",
    ),
    (
        least({"api": {"resources": {"limits": {"cpu": "200m"}}}}),
        "api.resources.requests.cpu is 250m, more than its limit, 200m",
    ),
    (
        kinds(TWO_KINDS) | {"ray": {"kinds": {"spot": {"resources": {"requests": {"memory": "33Gi"}}}}}},
        "the resources of the worker group main-spot.requests.memory is 33Gi, more than its limit, 32Gi",
    ),
    (least({"fullnameOverride": "1st"}), "must start with a letter"),
    (
        least({"weights": {"volume": {"nfs": {}, "csi": {}}}}),
        "/weights/volume",
    ),
    (least({"api": {"ingress": {"enabled": True}}}), "api.ingress.host is needed when api.ingress.enabled is true"),
    (least({"api": {"httpRoute": {"enabled": True}}}), "api.httpRoute.parentRefs is needed when api.httpRoute.enabled"),
    (least({"api": {"autoscaling": {"enabled": True}}}), "api.autoscaling.enabled needs config.limits.storage"),
    (
        least(SCALED_API | {"api": {"autoscaling": {"enabled": True, "minReplicas": 11}}}),
        "api.autoscaling.minReplicas is 11, more than maxReplicas, 10",
    ),
    (
        least(SCALED_API | {"api": {"autoscaling": {"enabled": True, "by": "keda"}}}),
        "api.autoscaling.triggers must have at least one",
    ),
    (
        least(SCALED_API | {"api": {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}}}),
        "api.resources.requests.cpu is needed where api.autoscaling.by is hpa",
    ),
    (
        least({"extraEnv": [{"name": "RAY_AUTH_TOKEN", "value": "x"}]}),
        "extraEnv: RAY_AUTH_TOKEN is set by the chart",
    ),
    (
        least({"ray": {"worker": {"env": [{"name": "A", "value": "x"}, {"name": "A", "value": "y"}]}}}),
        "ray.worker.env has A twice",
    ),
    (
        kinds(TWO_KINDS) | {"ray": {"kinds": {"spot": {"env": [{"name": "COGMILL_CONFIG", "value": "/x"}]}}}},
        "ray.kinds.spot.env: COGMILL_CONFIG is set by the chart",
    ),
    (least({"nameOverride": "n" * 64}), "/nameOverride"),
    (least({"extraEnv": [{"name": "A", "value": "x", "components": ["ray-worker"]}]}), "/extraEnv/0/components/0"),
    (least({"ray": {"worker": {"env": [{"name": "A", "value": "x", "components": ["api"]}]}}}), "/ray/worker/env/0"),
]


@pytest.mark.parametrize(("values", "says"), REFUSED, ids=[says[:60] for _, says in REFUSED])
def test_a_wrong_value_is_refused_by_name(helm: Helm, values: dict[str, Any], says: str) -> None:
    assert says in helm.refuse(values)


def test_every_message_of_the_templates_is_tried_above() -> None:
    words = (CHART / "templates" / "_validate.tpl").read_text()
    messages = re.findall(r'fail (?:\(printf )?"((?:[^"\\]|\\.)*)"', words)
    assert len(messages) == words.count("fail ")
    heard = [says for _, says in REFUSED]

    def is_tried(message: str) -> bool:
        """Some case expects all of it, or 22 characters in a row that hold none of what differs from case to case."""
        pieces = re.split(r"%[a-z]", message)
        if any(re.fullmatch(".+".join(map(re.escape, pieces)), says) for says in heard):
            return True
        return any(
            piece[start : start + 22] in says for piece in pieces for start in range(len(piece) - 21) for says in heard
        )

    assert [message for message in messages if not is_tried(message)] == []


def lists_of(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every rule of the schema: a path that leads to it, and something that breaks it."""
    if schema is False:
        yield path, "x"
        return
    if "$ref" in schema:
        yield from lists_of(SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]], path)
        return
    if "enum" in schema:
        yield path, "no such word"
    if "pattern" in schema:
        yield path, "@ not this @"
    if "type" in schema:
        yield path, 7 if schema["type"] in ("string", "object", "array", "boolean") else "seven"
    if "anyOf" in schema:
        yield path, "@ not this @"
    for least_of, wrong in {"minimum": -1, "exclusiveMinimum": 0, "minItems": -1, "minLength": -1}.items():
        if least_of in schema:
            low = schema[least_of]
            yield path, low + wrong if "imum" in least_of else ("" if least_of == "minLength" else [])
    if "maximum" in schema:
        yield path, schema["maximum"] + 1
    if "maxProperties" in schema:
        yield path, {"nfs": {}, "csi": {}}
    if schema.get("additionalProperties") is False:
        yield (*path, "noSuchKey"), 1
    for name, wanted in schema.get("properties", {}).items():
        yield from lists_of(wanted, (*path, name))
    if isinstance(schema.get("additionalProperties"), dict):
        yield from lists_of(schema["additionalProperties"], (*path, "cpu"))
    for name in schema.get("required", ()):
        yield path, {key: {} for key in schema["required"] if key != name}
    if "propertyNames" in schema:
        yield (*path, "Not A Name"), {}
    if isinstance(schema.get("items"), dict):
        for rest, wrong in lists_of(schema["items"]):
            wrapped = wrong
            for key in reversed(rest):
                wrapped = {key: wrapped}
            yield path, [wrapped]


def test_every_rule_of_the_schema_refuses_what_breaks_it_and_names_the_place() -> None:
    validator = Draft7Validator(SCHEMA)
    assert [*validator.iter_errors(least({}))] == []
    rules = list(lists_of(SCHEMA))[1:]  # the first: that values are a map
    assert len(rules) > 300

    for path, wrong in rules:
        values: dict[str, Any] = {}
        inner = values
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        if path:
            inner[path[-1]] = wrong
        else:
            values = wrong
        told = [".".join(map(str, error.absolute_path)) + error.message for error in validator.iter_errors(values)]
        assert any(".".join(path[:-1]) in each for each in told), (path, wrong)


# `--reuse-values` brings the older chart's values, without the keys that are new. When this differs, count
# `valuesVersion` up in values.yaml and _validate.tpl, unless that is done since the last release; the digest goes here.
KEYS = {3: "489458b477de2b2b"}


def keys_of(values: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield f"{path}{key}"
        if isinstance(value, dict):
            yield from keys_of(value, f"{path}{key}.")


def test_the_values_have_another_version_when_they_have_other_keys() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    digest = hashlib.sha256("\n".join(sorted(keys_of(values))).encode()).hexdigest()[:16]

    assert {values["valuesVersion"]: digest} == KEYS


def test_values_of_the_chart_before_are_refused_with_the_way_out(helm: Helm, tmp_path: Path) -> None:
    """`--reuse-values` puts the older chart's values in the place of this one's."""
    older = shutil.copytree(CHART, tmp_path / "cogmill")
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    del values["valuesVersion"], values["test"], values["ray"]["kinds"], values["api"]["autoscaling"]
    (older / "values.yaml").write_text(yaml.safe_dump(values))

    assert "Say --reset-then-reuse-values" in helm.of(older).refuse(LEAST)
