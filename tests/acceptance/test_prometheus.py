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
from tests.support.promql import queries
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

# Queries of panels that have no answer on a stack on which a few videos were rendered, and why.
NO_KINDS = "no pool has kinds of workers, or shares them"
NO_TROUBLE = "nothing of it has happened"
NOTHING_GOES_ON = "no campaign goes on, and nothing waits for long: the gauges go with what they count"
SILENT = {
    "Overview: Alerts that fire A": NO_TROUBLE,
    "Overview: Jobs by state A": NOTHING_GOES_ON,
    "Fleet: Workers declared dead A": NO_TROUBLE,
    "Fleet: Quarantines A": NO_TROUBLE,
    "Fleet: Workers of kinds A": NO_KINDS,
    "Fleet: Decisions for more and fewer workers A": NO_KINDS,
    "Fleet: Kinds that rest A": NO_KINDS,
    "Fleet: Shared workers by the model they hold A": NO_KINDS,
    "Fleet: Swaps of models per hour A": NO_KINDS,
    "Fleet: Ray clusters by state A": "only Kubernetes has the controller that tells of them",
    "Queue and fairness: Jobs by pool A": NOTHING_GOES_ON,
    "Queue and fairness: Oldest of each state A": NOTHING_GOES_ON,
    "Queue and fairness: Backlog in GPU hours A": NOTHING_GOES_ON,
    "Queue and fairness: Share of the tenant with the most A": NOTHING_GOES_ON,
    "Queue and fairness: Tenants that wait, by pool A": NOTHING_GOES_ON,
    "Queue and fairness: Renders that gave way per hour A": NO_TROUBLE,
    "Queue and fairness: Renders that gave way per hour B": NO_TROUBLE,
    "Campaigns and forecasts: Forecasts that held A": "no campaign of two minutes has completed",
    "Campaigns and forecasts: Campaigns by state A": NOTHING_GOES_ON,
    "Campaigns and forecasts: Campaigns that came to a state, per hour A": NOTHING_GOES_ON,
    "Campaigns and forecasts: Batches that ended, per hour A": NOTHING_GOES_ON,
    "API: Moderation A": "no hook is configured",
    "API: Over their limits, and uncounted A": NO_TROUBLE,
    "API: Tries to deliver, per minute A": "nobody has asked for webhooks",
    "PostgreSQL and S3: Database errors per minute A": NO_TROUBLE,
    "PostgreSQL and S3: S3 errors per minute A": NO_TROUBLE,
    "PostgreSQL and S3: Runs of background loops that failed, per minute A": NO_TROUBLE,
    "PostgreSQL and S3: Put aside A": NO_TROUBLE,
    "Workers and renders: Jobs that failed, by code A": NO_TROUBLE,
    "Workers and renders: Settlements that found something else A": NO_TROUBLE,
    "Workers and renders: Incidents per hour A": NO_TROUBLE,
    "Workers and renders: Checkpoints stored per hour A": "no render was long enough for one",
    "Workers and renders: Videos that went on from a checkpoint, per hour A": NO_TROUBLE,
}


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus, asked over HTTP."""

    client: httpx.Client

    def ask(self, path: str, **params: str) -> Any:
        answer = self.client.get(path, params=params).raise_for_status().json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def answered(self, query: str, *, since: float) -> bool:
        """Whether it has had an answer at any time since then: so a panel asks."""
        times = {"start": f"{since}", "end": f"{time.time()}", "step": "2s"}
        return bool(self.ask("query_range", query=query, **times)["result"])

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


def submitted(client: httpx.Client, **fields: Any) -> str:
    """The id of a video that takes the least time."""
    body = {"prompt": "a watermill", "num_inference_steps": 2, "num_frames": 9, **fields}
    return str(client.post("/v1/videos", json=body).raise_for_status().json()["id"])


@pytest.mark.timeout(400)
def test_what_a_render_leaves_behind_is_found(stack: Up, prometheus: Prometheus) -> None:
    with stack.client() as client:
        wait_for(client, submitted(client), within_s=200)

    missing = dict(EXPECTED)
    deadline = time.monotonic() + 30
    while missing and time.monotonic() < deadline:
        missing = {
            query: jobs for query, jobs in missing.items() if not set(jobs) <= prometheus.jobs_that_answer(query)
        }
        time.sleep(0.5)

    assert not missing


@pytest.mark.timeout(600)
def test_every_query_of_a_panel_has_an_answer_or_is_known_not_to(stack: Up, prometheus: Prometheus) -> None:
    asked = {title.removeprefix("Cogmill / "): expr for title, expr in queries()}
    assert SILENT.keys() <= asked.keys()
    for title in SILENT:
        prometheus.ask("query", query=asked.pop(title))
    assert len(asked) > 100
    began = time.time()
    with stack.client() as client:
        assert client.get("/v1/videos", headers={"Authorization": "Bearer cgm_nobody.x"}).status_code == 401
        first, cancelled, last = (submitted(client, priority=n) for n in (30, 10, 10))
        assert client.post(f"/v1/videos/{cancelled}/cancel").status_code == 200
        for video in (first, last):
            wait_for(client, video, within_s=200)
            client.get(f"/v1/videos/{video}/content").raise_for_status()
        deadline = time.monotonic() + 120
        while asked and time.monotonic() < deadline:
            asked = {title: expr for title, expr in asked.items() if not prometheus.answered(expr, since=began)}
            if asked:
                # A rate needs a sample before what it counts, and the first one may have come after it.
                video = wait_for(client, submitted(client), within_s=200)["id"]
                client.get(f"/v1/videos/{video}/content").raise_for_status()

    assert not asked


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
