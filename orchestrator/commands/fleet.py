"""`cogmill fleet`: every kind of workers, how many there are, how many are wanted, and why."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from orchestrator.commands import fleet_by_api as by_api
from orchestrator.commands.administration import ApiOption, over_api
from orchestrator.commands.options import DataDirOption, settings_of

# The rest is imported by the command that needs it, as in orchestrator.cli.


def fleet(
    data_dir: DataDirOption = None,
    decisions: Annotated[bool, typer.Option("--decisions", help="What was decided last, too.")] = False,
    api: ApiOption = None,
) -> None:
    """Show each pool's kinds of workers: wanted, requested, starting, ready, draining, and why."""
    if over_api(api, data_dir):
        by_api.show_fleet(api, decisions=decisions)
        return

    from orchestrator.capacity.fleets import FleetKind, Fleets, Shown
    from orchestrator.commands.tables import table
    from orchestrator.ports.fleet import ScaleDecision
    from orchestrator.store import Store

    settings = settings_of(data_dir)

    async def read() -> Shown:
        async with Store.open(settings.database) as store:
            return await Fleets(settings, store).show()

    def row(it: FleetKind) -> tuple[object, ...]:
        state = it.state
        rests = state.rests_s > 0 and it.kind != settings.set_of(it.pool)  # of shared workers the reason says it
        why = state.why + (f"; rests for {state.rests_s:.0f} s" if rests else "")
        counts = (state.wanted, state.requested, state.starting, state.ready, state.draining)
        return (it.pool, it.kind, f"{it.least}-{it.most}", *counts, why)

    def basis(it: ScaleDecision) -> tuple[object, ...]:
        """What it was based on: requested/starting/ready/draining, and what the pool had to do."""
        of = it.basis
        if of is None:
            return ("-",) * 4
        had = f"{of.requested}/{of.starting}/{of.ready}/{of.draining}"
        due = "-" if of.demand.due_in_s is None else f"{of.demand.required_rate:.2f}/s for {of.demand.due_in_s:.0f} s"
        return had, of.demand.jobs, f"{of.demand.backlog_s:.0f}", due

    shown = asyncio.run(read())
    heads = ("pool", "kind", "bounds", "wanted", "requested", "starting", "ready", "draining", "why")
    table(heads, map(row, shown.kinds))
    if decisions:
        typer.echo("")
        told = (
            (f"{it.at:%Y-%m-%d %H:%M:%S}", it.pool, it.kind, f"{it.change:+d}", *basis(it), it.why)
            for it in shown.decisions
        )
        table(("at (UTC)", "pool", "kind", "change", "had", "jobs", "backlog s", "due", "why"), told)
