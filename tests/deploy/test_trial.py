"""A trial's manifests and README's ten lines hold together, and with the chart; the S3 server starts as it says."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import S3Settings
from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.errors import ObjectsRefused
from orchestrator.local import process, s3
from tests.support.helm import Helm
from tests.support.places import ROOT, invalid, manifests, rendered_at, trial_secrets, values_of
from tests.support.sockets import free_port
from workers.cogvideox import tiny

LABEL = "app.kubernetes.io/part-of"
CHAPTER = (ROOT / "README.md").read_text().split("\n## Ten lines to a first video on a cluster\n")[1].split("\n## ")[0]
LINES = CHAPTER.split("```sh\n")[1].split("```")[0].splitlines()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]


def found(kind: str, name: str) -> dict[str, Any]:
    [only] = [each for each in manifests() if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return only


def pod(kind: str, name: str) -> dict[str, Any]:
    return dict(found(kind, name)["spec"]["template"]["spec"])


def container(kind: str, name: str) -> dict[str, Any]:
    [only] = pod(kind, name)["containers"]
    return dict(only)


def secrets() -> dict[str, dict[str, str]]:
    return {each["metadata"]["name"]: each["stringData"] for each in yaml.safe_load_all(trial_secrets())}


def line(beginning: str) -> str:
    """The one of the ten lines that begins so."""
    [only] = [each for each in LINES if each.startswith(beginning)]
    return only


def test_every_object_is_valid_under_the_restricted_pod_security_standard() -> None:
    assert invalid("\n---\n".join([yaml.safe_dump_all(manifests()), trial_secrets()])) == ""


def test_no_secret_is_written_down_and_each_run_makes_others() -> None:
    assert "Secret" not in {each["kind"] for each in manifests()}
    first, second = secrets(), secrets()
    for name in ("cogmill-master-key", "cogmill-s3", "cogmill-database"):
        changing = {key for key in first[name] if first[name][key] != second[name][key]}
        assert changing == first[name].keys() - {"access-key"}, name
    random = [first["cogmill-master-key"]["master-key"], first["cogmill-s3"]["secret-key"]]
    password = first["cogmill-database"]["password"]
    assert all(re.fullmatch(r"[0-9a-f]{64}", each) for each in [*random, password])
    assert len({*random, password}) == 3


def test_the_database_is_reached_as_its_url_says() -> None:
    made = secrets()["cogmill-database"]
    service, server = found("Service", "cogmill-postgres"), container("Deployment", "cogmill-postgres")
    env = {each["name"]: each["value"] for each in server["env"]}
    [secret] = [each["secret"] for each in pod("Deployment", "cogmill-postgres")["volumes"] if "secret" in each]
    [mount] = [each["mountPath"] for each in server["volumeMounts"] if each["name"] == "password"]

    user, database = env["POSTGRES_USER"], env["POSTGRES_DB"]
    port = service["spec"]["ports"][0]["port"]
    assert made["url"] == f"postgresql://{user}:{made['password']}@{service['metadata']['name']}:{port}/{database}"
    assert secret["secretName"] == "cogmill-database"
    assert f"{mount}/{secret['items'][0]['path']}" == env["POSTGRES_PASSWORD_FILE"]
    assert secret["items"][0]["key"] in made


@pytest.mark.parametrize(("name", "service"), [("cogmill-postgres", "postgres"), ("cogmill-s3", "s3")])
def test_a_server_is_composes_own_reached_by_its_service_and_one_at_a_time(name: str, service: str) -> None:
    deployment = found("Deployment", name)
    labels = deployment["spec"]["template"]["metadata"]["labels"]

    assert container("Deployment", name)["image"] == COMPOSE[service]["image"]
    assert found("Service", name)["spec"]["selector"].items() <= labels.items()
    [port] = found("Service", name)["spec"]["ports"]
    assert port["targetPort"] in {each["name"] for each in container("Deployment", name)["ports"]}
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_the_chart_finds_s3_where_it_is() -> None:
    told = values_of("trial")["config"]["s3"]
    port = found("Service", "cogmill-s3")["spec"]["ports"][0]["port"]

    assert told["endpoint_url"] == f"http://cogmill-s3:{port}"
    assert told["public_url"] == f"http://localhost:{port}"
    assert f"/data/{S3Settings().bucket} " in container("Deployment", "cogmill-s3")["command"][-1]


def test_the_worker_finds_the_checkpoint_that_the_job_makes(helm: Helm) -> None:
    job = container("Job", "cogmill-models")
    [worker] = [pod for name, pod in rendered_at(helm, "trial").pods() if name.endswith(" gpu")]
    values = values_of("trial")
    model = values["config"]["models"][values["config"]["default_model"]]
    *command, directory = job["command"]
    mounts = {each["name"]: each["mountPath"] for each in worker["containers"][0]["volumeMounts"]}
    claims = {each["name"]: each.get("persistentVolumeClaim", {}).get("claimName") for each in worker["volumes"]}

    assert command == ["cogmill", "model", "tiny"]
    assert model["source"] == str(tiny.path(FAMILIES[model["family"]], Path(directory)))
    assert mounts["weights"] == directory == {each["name"]: each["mountPath"] for each in job["volumeMounts"]}["models"]
    assert claims["weights"] == "cogmill-models"
    assert job["image"] == worker["containers"][0]["image"]
    # Written by the user who reads it.
    assert pod("Job", "cogmill-models")["securityContext"] == worker["securityContext"]


def test_no_pod_asks_for_a_gpu_and_ray_counts_one(helm: Helm) -> None:
    text = rendered_at(helm, "trial").text

    assert "nvidia.com/gpu" not in text
    assert 'num-gpus: "1"' in text


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Settings]:
    """rclone, started with the manifest's command and environment, as Kubernetes makes them of it."""
    data, port, keys = tmp_path / "data", free_port(), secrets()["cogmill-s3"]
    env = {"PATH": f"{s3.binary().parent}:/usr/bin:/bin"}
    for each in container("Deployment", "cogmill-s3")["env"]:
        ref = each.get("valueFrom", {}).get("secretKeyRef")
        value = keys[ref["key"]] if ref else each["value"]
        env[each["name"]] = re.sub(r"\$\((\w+)\)", lambda found: env[found[1]], value)
    shell, option, text = container("Deployment", "cogmill-s3")["command"]
    text = text.replace("/data", str(data)).replace(":9000", f"127.0.0.1:{port}")
    started = process.spawn([Path(shell), option, text], log=tmp_path / "log", env=env | {"HOME": str(tmp_path)})
    try:
        assert process.wait_until_listening(port, started, timeout_s=30), (tmp_path / "log").read_text()
        yield S3Settings(
            endpoint_url=f"http://127.0.0.1:{port}",
            access_key=keys["access-key"],
            secret_key=SecretStr(keys["secret-key"]),
            max_attempts=1,
        )
    finally:
        process.stop(started)


