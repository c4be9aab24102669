"""The chart prints objects that Kubernetes and KubeRay accept, and that hold together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator import config
from tests.support.chart_values import EVERYTHING, KEDA, LONG_NAME, PLAIN_JOB, SCALED
from tests.support.helm import CHART, LEAST, Helm, Rendered, least
from tests.support.tools import need, need_shared


def container(pod: dict[str, Any]) -> dict[str, Any]:
    [only] = pod["containers"]
    return only


def cluster_of(rendered: Rendered) -> dict[str, Any]:
    return rendered.find("RayCluster", "")


def dispatcher_of(rendered: Rendered) -> str:
    return str(rendered.find("Deployment", "-dispatcher")["metadata"]["name"])


def environment(pod: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item for item in container(pod).get("env", [])}


def test_lint_finds_nothing_to_blame(helm: Helm) -> None:
    run = helm.run("lint", LEAST)

    assert run.returncode == 0, run.stdout
    assert "WARNING" not in run.stdout


@pytest.mark.parametrize("kubernetes", ["1.30", "1.34"])
@pytest.mark.parametrize(
    ("values", "release"),
    [
        (LEAST, "cogmill"),
        (LEAST, LONG_NAME),
        (EVERYTHING, "prod"),
        (PLAIN_JOB, "video"),
        (SCALED, "video"),
        (KEDA, LONG_NAME),
    ],
    ids=["least", "long name", "everything", "plain job", "scaled", "keda"],
)
def test_every_object_is_valid_under_the_restricted_pod_security_standard(
    helm: Helm, values: dict[str, Any], release: str, kubernetes: str
) -> None:
    validator = need_shared("validate_manifests.py")
    need("promtool")
    objects = helm.render(values, release=release).manifests

    options = ["--kube-version", kubernetes, "--pss-restricted", "--promtool"]
    run = subprocess.run([sys.executable, validator, *options], input=objects, capture_output=True, text=True)

    assert run.returncode == 0, run.stdout + run.stderr


def test_the_way_past_a_pooler_comes_from_the_secret_where_there_is_one(helm: Helm) -> None:
    def told(values: dict[str, Any]) -> list[dict[str, Any]]:
        pods = helm.render(values).pods()
        named = [env for _, pod in pods for each in pod["containers"] for env in each.get("env", ())]
        return [env["valueFrom"]["secretKeyRef"] for env in named if env["name"] == "COGMILL_LISTEN_URL"]

    assert told(LEAST) == []
    refs = told(EVERYTHING)
    assert len(refs) >= 4, "the API, the dispatcher, the maintainer and the migration"
    assert all((ref["name"], ref["key"]) == ("cogmill-db", "direct") for ref in refs)


@pytest.mark.parametrize("values", [LEAST, EVERYTHING], ids=["least", "everything"])
def test_the_configuration_loads(
    helm: Helm, values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = helm.render(values)
    path = tmp_path / "cogmill.toml"
    path.write_text(rendered.find("ConfigMap", "cogmill")["data"]["cogmill.toml"])
    secrets = {"COGMILL_DATABASE_URL": "postgresql://cogmill@db/cogmill", "COGMILL_MASTER_KEY": "k" * 32}
    if values is EVERYTHING:
        secrets["COGMILL_LISTEN_URL"] = "postgresql://cogmill@direct/cogmill"
    for name, value in {"COGMILL_CONFIG": str(path), **secrets}.items():
        monkeypatch.setenv(name, value)

    settings = config.load()

    assert (settings.api.host, settings.metrics.host) == ("0.0.0.0", "0.0.0.0")
    pods = dict(rendered.pods())
    ports = {
        name: container(pod)["ports"][0]["containerPort"] for name, pod in pods.items() if "ports" in container(pod)
    }
    assert ports["cogmill-api"] == settings.api.port
    assert ports[dispatcher_of(rendered)] == settings.metrics.dispatch_port
    assert ports["cogmill-maintainer"] == settings.metrics.maintain_port
    for pool, wanted in values.get("config", {}).get("pools", {"main": {"workers": 1}}).items():
        assert settings.pools[pool].workers == wanted["workers"]


def test_the_migration_hook_and_the_processes_read_the_same_configuration(helm: Helm) -> None:
    rendered = helm.render(EVERYTHING)

    told = rendered.find("ConfigMap", "cogmill")["data"]
    assert rendered.find("ConfigMap", "-migrate")["data"] == told
    assert rendered.wanted.config["data"] == told


def test_a_change_of_the_configuration_restarts_what_reads_it(helm: Helm) -> None:
    before, after = helm.render(LEAST), helm.render(least({"config": {"log": {"level": "debug"}}}))
    for name in ("-api", "-maintainer", "-dispatcher"):
        first, second = (each.find("Deployment", name)["spec"]["template"] for each in (before, after))
        assert first != second, name


@pytest.mark.parametrize(
    ("values", "path", "volume"),
    [
        (LEAST, "/models-cache", {"emptyDir": {"sizeLimit": "100Gi"}}),
        (EVERYTHING, "/cache", {"persistentVolumeClaim": {"claimName": "cache"}}),
    ],
    ids=["least", "everything"],
)
def test_workers_keep_what_they_fetch_where_the_configuration_says(
    helm: Helm, values: dict[str, Any], path: str, volume: dict[str, Any]
) -> None:
    rendered = helm.render(values)

    [group] = cluster_of(rendered)["spec"]["workerGroupSpecs"]
    pod = group["template"]["spec"]
    [mount] = [mount for mount in container(pod)["volumeMounts"] if mount["name"] == "models-cache"]
    assert mount == {"name": "models-cache", "mountPath": path}
    assert {"name": "models-cache"} | volume in pod["volumes"]
    assert f'models_cache = "{path}"' in rendered.find("ConfigMap", "cogmill")["data"]["cogmill.toml"]


@pytest.mark.parametrize(("values", "secret"), [(EVERYTHING, "ray-token"), (LEAST, None)])
def test_the_dispatcher_joins_its_cluster_with_its_token(
    helm: Helm, values: dict[str, Any], secret: str | None
) -> None:
    rendered = helm.render(values)
    cluster = cluster_of(rendered)
    name = cluster["metadata"]["name"]

    env = environment(dict(rendered.pods())[dispatcher_of(rendered)])

    assert env["COGMILL_RAY__CLUSTER"]["value"] == name
    assert env["COGMILL_RAY__ADDRESS"]["value"] == f"{name}-head-svc:6379"
    assert env["RAY_AUTH_MODE"]["value"] == cluster["spec"]["authOptions"]["mode"] == "token"
    assert env["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": secret or name, "key": "auth_token"}
    assert cluster["spec"]["authOptions"].get("secretName") == secret


def test_there_is_one_dispatcher_and_the_old_one_ends_first(helm: Helm) -> None:
    spec = helm.render().find("Deployment", "-dispatcher")["spec"]

    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_names_stay_within_what_kuberay_and_services_take(helm: Helm) -> None:
    rendered = helm.render(release=LONG_NAME)

    assert all(len(found["metadata"]["name"]) < 53 for found in rendered.objects)
    # KubeRay cuts generated names at 50 characters, and then the head's Service has another name than the one we dial.
    assert len(cluster_of(rendered)["metadata"]["name"] + "-head-svc") <= 50


def test_long_release_names_that_begin_alike_stay_apart(helm: Helm) -> None:
    names = [f"{LONG_NAME[:-1]}{last}" for last in "12"]

    first, second = ({o["metadata"]["name"] for o in helm.render(release=name).objects} for name in names)

    assert first.isdisjoint(second)


def test_no_pod_gets_service_links_or_a_kubernetes_token(helm: Helm) -> None:
    """Service links would put variables into the environment that begin like our settings."""
    for name, pod in helm.render(SCALED).pods():
        assert pod["enableServiceLinks"] is False, name
        assert pod["automountServiceAccountToken"] is False, name


def test_no_container_writes_to_its_root_and_each_says_what_it_takes_of_the_nodes_disk(helm: Helm) -> None:
    rendered = helm.render(SCALED)
    options = cluster_of(rendered)["spec"]["autoscalerOptions"]
    containers = {name: container(pod) for name, pod in rendered.pods()} | {"autoscaler": options}
    assert len(containers) == 11
    for name, each in containers.items():
        assert each["securityContext"]["readOnlyRootFilesystem"] is True, name
        assert "ephemeral-storage" in each["resources"]["requests"], name
        if not name.endswith("-test"):
            assert "/tmp" in {mount["mountPath"] for mount in each["volumeMounts"]}, name


def test_a_volume_of_weights_is_not_walked_through_at_each_start(helm: Helm) -> None:
    for name, pod in helm.render(EVERYTHING).pods():
        assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch", name


@pytest.mark.parametrize("values", [SCALED, least({"migration": {"hook": False}})], ids=["hook", "plain"])
def test_each_component_runs_as_an_account_of_its_own(helm: Helm, values: dict[str, Any]) -> None:
    rendered = helm.render(values)
    made = [found["metadata"]["name"] for found in rendered.objects if found["kind"] == "ServiceAccount"]
    parts = ("api", "clusters", "dispatcher", "maintainer", "migrate", "ray-head", "ray-worker")

    assert sorted(made) == [f"cogmill-{part}" for part in parts]
    assert {pod["serviceAccountName"] for _, pod in rendered.pods()} == set(made)


def test_a_component_may_have_an_account_that_exists_or_another_identity(helm: Helm) -> None:
    own = {"pod": {"serviceAccount": {"name": "keeper"}}}
    other = {"pod": {"serviceAccount": {"annotations": {"example.com/role": "api"}}}}
    common = {"annotations": {"example.com/role": "all", "a": "b"}}
    rendered = helm.render(least({"serviceAccount": common, "maintainer": own, "api": other}))

    assert dict(rendered.pods())["cogmill-maintainer"]["serviceAccountName"] == "keeper"
    made = {
        found["metadata"]["name"]: found["metadata"]["annotations"]
        for found in rendered.objects
        if found["kind"] == "ServiceAccount"
    }
    assert "keeper" not in made
    assert "cogmill-maintainer" not in made
    assert made["cogmill-api"] == {"example.com/role": "api", "a": "b"}
    assert made["cogmill-dispatcher"] == common["annotations"]
    assert common["annotations"].items() <= made["cogmill-migrate"].items()


def test_the_ray_version_and_the_tags_are_those_of_this_release(helm: Helm) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    pins = dict(
        line.split("==", 1)
        for line in (CHART.parents[1] / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )

    assert values["ray"]["version"] == pins["ray"]
    assert chart["appVersion"] == chart["version"]
    assert f'version = "{chart["version"]}"' in (CHART.parents[1] / "pyproject.toml").read_text()


def test_pods_are_spread_as_is_said_and_the_apis_over_nodes_where_nothing_is(helm: Helm) -> None:
    zones = [{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}]
    said = {"pod": {"topologySpreadConstraints": zones}}
    unsaid, spread = (dict(helm.render(least(more)).pods()) for more in ({}, {"api": said, "ray": {"worker": said}}))

    assert [each["topologyKey"] for each in unsaid["cogmill-api"]["topologySpreadConstraints"]] == [
        "kubernetes.io/hostname"
    ]
    assert spread["cogmill-api"]["topologySpreadConstraints"] == zones
    [worker] = [pod for name, pod in spread.items() if name.endswith(" gpu")]
    assert worker["topologySpreadConstraints"] == zones
    assert "topologySpreadConstraints" not in spread["cogmill-maintainer"]


def test_every_process_and_worker_that_serves_or_renders_has_the_volumes_of_everybody(helm: Helm) -> None:
    for name, pod in helm.render(EVERYTHING).pods():
        mounts = {mount["mountPath"]: mount for mount in container(pod).get("volumeMounts", ())}
        if name.endswith((" head", "-test", "-clusters", "-migrate")):
            assert "/etc/ca" not in mounts
        else:
            assert mounts["/etc/ca"]["readOnly"] is True
            assert mounts["/c2pa/key.pem"]["subPath"] == "key"
