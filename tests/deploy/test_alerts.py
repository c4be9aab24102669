"""Each alert fires in the trouble that it is named after, and none fires while all is well."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from orchestrator.telemetry import metrics
from tests.support.helm import CHART
from tests.support.tools import need

FILE = CHART / "files" / "alerts.yaml"
# Those on objectives have their own troubles (test_slos.py).
SLOS = CHART / "files" / "slos.yaml"
RULES = [rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]]
MINUTES = 90

# One sample a minute, in promtool's notation: start+step x count. All is well: two GPUs, a queue that moves.
WELL = {
    'up{job="cogmill-api"}': "1x90",
    'up{job="cogmill-dispatcher"}': "1x90",
    'up{job="cogmill-maintainer"}': "1x90",
    'up{job="cogmill-clusters"}': "1x90",
    'cogmill_http_request_seconds_count{job="cogmill-api", status="200"}': "0+600x90",
    'cogmill_http_request_seconds_count{job="cogmill-api", status="503"}': "0+1x90",
    'cogmill_jobs{job="cogmill-dispatcher", pool="main", state="queued"}': "5x90",
    'cogmill_jobs{job="cogmill-maintainer", pool="main", state="queued"}': "5x90",
    'cogmill_claims_total{pool="main"}': "0+2x90",
    'cogmill_jobs_ended_total{pool="main", state="succeeded"}': "0+2x90",
    'cogmill_workers{pool="main", state="ready"}': "2x90",
    'cogmill_workers{pool="main", state="broken"}': "0x90",
    'cogmill_gpu_busy_seconds_total{pool="main"}': "0+115x90",
    'cogmill_loop_failures_total{job="cogmill-dispatcher", loop="beat"}': "0x90",
    'cogmill_lease_expiries_total{reason="silent"}': "0x90",
    'cogmill_workers_quarantined_total{pool="main"}': "0x90",
    'cogmill_prediction_error_ratio_bucket{pool="main", model="m", le="0.667"}': "0x90",
    'cogmill_prediction_error_ratio_bucket{pool="main", model="m", le="1.333"}': "0+2x90",
    'cogmill_prediction_error_ratio_count{pool="main", model="m"}': "0+2x90",
    'cogmill_campaigns_at_risk{job="cogmill-maintainer", instance="a"}': "0 1x10 0x79",
    'cogmill_forecast_made_timestamp_seconds{job="cogmill-maintainer", instance="a"}': "0+60x90",
    'cogmill_forecast_made_timestamp_seconds{job="cogmill-maintainer", instance="b"}': "0x90",
    "cogmill_unknown_tokens_total": "0x90",
    'cogmill_outbox_oldest_age_seconds{job="cogmill-maintainer"}': "1x90",
    "cogmill_uncounted_requests_total": "0x90",
    'cogmill_roll_overdue{job="cogmill-clusters"}': "0x90",
    'cogmill_pool_paused{job="cogmill-dispatcher", pool="main"}': "0x90",
    'cogmill_pool_paused{job="cogmill-maintainer", pool="main"}': "0x90",
}
BUSY = 'cogmill_gpu_busy_seconds_total{pool="main"}'
CLAIMS = 'cogmill_claims_total{pool="main"}'
READY = 'cogmill_workers{pool="main", state="ready"}'
TROUBLE = {
    "CogmillApiDown": {'up{job="cogmill-api"}': "0x90"},
    "CogmillDispatcherDown": {'up{job="cogmill-dispatcher"}': "0x90"},
    "CogmillMaintainerDown": {'up{job="cogmill-maintainer"}': "0x90"},
    "CogmillApiErrors": {'cogmill_http_request_seconds_count{job="cogmill-api", status="503"}': "0+60x90"},
    "CogmillQueueStuck": {CLAIMS: "50x90"},
    "CogmillNoReadyWorker": {READY: "0x90", BUSY: "0x90"},
    "CogmillWorkerBroken": {'cogmill_workers{pool="main", state="broken"}': "1 0 0 " * 30},
    "CogmillWorkersDying": {'cogmill_lease_expiries_total{reason="silent"}': "0+1x90"},
    "CogmillWorkersQuarantined": {'cogmill_workers_quarantined_total{pool="main"}': "0x30 1x29 2x29"},
    "CogmillJobsFailing": {'cogmill_jobs_ended_total{pool="main", state="failed"}': "0+1x90"},
    "CogmillGpusIdle": {BUSY: "0+30x90"},
    "CogmillPredictionOff": {
        'cogmill_prediction_error_ratio_bucket{pool="main", model="m", le="1.333"}': "0+1x90",
        'cogmill_prediction_error_ratio_bucket{pool="main", model="m", le="0.667"}': "0+0.5x90",
    },
    "CogmillCampaignsAtRisk": {
        'cogmill_campaigns_at_risk{job="cogmill-maintainer", instance="a"}': "0x30 2x59",
        'cogmill_campaigns_at_risk{job="cogmill-maintainer", instance="b"}': "0x90",
    },
    "CogmillForecastsStale": {
        'cogmill_forecast_made_timestamp_seconds{job="cogmill-maintainer", instance="a"}': "0+60x60 3600x29",
    },
    "CogmillDisownedRenders": {"cogmill_unknown_tokens_total": "0+1x90"},
    "CogmillLoopFailing": {'cogmill_loop_failures_total{job="cogmill-dispatcher", loop="beat"}': "0+2x90"},
    "CogmillListenerDeaf": {'cogmill_listener_failures_total{job="cogmill-dispatcher"}': "0+60x90"},
    "CogmillOutboxStuck": {'cogmill_outbox_oldest_age_seconds{job="cogmill-maintainer"}': "0+60x90"},
    "CogmillClustersDown": {'up{job="cogmill-clusters"}': "1x60 0x29"},
    "CogmillRollHangs": {'cogmill_roll_overdue{job="cogmill-clusters"}': "0x60 1x29"},
    "CogmillAuditUnsealed": {'cogmill_audit_unsealed_age_seconds{job="cogmill-maintainer"}': "0+60x90"},
    "CogmillRatesUncounted": {"cogmill_uncounted_requests_total": "0+1x90"},
}


def check_firing(folder: Path, series: dict[str, str], expected: list[str]) -> None:
    """Fail unless exactly these alerts fire after ninety minutes of these series."""
    case = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{MINUTES}m",
                "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in expected],
            }
        ],
    }
    path = folder / "case.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(FILE)], "evaluation_interval": "1m", "tests": [case]}))
    run = subprocess.run([need("promtool"), "test", "rules", path], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_rules_are_valid() -> None:
    run = subprocess.run(
        [need("promtool"), "check", "rules", "--lint-fatal", FILE, SLOS], capture_output=True, text=True
    )

    assert run.returncode == 0, run.stdout + run.stderr


def test_nothing_fires_while_all_is_well(tmp_path: Path) -> None:
    check_firing(tmp_path, WELL, [])


@pytest.mark.parametrize("alert", [rule["alert"] for rule in RULES])
def test_an_alert_fires_in_its_trouble_and_no_other_does(tmp_path: Path, alert: str) -> None:
    check_firing(tmp_path, WELL | TROUBLE[alert], [alert])


def test_an_empty_queue_on_idle_workers_is_no_trouble(tmp_path: Path) -> None:
    """Queue gauges disappear with the last job, and nothing is claimed."""
    quiet = {name: values for name, values in WELL.items() if not name.startswith("cogmill_jobs{")}

    check_firing(tmp_path, quiet | {CLAIMS: "50x90", BUSY: "500x90"}, [])


@pytest.mark.parametrize("paused", ["1x90", "0x20 1x60 0x9"], ids=["since before", "resumed just now"])
def test_jobs_that_wait_in_a_paused_pool_are_no_trouble(tmp_path: Path, paused: str) -> None:
    pause = {'cogmill_pool_paused{job="cogmill-dispatcher", pool="main"}': paused}

    check_firing(tmp_path, WELL | pause | {CLAIMS: "50x90", BUSY: "500x90"}, [])


def test_where_there_is_no_controller_of_clusters_none_is_missed(tmp_path: Path) -> None:
    check_firing(tmp_path, {name: values for name, values in WELL.items() if "cogmill-clusters" not in name}, [])


def test_a_controller_that_is_not_even_scraped_any_more_is_missed(tmp_path: Path) -> None:
    check_firing(tmp_path, WELL | {'up{job="cogmill-clusters"}': "1x60 _x29"}, ["CogmillClustersDown"])


NONE = {READY: "0x90", BUSY: "0x90"}
WANTED = 'cogmill_fleet_workers{pool="main", kind="spot", state="wanted"}'


def test_a_pool_that_wants_no_worker_for_now_lacks_none(tmp_path: Path) -> None:
    check_firing(tmp_path, WELL | NONE | {WANTED: "2x30 0x59"}, [])


def test_a_pool_whose_wanted_workers_do_not_come_lacks_them(tmp_path: Path) -> None:
    check_firing(tmp_path, WELL | NONE | {WANTED: "0x30 2x59"}, ["CogmillNoReadyWorker"])


def series_of(metric: MetricWrapperBase) -> set[str]:
    """The names under which Prometheus stores a metric of ours."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"], "gauge": [""]}
    return {family.name + suffix for family in metric.describe() for suffix in suffixes[family.type]}


def test_rules_read_only_series_that_we_export() -> None:
    exported = set[str]()
    for value in vars(metrics).values():
        if isinstance(value, MetricWrapperBase):
            exported |= series_of(value)

    read = {name for rule in RULES for name in re.findall(r"\bcogmill_\w+", rule["expr"])}

    assert read
    assert read <= exported
