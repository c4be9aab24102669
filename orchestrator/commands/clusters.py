"""`cogmill clusters`: how the Ray clusters of releases stand, what makes and ends them, and a new try."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

# The rest is imported by the command that needs it, as in orchestrator.cli.

clusters = typer.Typer(help="Ray clusters of a release on Kubernetes.", invoke_without_command=True)

_STATES = """In a roll a cluster is COMING until it has a ready worker, then SERVING; YIELDING while it gives up pods;
RETIRING while it claims nothing more and empties; KEPT when it has not made way in time and claims again;
ENDING while its objects are deleted."""


@clusters.callback(epilog=_STATES)
def show(context: typer.Context) -> None:
    """Show every cluster: its state, for how long, why, its ready workers and its renders."""
    if context.invoked_subcommand is not None:
        return
    from orchestrator.commands.tables import table
    from orchestrator.config.clusters import database_from_environment
    from orchestrator.ports.clusters import ClusterRow
    from orchestrator.store import Store

    database = database_from_environment()

    async def read() -> list[ClusterRow]:
        async with Store.open(database, connections=1) as store:
            return await store.clusters()

    def row(it: ClusterRow) -> tuple[object, ...]:
        ready = ", ".join(f"{pool} {count}/{it.told[pool]}" for pool, count in sorted(it.ready.items())) or "-"
        return (it.name, it.state, f"{it.age_s:.0f} s", ready, it.running, it.why)

    table(("cluster", "state", "for", "ready", "renders", "why"), map(row, asyncio.run(read())))


@clusters.command()
def run() -> None:
    """Run the controller: in a pod of the release's namespace, until it is stopped."""
    import uvloop

    from orchestrator.config.clusters import load_clusters
    from orchestrator.processes.rolling import run_clusters
    from orchestrator.telemetry import logs

    settings = load_clusters()
    logs.configure(settings.log)
    uvloop.run(run_clusters(settings))


@clusters.command()
def retry(
    release: Annotated[
        str | None, typer.Option(help="NAMESPACE/OWNER of one release.", metavar="NAME", show_default="all")
    ] = None,
) -> None:
    """Let clusters that were kept make way again, when the new one is as ready."""
    from orchestrator.config.clusters import database_from_environment
    from orchestrator.store import Store

    database = database_from_environment()

    async def change() -> list[str]:
        async with Store.open(database, connections=1) as store:
            return await store.retry_roll(release)

    for name in asyncio.run(change()) or ["no cluster was kept"]:
        typer.echo(name)
