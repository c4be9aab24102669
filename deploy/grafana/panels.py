"""Panels and dashboards in Grafana's JSON model, as plain dicts: a panel says what it asks, this says the rest.

Every selector of a query is narrowed to the release that is chosen, as the chart does it with rules (monitoring.yaml).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

WIDTH = 24
_SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
# What a selector may begin with. On one machine no series has the label `release`, and `.*` takes those, too.
_SERIES = re.compile(r"\b(up|ALERTS|process_[a-z_]+|cogmill[_:][a-z0-9_:]+)\b(\{)?")
_GOOD, _BAD, _PALE = "green", "red", "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query of a panel. `legend` names its series, with labels in double braces."""

    expr: str
    legend: str = "__auto"


def scoped(expr: str) -> str:
    """The expression, which reads the chosen release's series alone."""

    def narrowed(found: re.Match[str]) -> str:
        return f'{found[1]}{{release=~"$release"{", " if found[2] else "}"}'

    return _SERIES.sub(narrowed, expr)


def _targets(queries: Sequence[Query], *, instant: bool = False, form: str = "time_series") -> list[Json]:
    return [
        {
            "datasource": _SOURCE,
            "expr": scoped(query.expr),
            "legendFormat": query.legend,
            "refId": chr(ord("A") + place),
            "format": form,
            "instant": instant,
            "range": not instant,
        }
        for place, query in enumerate(queries)
    ]


def _panel(kind: str, title: str, why: str, unit: str, size: tuple[int, int], targets: list[Json]) -> Json:
    return {
        "type": kind,
        "title": title,
        "description": why,
        "datasource": _SOURCE,
        "gridPos": {"w": size[0], "h": size[1]},
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "options": {},
        "targets": targets,
    }


def _thresholds(*, good: float | None, bad: float | None) -> Json:
    """Coloured where a number says by itself whether it is good: from `bad` on red, or below `good`."""
    if bad is not None:
        steps = [{"color": _GOOD, "value": None}, {"color": _BAD, "value": bad}]
    elif good is not None:
        steps = [{"color": _BAD, "value": None}, {"color": _GOOD, "value": good}]
    else:
        steps = [{"color": _PALE, "value": None}]
    return {"mode": "absolute", "steps": steps}


def stat(
    title: str, expr: str, why: str, *, unit: str = "short", good: float | None = None, bad: float | None = None,
    width: int = 3,
) -> Json:  # fmt: skip
    """One number, as it is now, over its course."""
    panel = _panel("stat", title, why, unit, (width, 4), _targets([Query(expr=expr)]))
    panel["fieldConfig"]["defaults"] |= {"thresholds": _thresholds(good=good, bad=bad), "noValue": "none"}
    panel["options"] = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "area",
    }
    return panel


