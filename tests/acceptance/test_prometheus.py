"""A real Prometheus scrapes a real stack's three processes and finds what a render leaves behind."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from orchestrator.local import process
from tests.support.helm import CHART
from tests.support.promql import panels, queries
from tests.support.sockets import free_port
from tests.support.stack import Up, wait_for
from tests.support.tools import need

DEPLOY = CHART.parents[1] / "deploy"
PROCESSES = ["api", "dispatch", "maintain"]

# PromQL that must have an answer, once one video of a pool has been rendered, with each process that must give it.
EXPECTED = {
    'cogmill_http_request_seconds_count{method="POST", route="/v1/videos"} > 0': ["cogmill-api"],
    "cogmill_jobs_submitted_total > 0": ["cogmill-api"],
    "cogmill_claims_total > 0": ["cogmill-dispatcher"],
    'cogmill_attempts_total{outcome="succeeded"} > 0': ["cogmill-dispatcher"],
    'cogmill_jobs_ended_total{state="succeeded"} > 0': ["cogmill-dispatcher"],
    'cogmill_settlements_total{settled="applied"} > 0': ["cogmill-dispatcher"],
    "cogmill_job_wait_seconds_count > 0": ["cogmill-dispatcher"],
    "cogmill_render_seconds_sum > 0": ["cogmill-dispatcher"],
    'cogmill_stage_seconds_count{stage="denoising"} > 0': ["cogmill-dispatcher"],
    "cogmill_denoise_steps_total > 0": ["cogmill-dispatcher"],
    "cogmill_gpu_busy_seconds_total > 0": ["cogmill-dispatcher"],
    "cogmill_lease_renewals_total > 0": ["cogmill-dispatcher"],
    'cogmill_workers{state="ready"} > 0': ["cogmill-dispatcher"],
    "cogmill_swept_objects_total >= 0": ["cogmill-maintainer"],
    "process_resident_memory_bytes > 0": ["cogmill-api", "cogmill-dispatcher", "cogmill-maintainer"],
}

# Panels that say nothing of a stack on which a few videos were rendered, and why.
NO_KINDS = "no pool has kinds of workers, or shares them"
NO_TROUBLE = "nothing of it has happened"
NOTHING_GOES_ON = "no campaign goes on, and nothing waits: the gauges go with what they count"
SILENT = {
    "Overview: Alerts that fire": NO_TROUBLE,
    "Overview: Jobs by state": NOTHING_GOES_ON,
    "Overview: Burn rate over six hours": "no campaign has completed: of its objective there is nothing",
    "Overview: Burn rate over one hour": "the same",
    "Fleet: Workers declared dead": NO_TROUBLE,
    "Fleet: Quarantines": NO_TROUBLE,
    "Fleet: Workers of kinds": NO_KINDS,
    "Fleet: Decisions for more and fewer workers": NO_KINDS,
    "Fleet: Kinds that rest": NO_KINDS,
    "Fleet: Shared workers by the model they hold": NO_KINDS,
    "Fleet: Swaps of models per hour": NO_KINDS,
    "Fleet: Ray clusters by state": "only Kubernetes has the controller that tells of them",
    "Queue and fairness: Jobs by pool": NOTHING_GOES_ON,
    "Queue and fairness: Oldest of each state": NOTHING_GOES_ON,
    "Queue and fairness: Backlog in GPU hours": NOTHING_GOES_ON,
    "Queue and fairness: Share of the tenant with the most": NOTHING_GOES_ON,
    "Queue and fairness: Tenants that wait": NOTHING_GOES_ON,
    "Queue and fairness: Renders that gave way per hour": NO_TROUBLE,
    "Campaigns and forecasts: Forecasts that held": "no campaign of two minutes has completed",
    "Campaigns and forecasts: Campaigns by state": NOTHING_GOES_ON,
    "Campaigns and forecasts: Campaigns that came to a state, per hour": NOTHING_GOES_ON,
    "Campaigns and forecasts: Batches that ended, per hour": NOTHING_GOES_ON,
    "API: Moderation": "no hook is configured",
    "API: Over their limits, and uncounted": NO_TROUBLE,
    "API: Tries to deliver, per minute": "nobody has asked for webhooks",
    "PostgreSQL and S3: Errors per minute": NO_TROUBLE,
    "PostgreSQL and S3: Runs of background loops that failed, per minute": NO_TROUBLE,
    "PostgreSQL and S3: Put aside": NO_TROUBLE,
    "Workers and renders: Jobs that failed, by code": NO_TROUBLE,
    "Workers and renders: Settlements that found something else": NO_TROUBLE,
    "Workers and renders: Incidents per hour": NO_TROUBLE,
    "Workers and renders: Checkpoints stored per hour": "no render was long enough for one",
    "Workers and renders: Videos that went on from a checkpoint, per hour": NO_TROUBLE,
}


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus, asked over HTTP."""

    client: httpx.Client

    def ask(self, path: str, **params: str) -> Any:
        answer = self.client.get(path, params=params).raise_for_status().json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def jobs_that_answer(self, query: str) -> set[str]:
        return {sample["metric"]["job"] for sample in self.ask("query", query=query)["result"]}


