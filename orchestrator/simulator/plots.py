"""The picture of a simulation: workers and money, what waits, how long, how campaigns came on and were foretold."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.simulator import svg
from orchestrator.simulator.arrivals import HOUR_S
from orchestrator.simulator.report import Report
from orchestrator.simulator.svg import COLOURS, INK, Axis, Panel
from orchestrator.simulator.tally import Sample
from orchestrator.simulator.world import World

_WIDTH, _HEIGHT = 1240, 1220
_COLUMNS, _ROWS = (70.0, 690.0), (185.0, 545.0, 905.0)
# Forecasts that have room, one a line; and letters of a campaign's name there.
_FORECASTS, _LETTERS = 15, 9
# Hours between two ticks; the last is for the longest traffic that may be asked for.
_STEPS_H = (0.25, 0.5, 1, 2, 3, 6, 12, 24, 48, 168, 1344)
# Points of a curve of waits.
_POINTS = 200
# A wait of nothing has its place on a logarithmic axis, too.
_LEAST_S = 0.1


def plot(world: World, report: Report) -> str:
    """An SVG document of a world that has been played."""
    samples = world.tally.samples
    panels = [
        _workers(samples, report), _waiting(samples, report), _waits(world), _campaigns(world, report),
        _money(samples, report), _forecasts(report),
    ]  # fmt: skip
    heading = f"{report.hours:g} hours under the policy {report.policy}, seed {report.seed}"
    return svg.picture(_WIDTH, _HEIGHT, heading, summary(report), panels)


def summary(report: Report) -> list[str]:
    """The report in two lines."""
    used = "-" if report.utilisation is None else f"{report.utilisation:.1%}"
    fair = "-" if report.jain_of_shares is None else f"{report.jain_of_shares:.3f}"
    late = [f"{each.name} {each.late_rows:,} of {each.rows:,}" for each in report.campaigns if each.late_rows]
    return [
        f"{report.busy_h:,.0f} GPU hours rendered, {used} of what was ready; {report.lost_h:,.1f} lost with"
        f" {report.workers_lost:,} workers; money {report.money:,.0f}; fairness (Jain) {fair}",
        f"{report.missed:,} came too late" + (f", rows of campaigns among them: {', '.join(late)}" if late else ""),
    ]


def _workers(samples: Sequence[Sample], report: Report) -> Panel:
    kinds = [kind.kind for kind in report.kinds]
    most = max((sum(s.ready.values()) + sum(s.starting.values()) for s in samples), default=0)
    panel = Panel(title="Workers, by kind", left=_COLUMNS[0], top=_ROWS[0], x=_hours(report), y=svg.linear(most))
    below = [(s.at_s / HOUR_S, 0.0) for s in samples]
    for kind, colour in zip(kinds, COLOURS, strict=False):
        above = [(x, y + s.ready.get(kind, 0)) for (x, y), s in zip(below, samples, strict=True)]
        panel.area(below, above, colour, kind)
        below = above
    panel.line([(x, y + sum(s.starting.values())) for (x, y), s in zip(below, samples, strict=True)], "#8a8a8a",
               "with starting", dashed=True)  # fmt: skip
    panel.line([(s.at_s / HOUR_S, s.busy) for s in samples], INK, "busy")
    return panel


def _waiting(samples: Sequence[Sample], report: Report) -> Panel:
    most = max((count for s in samples for count in s.waiting.values()), default=1)
    y = svg.logarithmic(1, most + 1, lambda value: f"{value - 1 if value == 1 else value:,.0f}")
    panel = Panel(title="Jobs and rows that wait, by priority", left=_COLUMNS[1], top=_ROWS[0], x=_hours(report), y=y)
    for waits, colour in zip(report.waits, COLOURS, strict=False):
        points = [(s.at_s / HOUR_S, s.waiting.get(waits.priority, 0) + 1.0) for s in samples]
        panel.line(points, colour, f"priority {waits.priority}")
    return panel


def _waits(world: World) -> Panel:
    waits = {priority: sorted(values) for priority, values in sorted(world.tally.waits.items()) if values}
    longest = max((values[-1] for values in waits.values()), default=1.0)
    panel = Panel(
        title="Single jobs: share that began within so many seconds",
        left=_COLUMNS[0], top=_ROWS[1],
        x=svg.logarithmic(_LEAST_S, max(longest, 10.0), _span),
        y=Axis(0.0, 1.0, [(n / 4, f"{n * 25}%") for n in range(5)]),
    )  # fmt: skip
    for priority, colour in zip(sorted(world.tally.came), COLOURS, strict=False):
        if values := waits.get(priority):
            last = len(values) - 1
            at = sorted({round(last * n / _POINTS) for n in range(_POINTS + 1)})
            points = [(max(values[place], _LEAST_S), (place + 1) / len(values)) for place in at]
            panel.line([(_LEAST_S, 0.0), *points, (panel.x.high, 1.0)], colour, f"priority {priority}")
    return panel


def _campaigns(world: World, report: Report) -> Panel:
    panel = Panel(
        title="Campaigns: share of rows with a video", left=_COLUMNS[1], top=_ROWS[1], x=_hours(report),
        y=Axis(0.0, 1.0, [(n / 4, f"{n * 25}%") for n in range(5)]),
    )  # fmt: skip
    for each, colour in zip(report.campaigns, COLOURS, strict=False):
        points = [(s.at_s / HOUR_S, s.done[each.name] / each.rows) for s in world.tally.samples]
        panel.line(points, colour, each.name)
        if each.deadline_h is not None:
            panel.mark(each.deadline_h, "wanted", colour)
    return panel


def _money(samples: Sequence[Sample], report: Report) -> Panel:
    most = max((sum(s.money.values()) for s in samples), default=0.0)
    panel = Panel(title="Money per hour, by kind", left=_COLUMNS[0], top=_ROWS[2], x=_hours(report), y=svg.linear(most))
    below = [(s.at_s / HOUR_S, 0.0) for s in samples]
    for kind, colour in zip(report.kinds, COLOURS, strict=False):
        above = [(x, y + s.money.get(kind.kind, 0.0)) for (x, y), s in zip(below, samples, strict=True)]
        panel.area(below, above, colour, f"{kind.kind}, {kind.money:,.0f} in all")
        below = above
    return panel


def _forecasts(report: Report) -> Panel:
    """Each range (10%, 50%, 90%) beside the true end, in shares of the time from the campaign's beginning to it."""
    begins = {each.name: each.at_h for each in report.campaigns}
    ranges = []
    for each in report.forecasts[:_FORECASTS]:
        if each.through_h is not None and each.low_h is not None and each.high_h is not None:
            whole = each.through_h - begins[each.campaign]
            told = (each.low_h, each.high_h if each.likely_h is None else each.likely_h, each.high_h)
            ranges.append((each, [(at - each.through_h) / whole for at in told]))
    farthest = max((abs(at) for _, three in ranges for at in three), default=0.1)
    half = next(step for step in (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, math.inf) if step >= farthest or step == 5.0)
    names = [(float(n), f"{each.campaign[:_LETTERS]} {each.share:.0%}") for n, (each, _) in enumerate(ranges)]
    panel = Panel(
        title="Forecasts at shares of rows done: how far from the true end", left=_COLUMNS[1], top=_ROWS[2],
        x=Axis(-half, half, [(half * n / 2, f"{half * n / 2:+.1%}" if n else "true end") for n in range(-2, 3)]),
        y=Axis(-1.0, max(1.0, float(len(ranges))), names),
    )  # fmt: skip
    panel.line([(0.0, panel.y.low), (0.0, panel.y.high)], INK, dashed=True)
    for inside, colour, words in ((True, COLOURS[2], "80% range has it"), (False, COLOURS[5], "80% range misses it")):
        for n, (each, (low, likely, high)) in enumerate(ranges):
            if each.inside is inside:
                panel.line([(low, n), (high, n)], colour, words)
                panel.line([(likely, n - 0.3), (likely, n + 0.3)], colour)
                words = ""
    return panel


def _hours(report: Report) -> Axis:
    """To the end and not beyond, with ticks as clocks have them."""
    step = next(each for each in _STEPS_H if report.hours / each <= 8)
    count = int(report.hours / step + 1e-9)
    return Axis(0.0, report.hours, [(step * n, f"{step * n:g} h") for n in range(count + 1)])


def _span(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds >= 1 else f"{seconds:g} s"
