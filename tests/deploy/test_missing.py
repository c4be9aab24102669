"""The migration names what is missing for the others, and hands none of it on: keys of Secrets, ConfigMaps, volumes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.test_hooks import job_of
from tests.support.helm import Helm, Rendered, least, merged


def variable(name: str, secret: str, key: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, **more}}}


def volume(name: str, source: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "mountPath": f"/extra/{name}", "volume": source, **more}


ITEMS = [{"key": "chain.pem", "path": "certificate/chain.pem"}]
SOURCES = [{"secret": {"name": "half"}}, {"configMap": {"name": "other-half", "items": [{"key": "k", "path": "v"}]}}]
VALUES = least(
    {
        "config": {"pools": {"more": {"model": "cogvideox-2b", "kinds": {"spot": {"max": 1, "resource": "spot"}}}}},
        "clusters": {"database": {"urlKey": "narrow"}},
        "dispatcher": {"database": {"existingSecret": "dispatch-db"}},
        "caBundle": {"configMap": "our-ca", "key": "bundle.pem"},
        "extraEnv": [variable("PASSWORD", "proxy", "url"), variable("MAYBE", "none", "x", optional=True)],
        "extraVolumes": [
            volume("whole", {"secret": {"secretName": "c2pa"}}),
            volume("part", {"configMap": {"name": "chain", "items": ITEMS}}),
            volume("file", {"secret": {"secretName": "font"}}, subPath="font.ttf"),
            volume("both", {"projected": {"sources": SOURCES}}),
            volume("maybe", {"secret": {"secretName": "none", "optional": True}}),
            volume("scratch", {"emptyDir": {}}),
        ],
        "ray": {
            "worker": {"env": [variable("HF_TOKEN", "hub", "token")]},
            "kinds": {"spot": {"env": [variable("HF_TOKEN", "hub", "spot-token")]}},
            "gcsFaultTolerance": {
                "backend": "redis",
                "redis": {"address": "r:6379", "existingSecret": "gcs", "usernameKey": "user"},
            },
        },
    }
)
# By the Secret and the key: what is said when that alone is missing.
VARIABLES = {
    ("proxy", "url"): "Secret proxy has no key url, or is not there at all (extraEnv).",
    ("cogmill-db", "narrow"): "Secret cogmill-db has no key narrow, or is not there at all (clusters.database).",
    ("dispatch-db", "url"): "Secret dispatch-db has no key url, or is not there at all (dispatcher.database).",
    ("hub", "token"): "Secret hub has no key token, or is not there at all (ray.worker.env).",
    ("hub", "spot-token"): "Secret hub has no key spot-token, or is not there at all (ray.kinds.spot.env).",
    ("gcs", "password"): "Secret gcs has no key password, or is not there at all (ray.gcsFaultTolerance.redis).",
    ("gcs", "user"): "Secret gcs has no key user, or is not there at all (ray.gcsFaultTolerance.redis).",
}
FILES = {
    "our-ca": "ConfigMap our-ca has no key bundle.pem, or is not there at all (caBundle).",
    "c2pa": "Secret c2pa has nothing in it, or is not there at all (extraVolumes: whole).",
    "chain": "ConfigMap chain has no key chain.pem, or is not there at all (extraVolumes: part).",
    "font": "Secret font has no key font.ttf, or is not there at all (extraVolumes: file).",
    "half": "Secret half has nothing in it, or is not there at all (extraVolumes: both).",
    "other-half": "ConfigMap other-half has no key k, or is not there at all (extraVolumes: both).",
}


class Namespace:
    """What the kubelet gives the Job's container, but for what is missing; the program tells what it was handed."""

    def __init__(self, rendered: Rendered, folder: Path) -> None:
        self.pod = job_of(rendered)["spec"]["template"]["spec"]
        [self.container] = self.pod["containers"]
        self._folder = self.root = folder
        program = folder / "cogmill"
        program.write_text("#!/bin/sh\nenv\n")
        program.chmod(0o755)

    def variables(self, missing: object) -> dict[str, str]:
        """A variable that may not be missing is as good as an error: the container would not start."""
        env = {}
        for each in self.container["env"]:
            ref = each.get("valueFrom", {}).get("secretKeyRef", {})
            assert ref.get("optional", True), each
            if (ref.get("name"), ref.get("key")) != missing:
                env[each["name"]] = each.get("value", "given")
        return env

    def mount(self, root: Path, missing: object) -> None:
        volumes = {each["name"]: each for each in self.pod["volumes"]}
        for mount in self.container["volumeMounts"]:
            found = volumes[mount["name"]]
            folder = root / mount["mountPath"].lstrip("/")
            folder.mkdir(parents=True)
            source = found.get("secret") or found.get("configMap")
            if source is None or mount["name"] == "config":
                continue
            assert source["optional"] is True, found
            if source.get("secretName", source.get("name")) == missing:
                continue
            for item in source.get("items", [{"path": "any"}]):
                (folder / item["path"]).write_text("given")

    def run(self, missing: object = None) -> subprocess.CompletedProcess[str]:
        root = self.root = self._folder / f"root-{len([*self._folder.iterdir()])}"
        self.mount(root, missing)
        command = [
            part.replace("/run/cogmill-check", f"{root}/run/cogmill-check").replace(
                "/etc/cogmill-ca", f"{root}/etc/cogmill-ca"
            )
            for part in self.container["command"]
        ]
        env = self.variables(missing) | {"PATH": f"{self._folder}:{os.environ['PATH']}"}
        return subprocess.run(command, env=env, capture_output=True, text=True)


