"""Secrets of the chart: as files that the processes read as they stand, and made by External Secrets in time."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestrator import config
from tests.deploy.test_hooks import GIVEN, SECRETS, job_of
from tests.support.helm import Helm, Rendered, merged

FILES = merged(SECRETS, {"secretsAsFiles": True})
REMOTE = {
    "databaseUrl": {"key": "prod/cogmill", "property": "url"},
    "listenUrl": {"key": "prod/cogmill", "property": "direct"},
    "masterKey": {"key": "prod/master", "version": "3"},
}
EXTERNAL = {"enabled": True, "secretStoreRef": {"name": "vault", "kind": "ClusterSecretStore"}, "remote": REMOTE}
MADE = merged(SECRETS, {"externalSecrets": EXTERNAL})
VALUES = {
    "database_url": "postgresql://cogmill@db/cogmill",
    "listen_url": "postgresql://cogmill@direct/cogmill",
    "master_key": "k" * 32,
    "s3__access_key": "access",
    "s3__secret_key": "secret",
}


def processes(rendered: Rendered) -> dict[str, dict[str, Any]]:
    return {name: pod for name, pod in rendered.pods() if name.startswith("cogmill-") and "test" not in name}


def env_of(pod: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each for each in pod["containers"][0].get("env", ())}


def files_of(pod: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By path: the Secret, its key, and whether it may be missing. Only from a volume that the kubelet refreshes."""
    [mount] = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "secrets"]
    assert mount == {"name": "secrets", "mountPath": "/run/secrets/cogmill", "readOnly": True}
    [volume] = [each for each in pod["volumes"] if each["name"] == "secrets"]
    # Read by the process's group, which `fsGroup` is, and by nobody else.
    assert volume["projected"]["defaultMode"] == 0o440
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]
    found = {}
    for source in volume["projected"]["sources"]:
        [item] = source["secret"]["items"]
        found[item["path"]] = {**source["secret"], "items": item["key"]}
    return found


def test_processes_find_their_secrets_as_files_and_not_in_their_environment(helm: Helm) -> None:
    pods = processes(helm.render(FILES))
    control = {name: pod for name, pod in pods.items() if env_of(pod).get("COGMILL_CONFIG")}

    assert len(control) == 4
    for name, pod in control.items():
        env, files = env_of(pod), files_of(pod)
        assert env["COGMILL_SECRETS_DIR"]["value"] == "/run/secrets/cogmill"
        assert not env.keys() & {f"COGMILL_{file}".upper() for file in files}
        # Whoever holds Ray's token can read what is beside the dispatcher.
        assert files.keys() == VALUES.keys() - ({"master_key"} if "dispatcher" in name else set())
        assert all(("optional" in source) == ("migrate" in name) for source in files.values())
    [controller] = [name for name in pods if name.endswith("-clusters")]
    assert files_of(pods[controller]).keys() == {"database_url"}
    for name in pods.keys() - control.keys() - {controller}:
        assert "secrets" not in {volume["name"] for volume in pods[name].get("volumes", ())}, name


SPLIT = merged(
    SECRETS,
    {
        "database": {"listenUrlKey": "direct"},
        "api": {"database": {"urlKey": "api", "listenUrlKey": "api-direct"}},
        "dispatcher": {"database": {"existingSecret": "narrow", "urlKey": "u", "listenUrlKey": "l"}},
        "clusters": {"database": {"urlKey": "clusters"}},
    },
)


@pytest.mark.parametrize("as_files", [True, False], ids=["files", "variables"])
def test_each_component_may_have_urls_of_its_own_role_and_sees_no_others(helm: Helm, as_files: bool) -> None:
    pods = processes(helm.render(merged(SPLIT, {"secretsAsFiles": as_files})))

    def read(component: str) -> dict[str, tuple[str, str]]:
        """Under which name each URL is found: its Secret and key."""
        [pod] = [pod for name, pod in pods.items() if name.endswith(component) and "ray" not in name]
        if as_files:
            return {
                path: (source["name"], source["items"])
                for path, source in files_of(pod).items()
                if path.endswith("url")
            }
        refs = {name: each.get("valueFrom", {}).get("secretKeyRef") for name, each in env_of(pod).items()}
        found = {name: ref for name, ref in refs.items() if ref and "URL" in name}
        return {name.removeprefix("COGMILL_").lower(): (ref["name"], ref["key"]) for name, ref in found.items()}

    everybody = SECRETS["database"]["existingSecret"]
    usual = {"database_url": (everybody, "url"), "listen_url": (everybody, "direct")}
    assert read("-api") == {"database_url": (everybody, "api"), "listen_url": (everybody, "api-direct")}
    assert read("-dispatcher") == {"database_url": ("narrow", "u"), "listen_url": ("narrow", "l")}
    assert read("-maintainer") == usual
    assert read("-clusters") == {"database_url": (everybody, "clusters")}
    assert usual.items() <= read("-migrate").items()


