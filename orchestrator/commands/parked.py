"""`cogmill parked`: batches and events that broke the loop that met them, and sending them there again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands import fleet_by_api as by_api
from orchestrator.commands.administration import ApiOption, over_api
from orchestrator.commands.options import DataDirOption, settings_of
from orchestrator.commands.tables import visible
from orchestrator.domain.errors import CogmillError

if TYPE_CHECKING:
    from orchestrator.ports.parked import Parked

# The rest is imported by the command that needs it, as in orchestrator.cli.

parked = typer.Typer(help="What was put aside since it broke its loop.", no_args_is_help=True)


@parked.command("list")
def list_parked(api: ApiOption = None, data_dir: DataDirOption = None) -> None:
    """List batches and events that were parked, with the evidence."""
    if over_api(api, data_dir):
        by_api.show_parked(api)
        return

    from orchestrator.store import Store

    async def read() -> list[Parked]:
        async with Store.open(settings_of(data_dir).database_url) as store:
            return await store.list_parked()

    for each in asyncio.run(read()):
        typer.echo(visible(f"{each.subject}  {each.kind}  {each.tenant}  {each.at:%Y-%m-%d %H:%M}  {each.error}"))


@parked.command("resume")
def resume_parked(
    subject: Annotated[str, typer.Argument(metavar="ID", help="As it is listed.")],
    api: ApiOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Let the loop meet ID again: once its cause is gone, or to see it once more."""
    if over_api(api, data_dir):
        by_api.resume_parked(api, subject)
        return

    from orchestrator.store import Store

    async def again() -> bool:
        async with Store.open(settings_of(data_dir).database_url) as store:
            return await store.resume_parked(subject)

    if not asyncio.run(again()):
        raise CogmillError(f"nothing with the id {subject!r} is parked")