def test_each_secret_and_configmap_that_a_pod_would_wait_for_is_named(helm: Helm, tmp_path: Path) -> None:
    namespace = Namespace(helm.render(VALUES), tmp_path)

    assert namespace.run().returncode == 0
    for missing, says in (VARIABLES | FILES).items():
        run = namespace.run(missing)
        assert (run.returncode, run.stderr) == (2, f"Missing in this namespace:\n{says}\n")


def test_what_is_only_looked_for_is_not_handed_on(helm: Helm, tmp_path: Path) -> None:
    namespace = Namespace(helm.render(VALUES), tmp_path)
    run = namespace.run()
    told = {line.partition("=")[0] for line in run.stdout.splitlines()}

    assert {"COGMILL_DATABASE_URL", "COGMILL_MASTER_KEY", "COGMILL_CONFIG", "SSL_CERT_FILE"} <= told
    others = {each["name"] for each in namespace.container["env"] if each.get("valueFrom", {}).get("secretKeyRef")}
    others -= {"COGMILL_DATABASE_URL", "COGMILL_MASTER_KEY"}
    assert len(others) == len(VARIABLES)
    assert not told & others


def test_what_the_migration_is_to_have_it_has_and_names_as_well(helm: Helm, tmp_path: Path) -> None:
    own = {"components": ["api", "migrate"]}
    source = {"secret": {"secretName": "tls"}}
    more = {
        "extraEnv": [variable("PGPASSWORD", "pg", "password") | own, {"name": "PGSSLMODE", "value": "require", **own}],
        "extraVolumes": [volume("tls", source, **own)],
    }
    namespace = Namespace(helm.render(least(more)), tmp_path)

    run = namespace.run()
    assert {"PGPASSWORD=given", "PGSSLMODE=require"} <= set(run.stdout.splitlines())
    assert (namespace.root / "extra/tls/any").read_text() == "given"
    assert "Secret pg has no key password" in namespace.run(("pg", "password")).stderr
    assert "Secret tls has nothing in it" in namespace.run("tls").stderr


@pytest.mark.parametrize("hook", [True, False])
def test_what_external_secrets_makes_is_not_missed(helm: Helm, hook: bool) -> None:
    """A hook runs before there are any, and a plain Job may start before the operator has been there."""
    made = {
        "externalSecrets": {
            "enabled": True,
            "secretStoreRef": {"name": "vault"},
            "remote": {name: {"key": name} for name in ("databaseUrl", "clustersDatabaseUrl", "masterKey", "rayToken")},
        },
        "migration": {"hook": hook},
        "ray": {"authSecret": "token", "worker": {"env": [variable("T", "token", "auth_token")]}},
        "extraEnv": [variable("KEY", "cogmill-key", "master-key"), variable("PASSWORD", "proxy", "url")],
        "extraVolumes": [volume("key", {"secret": {"secretName": "cogmill-key"}})],
    }
    for database in ({"urlKey": "narrow"}, {"existingSecret": "cogmill-clusters-db"}):
        rendered = helm.render(least(merged(made, {"clusters": {"database": database}})))
        pod = job_of(rendered)["spec"]["template"]["spec"]
        [container] = pod["containers"]
        refs = [each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each]
        prefix = "cogmill-migrate-" if hook else ""

        waits = {ref["name"] for ref in refs if not ref.get("optional")}
        assert waits == {f"{prefix}cogmill-db", f"{prefix}cogmill-key"}
        assert {ref["name"] for ref in refs if ref.get("optional")} == {"proxy"}
        assert not any("secret" in each for each in pod["volumes"])
        exist = {each["metadata"]["name"] for each in rendered.objects if each["kind"] == "ExternalSecret"}
        assert waits <= exist


@pytest.mark.parametrize("hook", [True, False])
def test_a_secret_that_is_made_and_that_the_migration_is_to_have_comes_early(helm: Helm, hook: bool) -> None:
    own = {"components": ["migrate"]}
    values = least(
        {
            "externalSecrets": {
                "enabled": True,
                "secretStoreRef": {"name": "vault"},
                "remote": {"rayToken": {"key": "token"}},
            },
            "migration": {"hook": hook},
            "ray": {"authSecret": "token"},
            "extraEnv": [variable("KEY", "token", "auth_token") | own],
            "extraVolumes": [volume("key", {"secret": {"secretName": "token"}}, **own)],
        }
    )
    rendered = helm.render(values)
    pod = job_of(rendered)["spec"]["template"]["spec"]
    found = "cogmill-migrate-token" if hook else "token"

    assert variable("KEY", found, "auth_token") in pod["containers"][0]["env"]
    assert {"name": "extra-key", "secret": {"secretName": found}} in pod["volumes"]
    assert found in {each["metadata"]["name"] for each in rendered.objects if each["kind"] == "ExternalSecret"}