def lines(
    title: str, why: str, *queries: Query, unit: str = "short", stacked: bool = False, most: float | None = None,
    limit: float | None = None, width: int = 12,
) -> Json:  # fmt: skip
    """Series over time. `limit` draws a line that they should stay below."""
    panel = _panel("timeseries", title, why, unit, (width, 8), _targets(queries))
    defaults = panel["fieldConfig"]["defaults"]
    defaults |= {"min": 0, "noValue": "none"}
    defaults["custom"] = {
        "lineWidth": 1,
        "fillOpacity": 60 if stacked else 8,
        "showPoints": "never",
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }
    if most is not None:
        defaults["max"] = most
    if limit is not None:
        defaults["thresholds"] = _thresholds(good=None, bad=limit)
        defaults["custom"]["thresholdsStyle"] = {"mode": "line"}
    panel["options"] = {
        "legend": {
            "displayMode": "table",
            "placement": "right" if width >= WIDTH else "bottom",
            "calcs": ["lastNotNull", "max"],
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel


def heat(title: str, why: str, histogram: str, *, unit: str = "s", width: int = 12) -> Json:
    """Where the observations of a histogram lie, over time. `histogram` is a selector of its buckets."""
    expr = f"sum by (le) (increase({histogram}[$__rate_interval]))"
    panel = _panel(
        "heatmap", title, why, "short", (width, 8), _targets([Query(expr=expr, legend="{{le}}")], form="heatmap")
    )
    panel["options"] = {
        "calculate": False,
        "color": {"mode": "scheme", "scheme": "Blues", "reverse": False, "steps": 64},
        "yAxis": {"unit": unit},
        "cellGap": 1,
        "tooltip": {"mode": "single"},
    }
    return panel


def bars(title: str, why: str, *queries: Query, unit: str = "short", width: int = 12) -> Json:
    """What is now, a bar for each series."""
    panel = _panel("bargauge", title, why, unit, (width, 8), _targets(queries, instant=True))
    panel["fieldConfig"]["defaults"] |= {"min": 0, "noValue": "none", "thresholds": _thresholds(good=None, bad=None)}
    panel["options"] = {
        "orientation": "horizontal",
        "displayMode": "basic",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }
    return panel


def table(title: str, why: str, expr: str, hidden: Sequence[str] = (), *, unit: str = "short", width: int = 12) -> Json:
    """What is now, a row for each series and a column for each of its labels."""
    panel = _panel("table", title, why, unit, (width, 8), _targets([Query(expr=expr)], instant=True, form="table"))
    panel["fieldConfig"]["defaults"]["noValue"] = "none"
    excluded = dict.fromkeys(("Time", "__name__", *hidden), True)
    panel["transformations"] = [{"id": "organize", "options": {"excludeByName": excluded}}]
    return panel


def quantiles(
    histogram: str, by: str = "", *, shares: Sequence[float] = (0.5, 0.95, 0.99), legend: str = ""
) -> list[Query]:
    """Of a histogram, by these labels. `histogram` is a selector of its buckets."""
    labels = ", ".join(filter(None, ("le", by)))
    return [
        Query(
            expr=f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}[$__rate_interval])))",
            legend=f"{legend} p{share * 100:g}".strip(),
        )
        for share in shares
    ]


def row(title: str) -> Json:
    """A heading over what follows."""
    return {"type": "row", "title": title, "collapsed": False, "gridPos": {"w": WIDTH, "h": 1}, "panels": []}


def laid_out(panels: Sequence[Json]) -> list[Json]:
    """The panels in their order, from left to right and from above, each with an id."""
    placed, x, y, height = [], 0, 0, 0
    for number, panel in enumerate(panels, start=1):
        width = panel["gridPos"]["w"]
        if x + width > WIDTH:
            x, y, height = 0, y + height, 0
        placed.append({**panel, "id": number, "gridPos": {**panel["gridPos"], "x": x, "y": y}})
        x, height = x + width, max(height, panel["gridPos"]["h"])
    return placed


def _asked(name: str, label: str, query: str) -> Json:
    """A variable with all values of a label, of which any number may be chosen."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def dashboard(name: str, title: str, why: str, panels: Sequence[Json], *, pools: bool = True) -> Json:
    """A whole dashboard, which finds its Prometheus, the release and the pools by variables."""
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1}
    variables = [source, _asked("release", "Release", "label_values(cogmill_loop_failures_total, release)")]
    variables[1]["query"]["query"] = variables[1]["definition"] = 'label_values(up{job=~"cogmill-.*"}, release)'
    if pools:
        variables.append(_asked("pool", "Pool", 'label_values(cogmill_workers{release=~"$release"}, pool)'))
    alerts = scoped('ALERTS{alertname=~"Cogmill.*", alertstate="firing", severity="critical"}')
    return {
        "uid": f"cogmill-{name}",
        "title": f"Cogmill / {title}",
        "description": why,
        "tags": ["cogmill"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": variables},
        "links": [{"type": "dashboards", "title": "Cogmill", "tags": ["cogmill"], "asDropdown": True, "keepTime": True,
                   "includeVars": True}],
        "annotations": {"list": [{"name": "Critical alerts", "enable": True, "datasource": _SOURCE, "expr": alerts,
                                  "iconColor": _BAD, "titleFormat": "{{alertname}}", "step": "60s"}]},
        "panels": laid_out(panels),
    }  # fmt: skip
