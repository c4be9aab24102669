"""The picture of a simulation: workers, what waits, how long, and how campaigns came on."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.simulator import svg
from orchestrator.simulator.arrivals import HOUR_S
from orchestrator.simulator.report import Report
from orchestrator.simulator.svg import COLOURS, INK, Axis, Panel
from orchestrator.simulator.tally import Sample
from orchestrator.simulator.world import World

_WIDTH, _HEIGHT = 1240, 860
_COLUMNS, _ROWS = (70.0, 690.0), (185.0, 545.0)
# Hours between two ticks; the last is for the longest traffic that may be asked for.
_STEPS_H = (0.25, 0.5, 1, 2, 3, 6, 12, 24, 48, 168, 1344)
# Points of a curve of waits.
_POINTS = 200
# A wait of nothing has its place on a logarithmic axis, too.
_LEAST_S = 0.1


def plot(world: World, report: Report) -> str:
    """An SVG document of a world that has been played."""
    samples = world.tally.samples
    panels = [_workers(samples, report), _waiting(samples, report), _waits(world), _campaigns(world, report)]
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
    panel = Panel(title="Workers", left=_COLUMNS[0], top=_ROWS[0], x=_hours(report), y=svg.linear(most))
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
    panel = Panel(title="Jobs and rows that wait", left=_COLUMNS[1], top=_ROWS[0], x=_hours(report), y=y)
    for waits, colour in zip(report.waits, COLOURS, strict=False):
        points = [(s.at_s / HOUR_S, s.waiting.get(waits.priority, 0) + 1.0) for s in samples]
        panel.line(points, colour, f"priority {waits.priority}")
    return panel


def _waits(world: World) -> Panel:
    waits = {priority: sorted(values) for priority, values in sorted(world.tally.waits.items()) if values}
    longest = max((values[-1] for values in waits.values()), default=1.0)
    panel = Panel(
        title="Single jobs: share that began within",
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
        title="Campaigns: rows with a video", left=_COLUMNS[1], top=_ROWS[1], x=_hours(report),
        y=Axis(0.0, 1.0, [(n / 4, f"{n * 25}%") for n in range(5)]),
    )  # fmt: skip
    for each, colour in zip(report.campaigns, COLOURS, strict=False):
        points = [(s.at_s / HOUR_S, s.done[each.name] / each.rows) for s in world.tally.samples]
        panel.line(points, colour, each.name)
        if each.deadline_h is not None:
            panel.mark(each.deadline_h, "wanted", colour)
    return panel


def _hours(report: Report) -> Axis:
    """To the end and not beyond, with ticks as clocks have them."""
    step = next(each for each in _STEPS_H if report.hours / each <= 8)
    count = int(report.hours / step + 1e-9)
    return Axis(0.0, report.hours, [(step * n, f"{step * n:g} h") for n in range(count + 1)])


def _span(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds >= 1 else f"{seconds:g} s"
