"""The series that exist, and what a PromQL expression asks for: the names of its series and of its labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from prometheus_client.metrics import MetricWrapperBase

from orchestrator.telemetry import metrics
from tests.support.helm import CHART

FILES = CHART / "files"
DASHBOARDS = sorted((FILES / "dashboards").glob("*.json"))

# Whoever scrapes adds these; the chart's monitors, `release`.
SCRAPED = frozenset({"job", "instance", "release"})
_PROCESS = ("process_resident_memory_bytes", "process_cpu_seconds_total")
_NAME = re.compile(r"\b(up|ALERTS|process_[a-z_]+|cogmill[_:][a-z0-9_:]+)(?:\{([^{}]*(?:\{\w+\}[^{}]*)*)\})?")
_SAID = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_BY = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")
_MADE = re.compile(r'label_replace\(.*?, "(\w+)", "')


def ours() -> dict[str, MetricWrapperBase]:
    """All metrics of the product, by the name of their family, without `_total`."""
    return {each._name: each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)}


def series() -> dict[str, frozenset[str]]:
    """Every name of a series that there can be, with its labels."""
    known = dict.fromkeys(("up", *_PROCESS), SCRAPED)
    for name, metric in ours().items():
        labels = SCRAPED | frozenset(metric._labelnames)
        match metric._type:
            case "counter":
                known[f"{name}_total"] = labels
            case "histogram":
                known |= {f"{name}_count": labels, f"{name}_sum": labels, f"{name}_bucket": labels | {"le"}}
            case _:
                known[name] = labels
    known |= {rule["record"]: frozenset({"slo", "release"}) for rule in rules() if "record" in rule}
    known["ALERTS"] = frozenset().union({"alertname", "alertstate", "severity"}, *known.values())
    return known


def rules() -> list[dict[str, Any]]:
    """Recording rules and alerts, as both compose and the chart have them."""
    files = (yaml.safe_load((FILES / name).read_text()) for name in ("alerts.yaml", "slos.yaml"))
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def names_in(expr: str) -> set[str]:
    return {found[1] for found in _NAME.finditer(expr)}


def unknown_labels(expr: str, known: Mapping[str, frozenset[str]]) -> set[str]:
    """Labels that an expression selects or groups by, and that the series it reads do not have."""
    wrong: set[str] = set()
    for found in _NAME.finditer(expr):
        # A label's value may look like a selector of its own.
        said = _SAID.findall(re.sub(r"\"[^\"]*\"|'[^']*'", "", found[2] or ""))
        wrong |= set(said) - known[found[1]]
    grouped = {label.strip() for labels in _BY.findall(expr) for label in labels.split(",")} - {""}
    return wrong | (grouped - frozenset().union(_MADE.findall(expr), *(known[name] for name in names_in(expr))))


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each panel that asks something, with its dashboard's and its own title."""
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            if panel["type"] != "row":
                yield f"{board['title']}: {panel['title']}", panel


def queries() -> Iterator[tuple[str, str]]:
    """Each query of a panel, named by it, with all values of its variables."""
    for title, panel in panels():
        for target in panel["targets"]:
            expr = target["expr"].replace("$__rate_interval", "5m")
            yield f"{title} {target['refId']}", expr.replace("$release", ".*").replace("$pool", ".*")
