"""What the chart refuses of values about what is outside of it: each message of `_validate_outside.tpl`."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.helm import CHART, Helm, least

STORE = {"enabled": True, "secretStoreRef": {"name": "vault"}}
URL = {"databaseUrl": {"key": "prod/db"}}
MASTER = {"masterKey": {"key": "prod/master"}}
THERE = {"to": [{"ipBlock": {"cidr": "10.0.0.5/32"}}]}
DATABASE = {"postgres": THERE, "kubernetesApi": THERE, "identity": THERE}
KINDS = {"config": {"pools": {"more": {"model": "cogvideox-2b", "kinds": {"spot": {"max": 1, "resource": "spot"}}}}}}


def made(remote: dict[str, Any], more: dict[str, Any] | None = None) -> dict[str, Any]:
    return least({"externalSecrets": STORE | {"remote": remote}, **(more or {})})


def egress(**more: Any) -> dict[str, Any]:
    return {"networkPolicy": {"egress": {"enabled": True, **DATABASE, **more}}}


# None, and those that end with their pod.
VOLUMES: list[dict[str, Any]] = [{}, {"emptyDir": {}}, {"ephemeral": {}}]

REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        least({"externalSecrets": {"enabled": True, "remote": URL}}),
        "externalSecrets.secretStoreRef.name is needed when externalSecrets.enabled is true: the store that has them",
    ),
    (
        made({}),
        "externalSecrets.remote must say of one Secret at least where its keys are, as in {databaseUrl:"
        " {key: prod/cogmill, property: url}}",
    ),
    (
        made(URL | MASTER, {"database": {"listenUrlKey": "direct"}}),
        "externalSecrets.remote.listenUrl.key is needed: it would make the Secret cogmill-db, which must have the key"
        " direct, too",
    ),
    (
        made(URL, {"masterKey": {"existingSecret": "cogmill-db"}}),
        "externalSecrets.remote.masterKey.key is needed: it would make the Secret cogmill-db",
    ),
    (
        made(URL | {"s3AccessKey": {"key": "k"}}),
        "externalSecrets.remote.s3AccessKey has a key that nothing reads: name the Secret that it becomes"
        " (s3.existingSecret)",
    ),
    (
        made(URL | {"rayToken": {"key": "k"}}),
        "externalSecrets.remote.rayToken has a key that nothing reads: name the Secret that it becomes"
        " (ray.authSecret)",
    ),
    (
        least({"networkPolicy": {"enabled": False, "egress": {"enabled": True}}}),
        "networkPolicy.egress.enabled needs networkPolicy.enabled",
    ),
    (
        least({"networkPolicy": {"egress": {"enabled": True}}}),
        "networkPolicy.egress.postgres.to is needed: whom api calls there, as in [{ipBlock: {cidr: 10.1.2.0/24}}]",
    ),
    (least(egress(dns={"to": []})), "networkPolicy.egress.dns.to is needed: whom api calls there"),
    (
        least(egress() | {"config": {"limits": {"storage": "redis://redis"}}}),
        "networkPolicy.egress.redis.to is needed: whom api calls there",
    ),
    (least(egress(kubernetesApi={})), "networkPolicy.egress.kubernetesApi.to is needed: whom clusters calls there"),
    (
        least(egress(identity={})),
        "networkPolicy.egress.identity.to is needed where s3.existingSecret is empty: where pods get their cloud's"
        " credentials, as in [{ipBlock: {cidr: 169.254.170.23/32}}] of EKS Pod Identity",
    ),
    (
        least({"modelsCache": {"claim": {"create": True}, "volume": {"emptyDir": {}}}}),
        "modelsCache.claim.create and modelsCache.volume exclude each other",
    ),
    *(
        (
            least({"modelsCache": {"prefetch": {"enabled": True}, "volume": volume}}),
            "modelsCache.prefetch.enabled needs modelsCache.claim.create, or a modelsCache.volume that outlives a pod",
        )
        for volume in VOLUMES
    ),
    (
        least({"modelsCache": {"prefetch": {"enabled": True}, "claim": {"create": True}}}),
        "modelsCache.prefetch.enabled, and no source of config.models or config.adapters is hf:// or s3://: there is"
        " nothing to fetch",
    ),
    (
        least({"ray": {"gcsFaultTolerance": {"backend": "redis"}}}),
        "ray.gcsFaultTolerance.redis.address is needed where its backend is redis",
    ),
    (
        least({"ray": {"gcsFaultTolerance": {"redis": {"usernameKey": "user"}}}}),
        "ray.gcsFaultTolerance.redis.usernameKey needs existingSecret, whose key it is",
    ),
    (
        least({"caBundle": {"configMap": "ca"}, "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/x"}]}),
        "extraEnv has SSL_CERT_FILE, which caBundle sets",
    ),
    (
        least({"secretsAsFiles": True, "extraEnv": [{"name": "COGMILL_SECRETS_DIR", "value": "/x"}]}),
        "extraEnv has COGMILL_SECRETS_DIR, which secretsAsFiles sets",
    ),
    (
        least({"modelsCache": {"prefetch": {"resources": {"requests": {"memory": "8Gi"}}}}}),
        "modelsCache.prefetch.resources.requests.memory is 8Gi, more than its limit, 4Gi",
    ),
]


@pytest.mark.parametrize(("values", "says"), REFUSED, ids=[says[:60] for _, says in REFUSED])
def test_a_wrong_value_is_refused_by_name(helm: Helm, values: dict[str, Any], says: str) -> None:
    assert says in helm.refuse(values)


def test_every_message_is_tried_above_from_its_first_word_to_its_last() -> None:
    words = (CHART / "templates" / "_validate_outside.tpl").read_text()
    messages = re.findall(r'fail (?:\(printf )?"((?:[^"\\]|\\.)*)"', words)
    assert len(messages) == words.count("fail ") > 8
    patterns = [".+".join(map(re.escape, re.split(r"%[a-z]", message))) for message in messages]

    assert [each for each in patterns if not any(re.fullmatch(each, says) for _, says in REFUSED)] == []


@pytest.mark.parametrize(
    "values",
    [
        made(URL | MASTER),
        made({"masterKey": {"key": "k", "property": "p", "version": "2"}}),
        least(egress()),
        least(egress(identity={}) | {"s3": {"existingSecret": "cogmill-s3"}}),
        least(egress(identity={}) | {"extraEnv": [{"name": "AWS_ACCESS_KEY_ID", "value": "k"}]}),
        least({"secretsAsFiles": False, "extraEnv": [{"name": "COGMILL_SECRETS_DIR", "value": "/mine"}]}),
        least({"extraEnv": [{"name": "SSL_CERT_FILE", "value": "/mine"}]}),
    ],
    ids=lambda it: str(it)[-80:],
)
def test_what_can_work_is_taken(helm: Helm, values: dict[str, Any]) -> None:
    helm.render(values)
