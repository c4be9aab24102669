"""Each alert on an objective fires when its budget burns too fast on both windows, and at no other time.

Forty hours of samples, one in four minutes, and then some hours of trouble.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.support.helm import CHART
from tests.support.tools import need

FILE = CHART / "files" / "slos.yaml"
GROUPS = yaml.safe_load(FILE.read_text())["groups"]
ALERTS = [rule["alert"] for group in GROUPS for rule in group["rules"] if "alert" in rule]
# Samples before the trouble, and of an hour.
BEFORE, HOUR = 40 * 15, 15

HTTP = 'cogmill_http_request_seconds_count{job="cogmill-api", method="POST", route="ROUTE", status="STATUS"}'
STEP = 'cogmill_first_step_seconds_NAME{pool="main", urgency="interactive"LE}'
ENDED = 'cogmill_jobs_ended_total{pool="main", state="STATE"}'
FAILED = 'cogmill_jobs_failed_total{pool="main", code="hung", fault="FAULT"}'
FORECAST = "cogmill_campaign_forecast_error_ratio_NAME"


def course(before: float, hours: float, rate: float, after: float | None = None) -> str:
    """A counter that grows by `before` a sample for forty hours, by `rate` for so many, and by `after` for one."""
    level, steps = 0.0, [(before, BEFORE + 1), (rate, round(hours * HOUR))] + ([] if after is None else [(after, HOUR)])
    parts = []
    for by, count in steps:
        parts.append(f"{level + by:g}+{by:g}x{count - 1}")
        level += by * count
    return " ".join(parts)


def accepted(
    hours: float, share: float, *, each: float = 100, after: float | None = None, route: str = ""
) -> dict[str, str]:
    """Requests, of which in trouble such a share is answered by 503."""
    of = HTTP.replace("ROUTE", route or "/v1/videos/{video_id}/remix")
    bad_after = None if after is None else each * after
    good_after = None if after is None else each * (1 - after)
    return {
        of.replace("STATUS", "200"): course(each, hours, each * (1 - share), good_after),
        of.replace("STATUS", "503"): course(0, hours, each * share, bad_after),
        of.replace("STATUS", "400"): course(each, hours, each),
    }


def first_step(hours: float, share: float) -> dict[str, str]:
    count, bucket = STEP.replace("NAME", "count").replace("LE", ""), STEP.replace("NAME", "bucket")
    return {
        count: course(10, hours, 10),
        bucket.replace("LE", ', le="120.0"'): course(10, hours, 10 * (1 - share)),
        bucket.replace("LE", ', le="+Inf"'): course(10, hours, 10),
    }


def success(hours: float, share: float, fault: str = "service") -> dict[str, str]:
    return {
        ENDED.replace("STATE", "succeeded"): course(10, hours, 10 * (1 - share)),
        ENDED.replace("STATE", "failed"): course(0, hours, 10 * share),
        FAILED.replace("FAULT", fault): course(0, hours, 10 * share),
    }


def forecast(hours: float, share: float) -> dict[str, str]:
    bucket = FORECAST.replace("NAME", "bucket")
    return {
        FORECAST.replace("NAME", "count"): course(1, hours, 1),
        f'{bucket}{{le="0.667"}}': course(0, hours, share / 2),
        f'{bucket}{{le="1.333"}}': course(1, hours, 1 - share / 2),
    }


# What comes, for how many hours it was so, and what fires.
CASES: dict[str, tuple[dict[str, str], float, list[str]]] = {
    "a bad hour": (
        accepted(1, 0.02) | first_step(1, 0.9) | success(1, 0.2) | forecast(1, 0.1),
        1,
        ["CogmillAcceptedBurnsFast", "CogmillFirstStepBurnsFast", "CogmillSuccessBurnsFast"],
    ),
    "six hours, half as bad": (accepted(6, 0.007), 6, ["CogmillAcceptedBurnsFast"]),
    "a day, a little bad": (
        accepted(24, 0.004) | first_step(24, 0.2) | success(24, 0.04) | forecast(24, 0.8),
        24,
        [
            "CogmillAcceptedBurnsSlowly",
            "CogmillFirstStepBurnsSlowly",
            "CogmillForecastsBurnsSlowly",
            "CogmillSuccessBurnsSlowly",
        ],
    ),
    "all is well": (accepted(6, 0.0005) | first_step(6, 0.03) | success(6, 0.005) | forecast(6, 0.1), 6, []),
    "what is over is no trouble": (accepted(1, 0.02, after=0), 2, []),
    "others' faults": (success(6, 0.5, fault="request") | accepted(6, 0.5, route="/v1/files"), 6, []),
    "one of ten in an hour": (accepted(1, 0.1, each=0.05), 1, []),
    "nothing at all": ({}, 1, []),
}


def cases() -> Iterator[dict[str, object]]:
    for series, hours, firing in CASES.values():
        yield {
            "interval": "4m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": f"{round((BEFORE + hours * HOUR) * 4)}m",
                    "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in firing],
                }
            ],
        }


def test_each_fires_in_its_trouble_and_at_no_other_time(tmp_path: Path) -> None:
    path = tmp_path / "case.yaml"
    order = [group["name"] for group in GROUPS]  # an alert reads what was recorded in the same round
    case = {"rule_files": [str(FILE)], "group_eval_order": order, "evaluation_interval": "60m", "tests": [*cases()]}
    path.write_text(yaml.safe_dump(case, width=10**6))

    run = subprocess.run([need("promtool"), "test", "rules", path], capture_output=True, text=True)

    assert run.returncode == 0, run.stdout + run.stderr


def test_each_is_in_a_case() -> None:
    assert {name for _, _, firing in CASES.values() for name in firing} == set(ALERTS)