@pytest.fixture(scope="module")
def prometheus(stack: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus with compose's configuration and rules, its targets moved to the stack's ports, scraping fast."""
    folder = tmp_path_factory.mktemp("prometheus")
    configuration = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    configuration["global"] = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"}
    # Burn rates are recorded once a minute, which is too long for us.
    slos = yaml.safe_load((CHART / "files" / "slos.yaml").read_text())
    eager = {"groups": [{"name": group["name"], "rules": group["rules"]} for group in slos["groups"]]}
    (folder / "slos.yaml").write_text(yaml.safe_dump(eager))
    configuration["rule_files"] = [str(CHART / "files" / "alerts.yaml"), "slos.yaml"]
    for scrape in configuration["scrape_configs"]:
        [static] = scrape["static_configs"]
        service = static["targets"][0].split(":")[0]
        static["targets"] = [stack.ready["metrics"][service].removeprefix("http://").removesuffix("/metrics")]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    port = free_port()
    running = process.spawn(
        [
            need("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        log=folder / "log",
    )
    try:
        assert process.wait_until_listening(port, running, timeout_s=30), (folder / "log").read_text()
        # One client: each makes a context of TLS, which costs more than most answers.
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=30) as client:
            yield Prometheus(client)
    finally:
        process.stop(running)


def test_what_a_render_leaves_behind_is_found(stack: Up, prometheus: Prometheus) -> None:
    with stack.client() as client:
        request = {"prompt": "a watermill", "num_inference_steps": 2, "num_frames": 9}
        wait_for(client, client.post("/v1/videos", json=request).raise_for_status().json()["id"])

    missing = dict(EXPECTED)
    deadline = time.monotonic() + 30
    while missing and time.monotonic() < deadline:
        missing = {
            query: jobs for query, jobs in missing.items() if not set(jobs) <= prometheus.jobs_that_answer(query)
        }
        time.sleep(0.1)

    assert not missing


def test_every_panel_says_something_or_is_known_not_to(stack: Up, prometheus: Prometheus) -> None:
    with stack.client() as client:
        assert client.get("/v1/videos", headers={"Authorization": "Bearer cgm_nobody.x"}).status_code == 401
        requests = [
            {"prompt": "a mill", "num_inference_steps": 2, "num_frames": 9, "priority": n} for n in (10, 30, 10)
        ]
        made = [client.post("/v1/videos", json=request).raise_for_status().json()["id"] for request in requests]
        assert client.post(f"/v1/videos/{made.pop()}/cancel").status_code == 200
        for video in made:
            wait_for(client, video)

    asked = {
        title: expr for title, expr in queries() if title.removeprefix("Cogmill / ").rsplit(" ", 1)[0] not in SILENT
    }
    assert len(asked) > 80
    deadline = time.monotonic() + 60
    while asked and time.monotonic() < deadline:
        asked = {title: expr for title, expr in asked.items() if not prometheus.ask("query", query=expr)["result"]}
        time.sleep(0.2)

    assert not asked


def test_what_is_known_to_be_silent_is_a_panel_and_can_be_asked(prometheus: Prometheus) -> None:
    silent = {f"Cogmill / {title}" for title in SILENT}
    assert silent <= {title for title, _ in panels()}

    for title, expr in queries():
        if title.rsplit(" ", 1)[0] in silent:
            prometheus.ask("query", query=expr)


def test_every_alert_can_be_evaluated_and_none_says_that_a_process_is_down(prometheus: Prometheus) -> None:
    deadline = time.monotonic() + 30
    while len(prometheus.jobs_that_answer("up == 1")) < len(PROCESSES):
        assert time.monotonic() < deadline, prometheus.ask("targets")
        time.sleep(0.1)
    while True:
        rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
        down = [rule["name"] for rule in rules if rule["name"].endswith("Down") and rule["state"] != "inactive"]
        if all(rule["health"] == "ok" for rule in rules) and not down:
            return
        assert time.monotonic() < deadline, rules
        time.sleep(0.1)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_metrics_page_follows_the_conventions(stack: Up, name: str) -> None:
    page = httpx.get(stack.ready["metrics"][name]).raise_for_status()

    run = subprocess.run([need("promtool"), "check", "metrics"], input=page.text, capture_output=True, text=True)

    assert run.returncode == 0, run.stdout + run.stderr
    assert page.headers["content-type"].startswith("text/plain; version=")


def test_the_configuration_is_one_that_prometheus_takes(tmp_path: Path) -> None:
    configuration = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    for name in ("alerts.yaml", "slos.yaml"):
        (tmp_path / name).write_text((CHART / "files" / name).read_text())
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(configuration))

    run = subprocess.run(
        [need("promtool"), "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True
    )

    assert run.returncode == 0, run.stdout + run.stderr
