"""What the chart refuses of values about pods: each message of `_validate_pods.tpl`."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.helm import CHART, Helm, least, merged

KINDS = {"config": {"pools": {"more": {"model": "cogvideox-2b", "kinds": {"spot": {"max": 1, "resource": "spot"}}}}}}
FOUND = ": by labels of that prefix pods are found, and only the chart, the controller and KubeRay set them"
CHANGES = "the controller may change Deployments and RayClusters, and nobody else must"
HEAD = "KubeRay lets the head's account change pods, and nobody else must"
CLAIM = {"persistentVolumeClaim": {"claimName": "models"}}


def pod(path: str, said: dict[str, Any]) -> dict[str, Any]:
    """Values of one component's pod: `ray.head` {...} -> {"ray": {"head": {"pod": {...}}}}."""
    values: dict[str, Any] = {"pod": said}
    for key in reversed(path.split(".")):
        values = {key: values}
    return values


def account(path: str, name: str) -> dict[str, Any]:
    return pod(path, {"serviceAccount": {"name": name}})


def volumes(**at: str) -> dict[str, Any]:
    """extraVolumes by name, with their places."""
    return {
        "extraVolumes": [{"name": name, "mountPath": path, "volume": {"emptyDir": {}}} for name, path in at.items()]
    }


LABELS = {
    "api": "app.kubernetes.io/component",
    "clusters": "helm.sh/chart",
    "dispatcher": "cogmill.io/cluster",
    "maintainer": "app.kubernetes.io/name",
    "migration": "app.kubernetes.io/instance",
    "modelsCache.prefetch": "app.kubernetes.io/instance",
    "ray.head": "ray.io/cluster",
    "ray.worker": "ray.io/group",
    "ray.kinds.spot": "app.kubernetes.io/part-of",
}
NAMELESS = {"serviceAccount": {"create": False}}
SHARED = {"serviceAccount": {"create": False, "name": "shared"}}
# What the chart and the image have, and what lies around it.
PLACES = {
    "/tmp": "/tmp",
    "/tmp/": "/tmp",
    "/": "/",
    "/etc": "/etc/cogmill",
    "/etc/cogmill": "/etc/cogmill",
    "/etc/cogmill/more": "/etc/cogmill",
    "/dev/shm": "/dev",
    "/spill": "/spill",
    "/home": "/home/cogmill",
    "/home/cogmill": "/home/cogmill",
    "/run/secrets/cogmill": "/run/secrets/cogmill",
    "/var/run/secrets/kubernetes.io/serviceaccount": "/run/secrets/kubernetes.io",
    "/run/cogmill-check/0": "/run/cogmill-check",
    "/opt": "/opt/cogmill",
}

