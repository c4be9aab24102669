"""`cogmill pools`: keep a pool or the whole queue from beginning anything new, and let it go on."""

from __future__ import annotations

import asyncio
import getpass
import socket
from collections.abc import Sequence
from typing import Annotated

import typer

from orchestrator.commands import fleet_by_api as by_api
from orchestrator.commands.administration import ApiOption, over_api
from orchestrator.commands.options import DataDirOption, settings_of
from orchestrator.domain.errors import CogmillError, RequestError
from orchestrator.domain.pausing import EVERY, Pause

# The rest is imported by the command that needs it, as in orchestrator.cli.

pools = typer.Typer(help="Pools of workers.", no_args_is_help=True)

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="A pool of the configuration.")]
AllOption = Annotated[bool, typer.Option("--all", help="The whole queue: every pool there is or will be.")]


@pools.command("pause")
def pause_pool(
    reason: Annotated[str, typer.Option(help="Why, for whoever waits.", metavar="TEXT")],
    name: Name = None,
    every: AllOption = False,
    api: ApiOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Begin nothing more on the pool NAME; what runs goes on, and what is accepted waits."""
    which = _which(name, every)
    if over_api(api, data_dir):
        by_api.pause_pool(api, None if every else which, reason)
        return

    from orchestrator.capacity.pools import Pools
    from orchestrator.store import Store

    settings = settings_of(data_dir)

    async def change() -> None:
        async with Store.open(settings.database) as store:
            await Pools(settings, store).pause(which, reason=reason, by=_who())

    try:
        asyncio.run(change())
    except RequestError as error:
        raise CogmillError(f"{error.param}: {error.message}") from None


@pools.command("resume")
def resume_pool(
    name: Name = None, every: AllOption = False, api: ApiOption = None, data_dir: DataDirOption = None
) -> None:
    """End the pause of the pool NAME, or the one of the whole queue; each ends by itself."""
    which = _which(name, every)
    if over_api(api, data_dir):
        by_api.resume_pool(api, None if every else which)
        return

    from orchestrator.capacity.pools import Pool, Pools
    from orchestrator.store import Store

    settings = settings_of(data_dir)

    async def change() -> tuple[bool, list[Pool]]:
        async with Store.open(settings.database) as store:
            resumed = await Pools(settings, store).resume(which, by=_who())
            return resumed, await Pools(settings, store).list()

    try:
        resumed, all_pools = asyncio.run(change())
    except RequestError as error:
        raise CogmillError(f"{error.param}: {error.message}") from None
    what = "the whole queue" if which == EVERY else f"pool {which}"
    if not resumed:
        raise CogmillError(f"{what} is not paused")
    for pool in all_pools:
        if pool.paused and which in (EVERY, pool.name):
            typer.echo(f"{pool.name} begins nothing yet: {_described(pool.paused)}")


@pools.command("list")
def list_pools(api: ApiOption = None, data_dir: DataDirOption = None) -> None:
    """List pools, what waits and runs there, and who paused which and why."""
    if over_api(api, data_dir):
        by_api.show_pools(api)
        return

    from orchestrator.capacity.pools import Pool, Pools
    from orchestrator.store import Store

    settings = settings_of(data_dir)

    async def read() -> list[Pool]:
        async with Store.open(settings.database) as store:
            return await Pools(settings, store).list()

    for pool in asyncio.run(read()):
        state = _described(pool.paused) or "open"
        typer.echo(f"{pool.name}  {pool.model}  queued {pool.queued}  running {pool.running}  {state}")


def _described(pauses: Sequence[Pause]) -> str:
    return "; ".join(map(_words, pauses))


def _words(pause: Pause) -> str:
    whole = "the whole queue is paused" if pause.pool == EVERY else "paused"
    return f"{whole} since {pause.paused_at:%Y-%m-%d %H:%M} UTC by {pause.paused_by}: {pause.reason}"


def _which(name: str | None, every: bool) -> str:
    if every == (name is not None) or name == EVERY:
        raise typer.BadParameter("name one pool, or say --all", param_hint="NAME")
    return EVERY if name is None else name


def _who() -> str:
    """Whose shell this is, as far as the machine knows."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, as containers have it
        user = "somebody"
    return f"{user}@{socket.gethostname()} (command line)"
