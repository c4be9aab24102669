"""`cogmill tenants share` and `shares`: what tenants have of single pools, guaranteed workers and caps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands import tenants_by_api as by_api
from orchestrator.commands.administration import ApiOption, over_api
from orchestrator.commands.options import DataDirOption, settings_of
from orchestrator.commands.tenants import Tenant
from orchestrator.domain.errors import CogmillError, InvalidField

if TYPE_CHECKING:
    from orchestrator.ports import Share

# The rest is imported by the command that needs it, as in orchestrator.cli.

# What the table's integers hold.
_MOST = 2**31 - 1


def join(tenants: typer.Typer) -> None:
    """Put both commands beside those of `tenants`."""
    tenants.command("share")(set_share)
    tenants.command("shares")(list_shares)


def _cap(text: str) -> int:
    """A whole number, -1 for `none`."""
    if text == "none":
        return -1
    # Of thousands of digits int() makes no number.
    if not text.isdecimal() or len(text.lstrip("0")) > len(str(_MOST)) or int(text) > _MOST:
        raise typer.BadParameter(f"must be a whole number from 0 to {_MOST}, or 'none'")
    return int(text)


def set_share(
    tenant: Tenant,
    pool: Annotated[str, typer.Argument(help="A pool of the configuration.")],
    guaranteed: Annotated[
        int | None,
        typer.Option(min=0, max=_MOST, help="Workers that it gets when it wants them, lent while it does not."),
    ] = None,
    running: Annotated[
        int | None, typer.Option(parser=_cap, metavar="NUMBER|none", help="Jobs that it may run there at once.")
    ] = None,
    api: ApiOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Say what TENANT has of POOL from the next claim on; what is not named stays, 0 and `none` take it away."""
    from dataclasses import replace

    from orchestrator.ports import Share
    from orchestrator.store import Store
    from orchestrator.tenants.administering import check_share

    if guaranteed is None and running is None:
        raise typer.BadParameter("name one", param_hint="--guaranteed, --running")
    if over_api(api, data_dir):
        given = {"guaranteed": guaranteed, "running": running}
        changes = {name: None if value < 0 else value for name, value in given.items() if value is not None}
        by_api.set_share(api, tenant, pool, changes)
        return
    settings = settings_of(data_dir)
    if pool not in settings.pools:
        raise CogmillError(f"no pool {pool!r}; this deployment has: {', '.join(settings.pools)}")

    async def change() -> None:
        async with Store.open(settings.database) as store:
            known = {share.tenant: share for share in await store.list_shares() if share.pool == pool}
            share = known.get(tenant, Share(tenant=tenant, pool=pool))
            if guaranteed is not None:
                share = replace(share, guaranteed=guaranteed)
            if running is not None:
                share = replace(share, running=None if running < 0 else running)
            check_share(share, known, settings.guaranteeable(pool))
            await store.set_share(share)

    try:
        asyncio.run(change())
    except InvalidField as error:
        raise CogmillError(error.message) from None


def list_shares(api: ApiOption = None, data_dir: DataDirOption = None) -> None:
    """List what tenants have of single pools, and pools that guarantee more workers than they have."""
    if over_api(api, data_dir):
        by_api.show_shares(api)
        return

    from orchestrator.store import Store

    settings = settings_of(data_dir)

    async def read() -> list[Share]:
        async with Store.open(settings.database) as store:
            return await store.list_shares()

    shares = asyncio.run(read())
    for share in shares:
        cap = "none" if share.running is None else share.running
        typer.echo(f"{share.pool}  {share.tenant}  guaranteed {share.guaranteed}  running {cap}")
    for pool in sorted({share.pool for share in shares}):
        problem = over(pool, shares, settings.guaranteeable(pool) if pool in settings.pools else None)
        if problem is not None:
            typer.echo(f"warning: {problem}", err=True)


def over(pool: str, shares: list[Share], workers: int | None) -> str | None:
    """What is wrong with a pool's guarantees, when it has so many workers (None: there is no such pool); or None."""
    promised = sum(share.guaranteed for share in shares if share.pool == pool)
    if workers is None:
        return f"there is no pool {pool}, of which tenants have shares"
    if promised > workers:
        mend = f"lower some, or raise pools.{pool}.workers"
        return f"pool {pool} has {workers} workers, and {promised} are guaranteed: {mend}"
    return None
