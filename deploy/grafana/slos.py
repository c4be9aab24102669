"""Service level objectives, and from each its recording rules and alerts: how fast the error budget burns.

After the SRE workbook of Google, chapter 5, "Multiwindow, Multi-Burn-Rate Alerts": a long window says that it matters,
a short one that it still goes on. Objectives are of 30 days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

# What makes a video or many: an answer to it is a promise.
_NATIVE = "/v1/videos", "/v1/videos/{video_id}/remix", "/v1/batches", "/v1/campaigns"
_SUBMITS = "|".join((*_NATIVE, "/api/paas/v4/videos/generations", "/api/paas/v4/batches"))
_HTTP = "cogmill_http_request_seconds_count"
_STEP, _FORECAST = "cogmill_first_step_seconds", "cogmill_campaign_forecast_error_ratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One promise. `bad` and `total` are PromQL of events, with WINDOW where their range goes."""

    name: str
    alert: str
    # Of all events, which part is good.
    target: float
    bad: str
    total: str
    # Fewer events of a long window tell nothing.
    least: int
    # What happens to too many, in the alerts' words.
    broken: str
    # Somebody has to get up for it.
    pages: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Burn:
    """A pair of windows, and the burn rate from which on both are too much."""

    long: str
    short: str
    rate: float


# 2% of the budget in an hour, 5% in six; 10% in a day, or in three.
FAST = (Burn(long="1h", short="5m", rate=14.4), Burn(long="6h", short="30m", rate=6))
SLOW = (Burn(long="1d", short="2h", rate=3), Burn(long="3d", short="6h", rate=1))
WINDOWS = tuple(window for burn in (*FAST, *SLOW) for window in (burn.short, burn.long))

OBJECTIVES = (
    Objective(
        name="accepted",
        alert="CogmillAccepted",
        target=0.999,
        bad=f'sum(increase({_HTTP}{{method="POST", route=~"{_SUBMITS}", status=~"5.."}}[WINDOW]))',
        total=f'sum(increase({_HTTP}{{method="POST", route=~"{_SUBMITS}", status!~"4.."}}[WINDOW]))',
        least=100,
        broken="requests for videos are answered by a server error",
    ),
    Objective(
        name="first_step",
        alert="CogmillFirstStep",
        target=0.95,
        bad=f'(sum(increase({_STEP}_count{{urgency="interactive"}}[WINDOW]))'
        f' - sum(increase({_STEP}_bucket{{urgency="interactive", le="120.0"}}[WINDOW])))',
        total=f'sum(increase({_STEP}_count{{urgency="interactive"}}[WINDOW]))',
        least=20,
        broken="videos that somebody waits for begin later than after two minutes",
    ),
    Objective(
        name="success",
        alert="CogmillSuccess",
        target=0.99,
        bad='sum(increase(cogmill_jobs_failed_total{fault="service"}[WINDOW]))',
        total='sum(increase(cogmill_jobs_ended_total{state=~"succeeded|failed"}[WINDOW]))',
        least=20,
        broken="jobs fail, and not by the fault of their request",
    ),
    Objective(
        name="forecast",
        alert="CogmillForecasts",
        target=0.8,
        bad=f"(sum(increase({_FORECAST}_count[WINDOW])) - (sum(increase({_FORECAST}_bucket{{le='1.333'}}[WINDOW]))"
        f" - sum(increase({_FORECAST}_bucket{{le='0.667'}}[WINDOW]))))",
        total=f"sum(increase({_FORECAST}_count[WINDOW]))",
        least=5,
        broken="campaigns take over a third more or less of their second half than was told",
        pages=False,
    ),
)


def rules() -> Json:
    """The file of rules: burn rates of all objectives and windows, then the alerts."""
    recorded = [rule for objective in OBJECTIVES for rule in _recorded(objective)]
    alerts = [rule for objective in OBJECTIVES for rule in _alerts(objective)]
    return {
        "groups": [
            {"name": "cogmill-burn-rates", "interval": "1m", "rules": recorded},
            {"name": "cogmill-objectives", "interval": "1m", "rules": alerts},
        ]
    }


def _recorded(objective: Objective) -> list[Json]:
    """An objective's events, and the part that is bad in units of the part that may be, for each window."""
    found = []
    for window in dict.fromkeys(WINDOWS):
        bad, total = (each.replace("WINDOW", window) for each in (objective.bad, objective.total))
        budget = f"{1 - objective.target:.6g}"
        burn = f"({bad} or 0 * {total}) / ({total} > 0) / {budget}"
        labels = {"slo": objective.name}
        found.append({"record": f"cogmill:slo_burn:ratio_rate{window}", "expr": burn, "labels": labels})
        if window in {burn.long for burn in (*FAST, *SLOW)}:
            found.append({"record": f"cogmill:slo_events:increase{window}", "expr": total, "labels": labels})
    return found


def _alerts(objective: Objective) -> list[Json]:
    fast = [_alert(objective, f"{objective.alert}BurnsFast", FAST, "critical")] if objective.pages else []
    return [*fast, _alert(objective, f"{objective.alert}BurnsSlowly", SLOW, "warning")]


def _alert(objective: Objective, name: str, burns: tuple[Burn, ...], severity: str) -> Json:
    mine = f'{{slo="{objective.name}"}}'
    told = f"{{{{ $value | humanize }}}} times too many {objective.broken}."
    return {
        "alert": name,
        "expr": " or ".join(
            f"(cogmill:slo_burn:ratio_rate{burn.long}{mine} > {burn.rate:g}"
            f" and cogmill:slo_burn:ratio_rate{burn.short}{mine} > {burn.rate:g}"
            f" and cogmill:slo_events:increase{burn.long}{mine} > {objective.least})"
            for burn in burns
        ),
        "labels": {"severity": severity},
        "annotations": {"summary": told, "runbook_url": runbook(name)},
    }


def runbook(alert: str) -> str:
    """Where OPERATIONS.md speaks of an alert."""
    return f"OPERATIONS.md#{alert.lower()}"
