"""What is outside of the chart: its objects are valid, certificate authorities reach everybody, Ray's state is kept."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from botocore.session import Session

from tests.support.certificates import certificate
from tests.support.chart_values import LONG_NAME, OUTSIDE, PLAIN_JOB
from tests.support.helm import CHART, LEAST, Helm, Rendered, least, merged
from tests.support.tools import need, need_shared

ROCKSDB = merged(OUTSIDE, {"ray": {"gcsFaultTolerance": {"backend": "rocksdb"}}})


@pytest.mark.parametrize(
    ("values", "release", "kubernetes"),
    [
        (merged(OUTSIDE, {"migration": PLAIN_JOB["migration"]}), "video", "1.30"),
        (ROCKSDB, LONG_NAME, "1.34"),
    ],
    ids=["plain job, redis", "hook, rocksdb, long name"],
)
def test_every_object_is_valid_under_the_restricted_pod_security_standard(
    helm: Helm, values: dict[str, Any], release: str, kubernetes: str
) -> None:
    validator = need_shared("validate_manifests.py")
    need("promtool")
    rendered = helm.render(values, release=release)

    options = ["--kube-version", kubernetes, "--pss-restricted", "--promtool"]
    run = subprocess.run(
        [sys.executable, validator, *options], input=rendered.manifests, capture_output=True, text=True
    )

    assert run.returncode == 0, run.stdout + run.stderr
    kinds = {found["kind"] for found in rendered.objects}
    assert {"ExternalSecret", "NetworkPolicy", "PersistentVolumeClaim", "Job", "RayCluster"} <= kinds
    assert all(len(found["metadata"]["name"]) < 64 for found in rendered.objects)


# ---------------------------------------------------------------- certificate authorities


def test_everybody_who_calls_somebody_has_the_bundle_and_is_told_where_it_is(helm: Helm) -> None:
    seen = set()
    for name, pod in helm.render(OUTSIDE).pods():
        [container] = pod["containers"]
        env = {each["name"]: each.get("value") for each in container.get("env", ())}
        told = {env.get(variable) for variable in ("SSL_CERT_FILE", "AWS_CA_BUNDLE", "PGSSLROOTCERT")}
        if name.endswith((" head", "-test")):
            assert told == {None}
            continue
        seen.add(container["name"])
        assert told == {"/etc/cogmill-ca/ca.crt"}, name
        assert {"name": "ca", "mountPath": "/etc/cogmill-ca", "readOnly": True} in container["volumeMounts"]
        items = [{"key": "bundle.pem", "path": "ca.crt"}]
        source: dict[str, Any] = {"name": "our-ca", "items": items}
        if container["name"] == "migrate":  # which says itself that it is missing
            source["optional"] = True
        assert {"name": "ca", "configMap": source} in pod["volumes"]
    assert seen == {"api", "dispatcher", "maintainer", "migrate", "ray-worker", "prefetch", "clusters"}


def test_those_variables_are_what_the_libraries_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As fetching, webhooks, moderation and the Hub's library make theirs; PostgreSQL's is tried on a real server."""
    crt, _ = certificate(tmp_path / "tls")
    for variable in ("SSL_CERT_FILE", "AWS_CA_BUNDLE", "PGSSLROOTCERT"):
        monkeypatch.setenv(variable, str(crt))

    for context in (httpx.create_ssl_context(), ssl.create_default_context()):
        [only] = context.get_ca_certs()
        assert only["subject"] == ((("commonName", "tests"),),)
    assert Session().get_config_variable("ca_bundle") == str(crt)


# ---------------------------------------------------------------- what Ray keeps


def spec_of(rendered: Rendered) -> dict[str, Any]:
    spec: dict[str, Any] = rendered.find("RayCluster", "")["spec"]
    return spec


def kept(**more: Any) -> dict[str, Any]:
    return least({"ray": {"gcsFaultTolerance": more}})


def test_ray_keeps_nothing_unless_that_is_asked_for(helm: Helm) -> None:
    assert "gcsFaultToleranceOptions" not in spec_of(helm.render())


def test_ray_keeps_its_state_in_a_redis(helm: Helm) -> None:
    bare = {"backend": "redis", "redis": {"address": "rediss://redis.example:6380"}}
    assert spec_of(helm.render(kept(**bare)))["gcsFaultToleranceOptions"] == {
        "redisAddress": "rediss://redis.example:6380"
    }

    def ref(key: str) -> dict[str, Any]:
        return {"valueFrom": {"secretKeyRef": {"name": "redis", "key": key}}}

    assert spec_of(helm.render(OUTSIDE))["gcsFaultToleranceOptions"] == {
        "redisAddress": "redis:6379",
        "redisPassword": ref("password"),
        "redisUsername": ref("user"),
    }


IMAGES_CA, OWN_CA = "/etc/ssl/certs/ca-certificates.crt", "/etc/cogmill-ca/ca.crt"