def test_those_files_are_the_settings_of_a_process(helm: Helm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = helm.render(FILES)
    folder = tmp_path / "secrets"
    folder.mkdir()
    for path in files_of(processes(rendered)["cogmill-api"]):
        (folder / path).write_text(VALUES[path])
    (tmp_path / "cogmill.toml").write_text(rendered.find("ConfigMap", "cogmill")["data"]["cogmill.toml"])
    monkeypatch.setenv("COGMILL_CONFIG", str(tmp_path / "cogmill.toml"))
    monkeypatch.setenv("COGMILL_SECRETS_DIR", str(folder))

    settings = config.load()

    assert settings.database.direct.shown == "direct/cogmill"
    assert settings.database.listen_file == folder / "listen_url"
    assert settings.s3_files == {name: folder / f"s3__{name}" for name in ("access_key", "secret_key")}


def test_a_migration_names_each_file_that_is_missing(helm: Helm, tmp_path: Path) -> None:
    [container] = job_of(helm.render(FILES))["spec"]["template"]["spec"]["containers"]
    folder = tmp_path / "mounted"
    folder.mkdir()
    command = [part.replace("/run/secrets/cogmill", str(folder)) for part in container["command"]]
    (tmp_path / "cogmill").write_text('#!/bin/sh\necho "cogmill $*"\n')
    (tmp_path / "cogmill").chmod(0o755)
    # The token and what extraEnv names stay variables.
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RAY_AUTH_TOKEN": "t", "HTTPS_PROXY": "p"}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=env, capture_output=True, text=True)

    for file in VALUES:
        (folder / file).write_text("given")
    assert run().stdout == "cogmill migrate\n"
    for file in VALUES:
        (folder / file).unlink()
        ended = run()
        (folder / file).write_text("given")
        assert ended.returncode == 2
        variable = f"COGMILL_{file}".upper()
        told = [name for name, words in GIVEN.items() if words.removeprefix("Secret ") in ended.stderr]
        assert told == [variable]


def external(rendered: Rendered, *, hooks: bool) -> dict[str, dict[str, Any]]:
    found = [each for each in rendered.objects if each["kind"] == "ExternalSecret"]
    is_hook = [("helm.sh/hook" in each["metadata"].get("annotations", {}), each) for each in found]
    return {each["metadata"]["name"]: each for hook, each in is_hook if hook is hooks}


def test_external_secrets_make_what_the_processes_read_under_its_name(helm: Helm) -> None:
    made = external(helm.render(MADE), hooks=False)

    assert made.keys() == {"cogmill-db", "cogmill-key"}, "those of S3 and Ray are there already"
    for name, each in made.items():
        assert each["apiVersion"] == "external-secrets.io/v1"
        assert each["spec"]["secretStoreRef"] == {"name": "vault", "kind": "ClusterSecretStore"}
        assert each["spec"]["target"]["name"] == name
    refs = {name: {item["secretKey"]: item["remoteRef"] for item in made[name]["spec"]["data"]} for name in made}
    assert refs == {
        "cogmill-db": {"url": REMOTE["databaseUrl"], "direct": REMOTE["listenUrl"]},
        "cogmill-key": {"master-key": REMOTE["masterKey"]},
    }


def secrets_of(rendered: Rendered) -> dict[str, bool]:
    """By the name of each Secret that the migration reads, whether it starts without."""
    pod = job_of(rendered)["spec"]["template"]["spec"]
    refs = [each["valueFrom"]["secretKeyRef"] for each in env_of(pod).values() if "valueFrom" in each]
    if any(volume["name"] == "secrets" for volume in pod["volumes"]):
        refs += files_of(pod).values()
    return {ref["name"]: ref.get("optional", False) for ref in refs}


@pytest.mark.parametrize("as_files", [False, True])
def test_the_hook_brings_copies_of_what_it_reads_waits_for_them_and_takes_them_away(helm: Helm, as_files: bool) -> None:
    """Helm makes all else after it: there is no Secret yet at the first install, and an older one at an upgrade."""
    rendered = helm.render(MADE | {"secretsAsFiles": as_files})
    early = external(rendered, hooks=True)

    assert early.keys() == {"cogmill-migrate-cogmill-db", "cogmill-migrate-cogmill-key"}
    for name, each in early.items():
        annotations = each["metadata"]["annotations"]
        assert int(annotations["helm.sh/hook-weight"]) < -1, "the Job has -1"
        assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
        assert each["spec"]["target"] == {"name": name, "creationPolicy": "Owner"}
    assert secrets_of(rendered) == dict.fromkeys(early, False) | dict.fromkeys(
        ("cogmill-s3", "proxy", "ray-token"), True
    )


def test_a_plain_job_waits_for_the_secrets_themselves(helm: Helm) -> None:
    rendered = helm.render(MADE | {"migration": {"hook": False}})

    assert not external(rendered, hooks=True)
    assert not secrets_of(rendered)["cogmill-db"]
    assert secrets_of(rendered)["cogmill-s3"]


def test_a_token_of_ray_that_is_made_is_not_missed_before_it_is(helm: Helm) -> None:
    values = merged(MADE, {"externalSecrets": {"remote": {"rayToken": {"key": "prod/ray"}}}})
    rendered = helm.render(values)

    assert external(rendered, hooks=False)["ray-token"]["spec"]["data"][0]["secretKey"] == "auth_token"
    assert "cogmill-migrate-ray-token" not in external(rendered, hooks=True)
    assert "ray-token" not in secrets_of(rendered)


RING = {"masterKey": {"ringKey": "master-keys"}}


@pytest.mark.parametrize(("key", "files"), [("master-key", {"master_key", "master_keys"}), ("", {"master_keys"})])
def test_generations_of_the_master_key_come_beside_it_or_alone(
    helm: Helm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, files: set[str]
) -> None:
    values = merged(FILES, merged(RING, {"masterKey": {"key": key}}))
    told = VALUES | {"master_keys": json.dumps([{"generation": 2, "key": "n" * 32}])}
    for name, pod in processes(helm.render(values)).items():
        if not env_of(pod).get("COGMILL_CONFIG"):
            continue
        found = files_of(pod)
        assert found.keys() & {"master_key", "master_keys"} == (set() if "dispatcher" in name else files)
        if "dispatcher" not in name:
            assert (found["master_keys"]["name"], found["master_keys"]["items"]) == ("cogmill-key", "master-keys")
    env = env_of(processes(helm.render(merged(values, {"secretsAsFiles": False})))["cogmill-api"])
    assert {name for name in env if "MASTER" in name} == {f"COGMILL_{name.upper()}" for name in files}

    folder = tmp_path / "secrets"
    folder.mkdir()
    for name in VALUES.keys() - {"master_key"} | files:
        (folder / name).write_text(told[name])
    rendered = helm.render(values)
    (tmp_path / "cogmill.toml").write_text(rendered.find("ConfigMap", "cogmill")["data"]["cogmill.toml"])
    monkeypatch.setenv("COGMILL_CONFIG", str(tmp_path / "cogmill.toml"))
    monkeypatch.setenv("COGMILL_SECRETS_DIR", str(folder))
    assert config.load().needed_ring.generations == ((2, 1) if key else (2,))


def test_external_secrets_bring_the_ring_too(helm: Helm) -> None:
    values = merged(MADE, merged(RING, {"externalSecrets": {"remote": {"masterKeys": {"key": "prod/masters"}}}}))
    made = external(helm.render(values), hooks=False)["cogmill-key"]["spec"]["data"]
    assert {item["secretKey"]: item["remoteRef"]["key"] for item in made} == {
        "master-key": REMOTE["masterKey"]["key"],
        "master-keys": "prod/masters",
    }


def test_a_secret_that_holds_everything_is_made_once(helm: Helm) -> None:
    one = {"existingSecret": "all"}
    values = merged(MADE, {"database": one, "masterKey": one})

    [made] = external(helm.render(values), hooks=False).values()

    assert {item["secretKey"] for item in made["spec"]["data"]} == {"url", "direct", "master-key"}


def test_names_that_yaml_takes_for_numbers_stay_names(helm: Helm) -> None:
    values = merged(MADE, {"database": {"existingSecret": "1e3", "urlKey": "012"}, "caBundle": {"configMap": "17"}})
    rendered = helm.render(merged(values, {"secretsAsFiles": True}))
    pod = processes(rendered)["cogmill-api"]

    assert files_of(pod)["database_url"] == {"name": "1e3", "items": "012"}
    assert [each["configMap"]["name"] for each in pod["volumes"] if each["name"] == "ca"] == ["17"]
    assert "1e3" in external(rendered, hooks=False)
    env = env_of(processes(helm.render(values))["cogmill-api"])
    assert env["COGMILL_DATABASE_URL"]["valueFrom"]["secretKeyRef"] == {"name": "1e3", "key": "012"}


def test_no_pod_that_rays_token_opens_holds_the_master_key(helm: Helm) -> None:
    pods = processes(helm.render(merged(SECRETS, {"secretsAsFiles": False})))
    holders = {name for name, pod in pods.items() if "COGMILL_MASTER_KEY" in env_of(pod)}

    # The migration only says where it is missing.
    assert {name.rpartition("-")[2] for name in holders} == {"api", "maintainer", "migrate"}