REFUSED: list[tuple[dict[str, Any], str]] = [
    *(
        (merged(KINDS, pod(path, {"labels": {"team": "video", key: "x"}})), f"{path}.pod.labels has {key}{FOUND}")
        for path, key in LABELS.items()
    ),
    (
        SHARED | account("clusters", "shared"),
        "clusters.pod.serviceAccount.name is shared, which is everybody's (serviceAccount.name, or the namespace's"
        f" default): {CHANGES}",
    ),
    (NAMELESS | account("clusters", "default"), "clusters.pod.serviceAccount.name is default, which is everybody's"),
    (
        SHARED | KINDS | account("clusters", "keeper") | account("ray.head", "shared"),
        "ray.head.pod.serviceAccount.name is shared, which is everybody's (serviceAccount.name, or the namespace's"
        f" default): {HEAD}",
    ),
    *(
        (
            merged(merged(SHARED | account("clusters", "keeper"), account(path, "keeper")), extra),
            f"clusters.pod and {path}.pod would both run as the account keeper: {CHANGES}"
            " (clusters.pod.serviceAccount.name)",
        )
        for path, extra in {
            "api": {},
            "dispatcher": {},
            "maintainer": {},
            "migration": {},
            "modelsCache.prefetch": {},
            "ray.head": {},
            "ray.worker": {},
            "ray.kinds.spot": merged(KINDS, account("ray.head", "other")),
        }.items()
    ),
    (
        account("maintainer", "cogmill-clusters"),
        "clusters.pod and maintainer.pod would both run as the account cogmill-clusters",
    ),
    (
        merged(KINDS, merged(account("ray.head", "head"), account("ray.worker", "head"))),
        f"ray.head.pod and ray.worker.pod would both run as the account head: {HEAD}"
        " (ray.head.pod.serviceAccount.name)",
    ),
    (
        {"extraVolumes": volumes(a="/a")["extraVolumes"] + volumes(a="/b")["extraVolumes"]},
        "extraVolumes has two of the name a",
    ),
    (volumes(a="/x", b="/x/"), "extraVolumes: b is mounted at /x, and extraVolumes: a at /x: they cannot both be"),
    (volumes(a="/x/y", b="/x"), "extraVolumes: b is mounted at /x, and extraVolumes: a at /x/y: they cannot both be"),
    (volumes(a="/x", b="/x/y"), "extraVolumes: b is mounted at /x/y, and extraVolumes: a at /x: they cannot both be"),
    (
        {"weights": {"volume": CLAIM}, "modelsCache": {"mountPath": "/models"}},
        "weights.mountPath is mounted at /models, and modelsCache.mountPath at /models: they cannot both be",
    ),
    (
        {"weights": {"volume": CLAIM}, "modelsCache": {"mountPath": "/models/cache"}},
        "weights.mountPath is mounted at /models, and modelsCache.mountPath at /models/cache: they cannot both be",
    ),
    (
        volumes(a="/models-cache"),
        "extraVolumes: a is mounted at /models-cache, and modelsCache.mountPath at /models-cache",
    ),
    (
        volumes(a="/etc/cogmill-ca") | {"caBundle": {"configMap": "ca"}},
        "extraVolumes: a is mounted at /etc/cogmill-ca, and /etc/cogmill-ca is what the chart or the image has there",
    ),
    *(
        (
            volumes(a=place),
            f"extraVolumes: a is mounted at {place.rstrip('/').replace('/var/run', '/run') or '/'}, and {taken} is what"
            " the chart or the image has there",
        )
        for place, taken in PLACES.items()
    ),
    ({"modelsCache": {"mountPath": "/opt"}}, "modelsCache.mountPath is mounted at /opt, and /opt/cogmill is what the"),
]


@pytest.mark.parametrize(("values", "says"), REFUSED, ids=[says[:70] for _, says in REFUSED])
def test_a_wrong_value_is_refused_by_name(helm: Helm, values: dict[str, Any], says: str) -> None:
    assert says in helm.refuse(least(values))


def test_every_message_is_tried_above_from_its_first_word_to_its_last() -> None:
    words = (CHART / "templates" / "_validate_pods.tpl").read_text()
    messages = re.findall(r'fail (?:\(printf )?"((?:[^"\\]|\\.)*)"', words)
    assert len(messages) == words.count("fail ") == 6
    patterns = [".+".join(map(re.escape, re.split(r"%[a-z]", message))) for message in messages]

    assert [each for each in patterns if not any(re.fullmatch(each, says) for _, says in REFUSED)] == []


@pytest.mark.parametrize(
    "values",
    [
        pod("api", {"labels": {"team": "video", "app.example/name": "x"}}),
        SHARED | account("clusters", "keeper"),
        merged(account("api", "same"), account("maintainer", "same")),
        volumes(a="/etc/a", b="/etc/b", c="/tmp/c", d="/models-cache/d", e="/etc/cogmill-ca"),
        volumes(a="/models"),
        {"nameOverride": "n" * 63},
    ],
    ids=lambda it: str(it)[-80:],
)
def test_what_can_work_is_taken(helm: Helm, values: dict[str, Any]) -> None:
    helm.render(least(values))
