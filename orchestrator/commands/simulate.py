"""`cogmill simulate`: what a fleet would make of some traffic, in numbers and as a picture."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands import tables
from orchestrator.commands.options import path

if TYPE_CHECKING:
    from orchestrator.simulator.report import Report

# The simulator is imported by the command, as in orchestrator.cli.


def simulate(
    fleet: Annotated[Path, typer.Argument(parser=path, metavar="FLEET.toml", help="Pools and kinds of workers.")],
    traffic: Annotated[Path, typer.Argument(parser=path, metavar="TRAFFIC.toml", help="What comes, and when.")],
    seed: Annotated[int, typer.Option(help="Of all chance: the same seed gives the same report.")] = 1,
    policy: Annotated[str, typer.Option(metavar="ours|fifo|priority|equal", help="Who is next in the queue.")] = "ours",
    out: Annotated[
        Path | None, typer.Option(parser=path, metavar="DIR", help="Where report.json and plots.svg go.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Play a fleet and its traffic on a virtual clock, by the product's own policies: waits, deadlines, money."""
    from orchestrator.simulator import files, plots
    from orchestrator.simulator.queues import POLICIES
    from orchestrator.simulator.report import report
    from orchestrator.simulator.world import World

    if policy not in POLICIES:
        raise typer.BadParameter(f"is none of {', '.join(POLICIES)}", param_hint="--policy")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # first: a day is simulated in a minute, to no place
    tables_of = files.read(fleet, traffic)
    world = World(*tables_of, policy=policy, seed=seed, directory=traffic.parent)
    world.run()
    told = report(world)
    written: list[Path] = []
    try:
        if out is not None:
            written.append(_write(out / "report.json", json.dumps(told.to_dict(), indent=2) + "\n"))
            written.append(_write(out / "plots.svg", plots.plot(world, told)))
    finally:  # what was simulated for minutes is told, whatever becomes of its files
        if as_json:
            tables.document(told.to_dict())
        else:
            _print(told)
            if written:
                typer.echo("".join(f"\n{path}" for path in written))


def _write(path: Path, text: str) -> Path:
    """The file, whole or not at all. Raises `OSError` with its name, which one of a write does not have by itself."""
    beside = path.with_name(f".{path.name}.partial")
    try:
        beside.write_text(text, "utf-8")
        beside.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with suppress(OSError):  # it is there only where it could not be made whole
            beside.unlink()
    return path


def _print(told: Report) -> None:
    tables.table(
        ("priority", "came", "done", "failed", "unfinished", "single jobs late", "wait p50 s", "p95 s", "p99 s"),
        [
            (
                row.priority,
                row.came,
                row.succeeded,
                row.failed,
                row.unfinished,
                row.late,
                row.p50_s,
                row.p95_s,
                row.p99_s,
            )
            for row in told.waits
        ],
    )
    if len(told.pools) > 1:
        typer.echo()
        tables.table(
            ("pool", "rendered", "wait p50 s", "p95 s", "p99 s"),
            [(row.pool, row.rendered, row.p50_s, row.p95_s, row.p99_s) for row in told.pools],
        )
    if told.shared:
        typer.echo()
        tables.table(
            ("shared by pools", "workers", "rendered", "swaps", "swaps a render"),
            [(row.name, row.workers, row.rendered, row.swaps, _index(row.swaps_a_render)) for row in told.shared],
        )
    if told.campaigns:
        typer.echo()
        tables.table(
            ("campaign", "rows", "done", "failed", "through at h", "wanted at h", "late rows"),
            [
                (row.name, row.rows, row.succeeded, row.failed, row.through_h, row.deadline_h, row.late_rows)
                for row in told.campaigns
            ],
        )
    if any(row.budget is not None for row in told.campaigns):
        typer.echo()
        tables.table(
            ("budget of", "amount", "used", "no room at h"),
            [(row.name, row.budget, row.used, row.paused_h) for row in told.campaigns if row.budget is not None],
        )
    if told.forecasts:
        typer.echo()
        tables.table(
            (
                "forecast of",
                "rows done",
                "at h",
                "from h",
                "likely",
                "to",
                "at risk",
                "through at h",
                "error",
                "inside",
            ),
            [
                (
                    row.campaign,
                    _percent(row.share),
                    row.at_h,
                    row.low_h,
                    row.likely_h,
                    row.high_h,
                    row.at_risk,
                    row.through_h,
                    _percent(row.error),
                    row.inside,
                )
                for row in told.forecasts
            ],
        )
    typer.echo()
    tables.table(
        ("kind", "workers at most", "GPU hours ready", "busy", "money"),
        [(kind.kind, kind.most, kind.ready_h, kind.busy_h, kind.money) for kind in told.kinds],
    )
    typer.echo()
    tables.facts(
        {
            "too late": told.missed,
            "utilisation": _percent(told.utilisation),
            "fairness, of fair shares": _index(told.jain_of_shares),
            "fairness, of GPU seconds": _index(told.jain),
            "money": told.money,
            "GPU hours lost": told.lost_h,
            "preempted": told.preempted,
            "moved to another worker": told.evicted,
            "of these, for a guarantee": told.given_back,
            "workers lost": told.workers_lost,
        }
    )


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"


def _index(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
