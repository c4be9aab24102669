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


def calling(section: str, **said: Any) -> dict[str, Any]:
    return {"config": {section: said}}


def env_of(secret: str, key: str) -> list[dict[str, Any]]:
    return [{"name": "A", "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}]


GCS = {"ray": {"gcsFaultTolerance": {"backend": "redis", "redis": {"address": "redis.example:6380"}}}}
PODS: dict[str, Any] = {"to": [{"namespaceSelector": {}}]}
MORE = {each: [{"ports": [{"port": 9000}]}] for each in ("api", "dispatcher", "maintainer", "ray-worker")}
INWARD = (
    ", which is private, and networkPolicy.egress.s3.to lets api out to the internet alone: name it there, as in"
    " [{namespaceSelector: {}}] or [{ipBlock: {cidr: 10.1.2.0/24}}]"
)


# By the place that reads a key which External Secrets does not make.
NOT_MADE: dict[str, dict[str, Any]] = {
    "extraEnv: A": {"extraEnv": env_of("cogmill-db", "other")},
    "ray.worker.env: A": {"ray": {"worker": {"env": env_of("cogmill-db", "other")}}},
    "extraVolumes: v": {
        "extraVolumes": [
            {
                "name": "v",
                "mountPath": "/v",
                "volume": {"secret": {"secretName": "cogmill-db", "items": [{"key": "other", "path": "x"}]}},
            }
        ]
    },
    "ray.gcsFaultTolerance.redis": {
        "ray": {
            "gcsFaultTolerance": {
                "backend": "redis",
                "redis": {"address": "r:6379", "existingSecret": "cogmill-db", "passwordKey": "other"},
            }
        }
    },
}
# Addresses that are surely none of the internet.
PRIVATE = {
    "http://minio:9000": "minio",
    "https://minio.minio.svc": "minio.minio.svc",
    "http://minio.minio.svc.cluster.local:9000/": "minio.minio.svc.cluster.local",
    "https://s3.example.internal": "s3.example.internal",
    "https://172.31.0.9:443": "172.31.0.9",
    "https://[fd00::1]": "[fd00::1]",
}

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
        made(URL, {"clusters": {"database": {"urlKey": "narrow"}}}),
        "externalSecrets.remote.clustersDatabaseUrl.key is needed: it would make the Secret cogmill-db, which must have"
        " the key narrow, too",
    ),
    (
        made(URL, {"ray": {"authSecret": "cogmill-db"}}),
        "externalSecrets.remote.rayToken.key is needed: it would make the Secret cogmill-db, which must have the key"
        " auth_token, too",
    ),
    (
        made(URL | {"clustersDatabaseUrl": {"key": "k"}}),
        "externalSecrets.remote.clustersDatabaseUrl has a key that nothing reads: name the Secret that it becomes"
        " (clusters.database.existingSecret)",
    ),
    (
        made(URL | {"dispatcherDatabaseUrl": {"key": "k"}}),
        "externalSecrets.remote.dispatcherDatabaseUrl has a key that nothing reads: name the Secret that it becomes"
        " (dispatcher.database)",
    ),
    (
        least({"database": {"listenUrlKey": "direct"}, "dispatcher": {"database": {"urlKey": "narrow"}}}),
        "dispatcher.database.listenUrlKey is needed: what database.listenUrlKey names is the URL of another role",
    ),
    (
        least({"database": {"listenUrlKey": "direct"}, "api": {"database": {"listenUrlKey": "narrow"}}}),
        "api.database.listenUrlKey needs api.database.existingSecret or urlKey beside it, and database.listenUrlKey"
        " for the migration",
    ),
    (
        least({"maintainer": {"database": {"existingSecret": "m", "listenUrlKey": "direct"}}}),
        "maintainer.database.listenUrlKey needs maintainer.database.existingSecret or urlKey beside it, and"
        " database.listenUrlKey for the migration",
    ),
    *(
        (
            made(URL, more),
            f"{where} reads the key other of the Secret cogmill-db, which externalSecrets.remote makes, and not with"
            " that key: put it into a Secret of another name",
        )
        for where, more in NOT_MADE.items()
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
    (
        least(egress() | calling("tracing", endpoint="http://collector:4318")),
        "networkPolicy.egress.collector.to is needed: whom api calls there",
    ),
    (least(egress(kubernetesApi={})), "networkPolicy.egress.kubernetesApi.to is needed: whom clusters calls there"),
    *(
        (least(egress() | calling("s3", endpoint_url=url)), f"config.s3.endpoint_url is at {host}{INWARD}")
        for url, host in PRIVATE.items()
    ),
    (
        least(egress(s3={"ports": [443, 9000]}) | calling("s3", endpoint_url="http://minio.minio:9000")),
        f"config.s3.endpoint_url is at minio.minio{INWARD}",
    ),
    (
        least(egress(s3=PODS) | calling("s3", endpoint_url="http://minio.minio:9000")),
        "config.s3.endpoint_url is at minio.minio, port 9000, which networkPolicy.egress.s3.ports does not have: api"
        " could not call it",
    ),
    (
        least(egress(s3=THERE) | calling("s3", endpoint_url="http://10.0.0.5")),
        "config.s3.endpoint_url is at 10.0.0.5, port 80, which networkPolicy.egress.s3.ports does not have",
    ),
    (
        least(egress(s3=PODS, more={"api": MORE["api"]}) | calling("s3", endpoint_url="http://minio:9000")),
        "port 9000, which networkPolicy.egress.s3.ports does not have: dispatcher could not call it",
    ),
    (
        least(egress(collector=PODS) | calling("tracing", endpoint="http://collector:14318")),
        "config.tracing.endpoint is at collector, port 14318, which networkPolicy.egress.collector.ports does not have",
    ),
    (
        least(egress(redis=PODS) | calling("limits", storage="rediss://user:p@ss@redis:6390/0")),
        "config.limits.storage is at redis, port 6390, which networkPolicy.egress.redis.ports does not have",
    ),
    (
        least(egress(redis=PODS) | calling("limits", storage="redis+sentinel://a:6379,b:26379/main")),
        "config.limits.storage is at b, port 26379, which networkPolicy.egress.redis.ports does not have",
    ),
    (
        least(egress(redis=PODS) | GCS),
        "ray.gcsFaultTolerance.redis.address is at redis.example, port 6380, which networkPolicy.egress.redis.ports"
        " does not have: ray-head could not call it",
    ),
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
        made(URL, {"extraEnv": env_of("cogmill-db", "url")}),
        made(URL, {"clusters": {"database": {"existingSecret": "cogmill-clusters-db", "urlKey": "narrow"}}}),
        # A Service's port may be another one than that of its pods.
        least(egress(s3=PODS | {"ports": [8080]}) | calling("s3", endpoint_url="http://rook.rook-ceph.svc")),
        least(egress(s3=PODS | {"ports": [9000]}) | calling("s3", endpoint_url="http://minio.minio:9000")),
        least(egress(more=MORE) | calling("s3", endpoint_url="http://minio.minio:9000")),
        least(egress() | calling("s3", endpoint_url="https://s3.eu-central-1.amazonaws.com")),
        least(egress(redis=PODS) | calling("limits", storage="redis://redis/0")),
        least(calling("s3", endpoint_url="http://minio.minio:9000")),
    ],
    ids=lambda it: str(it)[-80:],
)
def test_what_can_work_is_taken(helm: Helm, values: dict[str, Any]) -> None:
    helm.render(values)