def test_the_s3_server_takes_the_secrets_keys_and_no_others(server: S3Settings, tmp_path: Path) -> None:
    S3Objects(server).put("videos/one", b"a video", "video/mp4")

    assert (tmp_path / "data" / server.bucket / "videos" / "one").read_bytes() == b"a video"
    stranger = S3Objects(server.model_copy(update={"secret_key": SecretStr("x" * 64)}))
    with pytest.raises(ObjectsRefused):
        stranger.get("videos/one")


def test_there_are_ten_lines_and_each_is_shell() -> None:
    assert len(LINES) == 10
    subprocess.run(["bash", "-n"], input="\n".join(LINES), check=True, text=True)


def test_the_lines_build_and_load_the_images_that_the_trial_runs(helm: Helm) -> None:
    built = [re.findall(r" -t (\S+) ", each)[0] for each in LINES if each.startswith("docker build")]
    run = {each["image"] for _, spec in rendered_at(helm, "trial").pods() for each in spec["containers"]}

    assert set(built) == run
    assert set(line("kind load docker-image").split()[3:]) == run
    for each in LINES[:2]:
        assert (ROOT / each.split(" -f ")[1].split()[0]).is_file()
    declared = re.findall(r"^ARG (\w+)", (ROOT / "deploy/worker.Dockerfile").read_text(), re.MULTILINE)
    assert set(re.findall(r"--build-arg (\w+)=", LINES[1])) <= set(declared)


def test_the_lines_name_what_the_manifests_and_the_chart_make(helm: Helm) -> None:
    charts = {(each["kind"], each["metadata"]["name"]) for each in rendered_at(helm, "trial").objects}
    made = charts | {(each["kind"], each["metadata"]["name"]) for each in manifests()}
    kinds = {"job": "Job", "deployment": "Deployment", "svc": "Service"}

    named = re.findall(r" (job|deployment|svc)/(\S+)", "\n".join(LINES))
    assert len(named) == 4
    assert {(kinds[kind], name) for kind, name in named} <= made
    for path in re.findall(r"(?:deploy|helm)/[\w./-]+", "\n".join(LINES)):
        assert (ROOT / path).exists(), path
    [forward] = re.findall(r"port-forward svc/cogmill-api (\d+):(\d+)", CHAPTER)
    [port] = rendered_at(helm, "trial").find("Service", "-api")["spec"]["ports"]
    assert f"API=http://localhost:{forward[0]}" in CHAPTER
    assert int(forward[1]) == port["port"]


def test_the_operator_is_of_the_version_that_the_other_commands_install() -> None:
    versions = {
        version
        for text in (CHAPTER, (ROOT / "deploy" / "clouds.md").read_text())
        for version in re.findall(r"helm install kuberay-operator \S+ --version (\S+)", text)
    }
    assert len(versions) == 1


def test_what_the_reader_deletes_at_the_end_is_all_that_there_is() -> None:
    [(kinds, key, value)] = re.findall(r"`kubectl delete (\S+) -l (\S+?)=(\S+?)`", CHAPTER)
    every = [*manifests(), *yaml.safe_load_all(trial_secrets())]

    assert key == LABEL
    assert {each["metadata"]["labels"][key] for each in every} == {value}
    short = {"persistentvolumeclaim": "pvc"}
    assert {short.get(kind := each["kind"].lower(), kind) for each in every} == set(kinds.split(","))
