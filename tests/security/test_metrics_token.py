"""Figures of the whole deployment, which tell of every tenant: with `metrics.token` they are for whoever has it."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import httpx
import pytest
import yaml
from pydantic import SecretStr

from orchestrator.config import MetricsSettings
from orchestrator.config.clusters import ClustersSettings
from orchestrator.local import process
from orchestrator.telemetry import health
from tests.support.api import api_settings, in_process, serving
from tests.support.helm import CHART
from tests.support.sockets import free_port
from tests.support.sources import trees
from tests.support.tools import need

TOKEN = "a-token-of-the-tests"
WRONG = (None, "", TOKEN, f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", "Bearer \xe9")
DEPLOY = CHART.parents[1] / "deploy"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with health.serve("127.0.0.1", 0, health.Pulse(60), TOKEN) as port:
        yield port


def headers(sent: str | None) -> list[tuple[bytes, bytes]]:
    return [] if sent is None else [(b"authorization", sent.encode("latin-1"))]


def test_a_process_tells_its_figures_to_whoever_has_the_token_and_its_health_to_all(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        refused = [http.get("/metrics", headers=headers(sent)) for sent in WRONG]
        assert {answer.status_code for answer in refused} == {401}
        assert {answer.headers["www-authenticate"] for answer in refused} == {"Bearer"}
        assert not [answer for answer in refused if "cogmill_" in answer.text]
        for sent in (f"Bearer {TOKEN}", f"bearer  {TOKEN}"):
            assert "cogmill_" in http.get("/metrics", headers=headers(sent)).raise_for_status().text
        assert http.get("/healthz").status_code == 200


@pytest.mark.parametrize("wrong", [BrokenPipeError("it left"), ValueError("a metric is broken")], ids=repr)
def test_a_scraper_that_left_is_no_event_and_what_is_broken_is_told(
    port: int, wrong: Exception, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(health, "generate_latest", Mock(side_effect=wrong))
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"http://127.0.0.1:{port}/metrics", headers={"authorization": f"Bearer {TOKEN}"}, trust_env=False)
    assert (str(wrong) in capfd.readouterr().err) == isinstance(wrong, ValueError)


async def test_so_does_the_api_at_the_port_of_its_callers(database_url: str) -> None:
    settings = api_settings(database_url)
    guarded = settings.model_copy(update={"metrics": MetricsSettings(token=SecretStr(TOKEN))})
    async with serving(guarded) as app, in_process(app) as http:
        for sent in WRONG:
            refused = await http.get("/metrics", headers=headers(sent))
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert (await http.get("/metrics", headers=headers(f"Bearer {TOKEN}"))).status_code == 200
        assert (await http.get("/healthz")).status_code == 200


def test_no_process_serves_figures_without_asking_for_the_token() -> None:
    calls = [
        call
        for _, tree in trees("api", "orchestrator")
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "health.serve"
    ]
    assert len(calls) == 4
    assert all(ast.unparse(call.args[-1]).endswith(".bearer") for call in calls)


def test_the_controller_knows_it_from_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"DATABASE_URL": "postgresql://h/x", "CLUSTERS__OWNER": "o", "CLUSTERS__TEMPLATE": "t"}
    for name, value in (said | {"METRICS__TOKEN": TOKEN}).items():
        monkeypatch.setenv(f"COGMILL_{name}", value)
    assert ClustersSettings().metrics.bearer == TOKEN
    assert TOKEN not in repr(ClustersSettings())


@pytest.mark.parametrize(
    "token", ["short", "with a space in its middle", "with\nanother: header", "ümlaut-ümlaut-ümlaut"]
)
def test_a_token_that_no_header_can_carry_is_refused_by_name(token: str) -> None:
    with pytest.raises(ValueError, match="token") as refused:
        MetricsSettings(token=SecretStr(token))
    assert token not in str(refused.value)


@pytest.fixture(scope="module")
def scraping(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with compose's own file, told the token as OPERATIONS says; one of its jobs was not."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "token").write_text(TOKEN)
    configuration = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s"}
    del configuration["rule_files"]
    for scrape in configuration["scrape_configs"]:
        scrape["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
        if scrape["job_name"] != "cogmill-api":
            scrape["authorization"] = {"credentials_file": str(folder / "token")}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    listening = free_port()
    running = process.spawn(
        [
            need("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{listening}",
        ],
        log=folder / "log",
    )
    try:
        assert process.wait_until_listening(listening, running, timeout_s=30), Path(folder / "log").read_text()
        yield f"http://127.0.0.1:{listening}"
    finally:
        process.stop(running)


def test_a_prometheus_that_has_the_token_scrapes_and_another_is_told_401(scraping: str) -> None:
    told = {
        "cogmill-api": ("down", "server returned HTTP status 401 Unauthorized"),
        "cogmill-dispatcher": ("up", ""),
        "cogmill-maintainer": ("up", ""),
    }
    deadline, targets = time.monotonic() + 60, dict[str, tuple[str, str]]()
    while targets != told:  # its first scrapes may find a page that is still being imported
        assert time.monotonic() < deadline, targets
        answer = httpx.get(f"{scraping}/api/v1/targets", trust_env=False)
        if answer.is_success:  # it listens before it is ready
            active = answer.json()["data"]["activeTargets"]
            targets = {each["labels"]["job"]: (each["health"], each["lastError"]) for each in active}
        time.sleep(0.1)