@pytest.mark.parametrize(
    ("address", "bundle", "told"),
    [
        ("redis://redis:6379", "our-ca", {}),
        ("rediss://redis.example:6380", "our-ca", {"CA_CERT": OWN_CA, "SERVER_NAME": "redis.example"}),
        ("rediss://redis.example:6380", "", {"CA_CERT": IMAGES_CA, "SERVER_NAME": "redis.example"}),
        ("rediss://10.0.0.5:6380", "", {"CA_CERT": IMAGES_CA}),
        ("rediss://[fd00::5]:6380", "", {"CA_CERT": IMAGES_CA}),
    ],
)
def test_the_head_knows_whose_certificate_its_redis_has(
    helm: Helm, address: str, bundle: str, told: dict[str, str]
) -> None:
    """Ray trusts nobody for it unless it is told whom, and looks at no variable of OpenSSL's."""
    authority = {"caBundle": {"configMap": bundle, "key": "bundle.pem"}}
    values = merged(kept(backend="redis", redis={"address": address}), authority)
    pod = spec_of(helm.render(values))["headGroupSpec"]["template"]["spec"]
    [container] = pod["containers"]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    volumes = {each["name"]: each.get("configMap") for each in pod["volumes"]}
    own = told.get("CA_CERT") == OWN_CA

    assert {each["name"].removeprefix("RAY_REDIS_"): each["value"] for each in container.get("env", ())} == told
    assert mounts.get("ca") == ("/etc/cogmill-ca" if own else None)
    source = {"name": "our-ca", "items": [{"key": "bundle.pem", "path": "ca.crt"}]}
    assert volumes.get("ca") == (source if own else None)


def test_ray_keeps_its_state_on_a_volume(helm: Helm) -> None:
    storage = {"size": "20Gi", "storageClassName": "ssd"}

    assert spec_of(helm.render(kept(backend="rocksdb")))["gcsFaultToleranceOptions"] == {
        "backend": "rocksdb",
        "storage": {"size": "10Gi"},
    }
    options = spec_of(helm.render(kept(backend="rocksdb", storage=storage)))["gcsFaultToleranceOptions"]
    assert options["storage"] == storage


def test_another_way_to_keep_it_is_another_cluster(helm: Helm) -> None:
    """KubeRay lets nobody change the backend, and never touches a volume that is there."""
    every = [
        LEAST,
        kept(backend="redis", redis={"address": "a:6379"}),
        kept(backend="redis", redis={"address": "b:6379"}),
        kept(backend="rocksdb"),
        kept(backend="rocksdb", storage={"size": "20Gi"}),
    ]
    names = {helm.render(values).find("RayCluster", "")["metadata"]["name"] for values in every}

    assert len(names) == len(every)


# ---------------------------------------------------------------- what OPERATIONS.md shows


def test_each_block_of_values_that_is_shown_is_accepted(helm: Helm) -> None:
    text = (CHART.parents[1] / "OPERATIONS.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", _section(text, _SHOWN), re.DOTALL)]
    [first, *_] = re.findall(r"```yaml\n(.*?)```", _section(text, "On Kubernetes"), re.DOTALL)

    assert len(blocks) == 3
    for block in blocks:
        helm.render(merged(yaml.safe_load(first), block))


def test_the_table_of_calls_says_what_is_let_out(helm: Helm) -> None:
    text = (CHART.parents[1] / "OPERATIONS.md").read_text()
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", _section(text, _SHOWN), re.MULTILINE))
    told = {name: set(re.findall(r"`(\w+)`", row)) & _CALLED for name, row in rows.items()}
    names = {
        "API": "api",
        "controller": "clusters",
        "dispatcher": "dispatcher",
        "maintainer": "maintainer",
        "migration": "migrate",
        "Ray head": "ray-head",
        "GPU workers": "ray-worker",
        "prefetch Job": "prefetch",
        "`helm test`": "test",
    }
    values = merged(OUTSIDE, {"config": {"moderation": {"url": "https://m.example", "video": True}}})
    egress = yaml.safe_load((CHART / "values.yaml").read_text())["networkPolicy"]["egress"]
    asked = {name: {"to": [{"podSelector": {"matchLabels": {"is": name}}}]} for name in egress if name in _CALLED}
    policies = {
        found["metadata"]["labels"]["app.kubernetes.io/component"]: json.dumps(found["spec"])
        for found in helm.render(merged(values, {"networkPolicy": {"egress": asked}})).objects
        if found["metadata"]["name"].endswith("-egress")
    }

    assert policies.keys() == set(names.values())
    for row, component in names.items():
        assert told[row] == {name for name in _CALLED if f'"is": "{name}"' in policies[component]}, row


_SHOWN = "What an installation finds around it"
_CALLED = {"postgres", "redis", "kubernetesApi", "s3", "web", "models"}


def _section(text: str, title: str) -> str:
    return text.split(f"\n### {title}\n")[1].split("\n### ")[0]
