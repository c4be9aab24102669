"""Grafana's dashboards are what their source writes, ask for what there is, and are loaded by chart and compose."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.helm import CHART, Helm, least
from tests.support.promql import DASHBOARDS, FILES, names_in, ours, panels, queries, rules, series, unknown_labels
from tests.support.tools import need

DEPLOY = CHART.parents[1] / "deploy"
BOARDS = [json.loads(path.read_text()) for path in DASHBOARDS]
WANTED = ["api", "campaigns", "fleet", "overview", "queue", "storage", "workers"]


def test_they_and_the_rules_of_objectives_are_what_their_source_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, DEPLOY / "grafana" / "generate.py", tmp_path], check=True)

    written = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert [path.stem for path in DASHBOARDS] == [f"cogmill-{name}" for name in WANTED]
    assert written == {path.relative_to(FILES): path.read_text() for path in (*DASHBOARDS, FILES / "slos.yaml")}


def test_every_query_is_promql(tmp_path: Path) -> None:
    asked = [{"record": f"query:{place}", "expr": expr} for place, (_, expr) in enumerate(queries())]
    assert len(asked) > 100
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": asked}]}))

    run = subprocess.run([need("promtool"), "check", "rules", path], capture_output=True, text=True)

    assert run.returncode == 0, run.stdout + run.stderr


def test_every_query_asks_for_series_and_labels_that_there_are() -> None:
    known = series()
    asked = [*queries(), *((rule.get("alert") or rule["record"], rule["expr"]) for rule in rules())]

    assert {name for _, expr in asked for name in names_in(expr)} <= known.keys()
    assert {title: wrong for title, expr in asked if (wrong := unknown_labels(expr, known))} == {}
    assert [title for title, expr in asked if not names_in(expr)] == []


def test_a_wrong_label_would_be_found() -> None:
    known = series()

    assert unknown_labels('sum by (tenant) (rate(cogmill_claims_total{pool="a"}[5m]))', known) == {"tenant"}
    assert unknown_labels('cogmill_jobs{pol=~"x=1", state="queued"}', known) == {"pol"}


def test_a_legend_names_labels_that_are_left() -> None:
    known = series()
    for title, panel in panels():
        for target in panel["targets"]:
            named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            groups = re.findall(r"\bby \(([^)]*)\)", target["expr"])
            left = {label.strip() for label in groups[0].split(",")} if groups else set()
            whole = frozenset[str]().union(*(known[name] for name in names_in(target["expr"])))
            assert named <= (left or whole), title


def test_every_metric_is_on_a_dashboard() -> None:
    read = {name for _, expr in queries() for name in names_in(expr)}

    def shown(family: str) -> bool:
        return any(f"{family}{end}" in read for end in ("", "_total", "_count", "_sum", "_bucket"))

    assert [name for name in ours() if not shown(name)] == []


@pytest.mark.parametrize("board", BOARDS, ids=WANTED)
def test_a_dashboard_finds_its_prometheus_by_a_variable_and_its_panels_beside_each_other(board: dict[str, Any]) -> None:
    variables = {each["name"]: each for each in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(datasource|release|pool)\b", json.dumps(board["panels"])))
    asked = [*board["panels"], *board["annotations"]["list"], *list(variables.values())[1:]]
    asked += [target for panel in board["panels"] for target in panel.get("targets", ())]
    sources = {tuple(each["datasource"].values()) for each in asked if each.get("type") != "row"}

    assert variables["datasource"]["type"] == "datasource"
    assert used == variables.keys()
    assert sources == {("prometheus", "${datasource}")}
    assert max(Counter(panel["id"] for panel in board["panels"]).values()) == 1
    assert max(Counter(panel["title"] for panel in board["panels"] if panel["type"] != "row").values()) == 1
    assert all(panel["title"] for panel in board["panels"])
    assert all(panel["description"] for panel in board["panels"] if panel["type"] != "row")
    for one, other in combinations([panel["gridPos"] for panel in board["panels"]], 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


def test_the_chart_ships_them_for_grafanas_sidecar_unless_told_otherwise(helm: Helm) -> None:
    rendered = helm.render(least({"monitoring": {"enabled": True}}))
    shipped = [it for it in rendered.objects if it["metadata"]["labels"].get("grafana_dashboard") == "1"]

    assert {name: text for it in shipped for name, text in it["data"].items()} == {
        path.name: path.read_text() for path in DASHBOARDS
    }
    # What a ConfigMap may hold.
    assert max(len(path.read_bytes()) for path in DASHBOARDS) < 2**20
    without = helm.render(least({"monitoring": {"enabled": True, "dashboards": False}}))
    assert [it for it in without.objects if "grafana_dashboard" in it["metadata"]["labels"]] == []


def test_composes_grafana_finds_them_and_begins_with_the_overview() -> None:
    grafana = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["grafana"]
    (provider,) = yaml.safe_load((DEPLOY / "grafana" / "dashboards.yaml").read_text())["providers"]
    mounts = dict(volume.removesuffix(":ro").split(":") for volume in grafana["volumes"])

    folder = provider["options"]["path"]
    assert (
        DEPLOY / next(source for source, place in mounts.items() if place == folder)
    ).resolve() == FILES / "dashboards"
    assert mounts["./grafana/dashboards.yaml"].startswith("/etc/grafana/provisioning/dashboards/")
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == folder
    assert (FILES / "dashboards" / home.name).is_file()
