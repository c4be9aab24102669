"""`cogmill simulate`: what a fleet would make of some traffic, in numbers and as a picture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from orchestrator.commands import tables
from orchestrator.commands.options import path

if TYPE_CHECKING:
    from orchestrator.simulator.report import PoolWaits, Report, Waits

# Its heads, and its rows.
_Table: TypeAlias = tuple[Sequence[str], Sequence[Sequence[object]]]

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
    for heading, rows in (*_of_jobs(told), *_of_campaigns(told), *_of_workers(told)):
        tables.table(heading, rows)
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


def _of_jobs(told: Report) -> Iterator[_Table]:
    yield (
        ("priority", "came", "done", "failed", "unfinished", "single jobs late", "wait p50 s", "p95 s", "p99 s"),
        [
            (each.priority, each.came, each.succeeded, each.failed, each.unfinished, each.late, *_waits(each))
            for each in told.waits
        ],
    )
    if len(told.pools) > 1:
        rows = [(each.pool, each.rendered, *_waits(each)) for each in told.pools]
        yield ("pool", "rendered", "wait p50 s", "p95 s", "p99 s"), rows


def _of_campaigns(told: Report) -> Iterator[_Table]:
    if told.campaigns:
        yield (
            ("campaign", "rows", "done", "failed", "through at h", "wanted at h", "late rows"),
            [
                (each.name, each.rows, each.succeeded, each.failed, each.through_h, each.deadline_h, each.late_rows)
                for each in told.campaigns
            ],
        )
    if bounded := [each for each in told.campaigns if each.budget is not None]:
        rows = [(each.name, each.budget, each.used, each.paused_h) for each in bounded]
        yield ("budget of", "amount", "used", "no room at h"), rows
    if told.forecasts:
        times = "at h", "from h", "likely", "to"
        yield (
            ("forecast of", "rows done", *times, "at risk", "through at h", "error", "inside"),
            [
                (
                    *(each.campaign, _percent(each.share)),
                    *(each.at_h, each.low_h, each.likely_h, each.high_h),
                    *(each.at_risk, each.through_h, _percent(each.error), each.inside),
                )
                for each in told.forecasts
            ],
        )


def _of_workers(told: Report) -> Iterator[_Table]:
    if told.shared:
        rows = [
            (each.name, each.workers, each.rendered, each.swaps, _index(each.swaps_a_render)) for each in told.shared
        ]
        yield ("shared by pools", "workers", "rendered", "swaps", "swaps a render"), rows
    yield (
        ("kind", "workers at most", "GPU hours ready", "busy", "money"),
        [(kind.kind, kind.most, kind.ready_h, kind.busy_h, kind.money) for kind in told.kinds],
    )


def _waits(each: Waits | PoolWaits) -> tuple[float | None, ...]:
    return each.p50_s, each.p95_s, each.p99_s


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"


def _index(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
