"""`cogmill tenants share` and `shares`: what tenants have of single pools, guaranteed workers and caps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.options import DataDirOption, settings_of
from orchestrator.commands.tenants import Tenant
from orchestrator.domain.errors import CogmillError

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
    data_dir: DataDirOption = None,
) -> None:
    """Say what TENANT has of POOL from the next claim on; what is not named stays, 0 and `none` take it away."""
    from dataclasses import replace

    from orchestrator.ports import Share
    from orchestrator.store import Store

    settings = settings_of(data_dir)
    if guaranteed is None and running is None:
        raise typer.BadParameter("name one", param_hint="--guaranteed, --running")
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
            _check(share, known, settings.guaranteeable(pool))
            await store.set_share(share)

    asyncio.run(change())


def _check(share: Share, known: dict[str, Share], workers: int) -> None:
    """Raise `CogmillError` for a guarantee above the tenant's own cap, or with the others' above the pool's workers."""
    if share.running is not None and share.guaranteed > share.running:
        raise CogmillError(
            f"{share.tenant} may run {share.running} jobs in pool {share.pool} and cannot be guaranteed "
            f"{share.guaranteed}: raise --running, or lower --guaranteed"
        )
    promised = sum(other.guaranteed for name, other in known.items() if name != share.tenant) + share.guaranteed
    before = known[share.tenant].guaranteed if share.tenant in known else 0
    if promised > workers and share.guaranteed > before:
        raise CogmillError(
            f"pool {share.pool} has {workers} workers (pools.{share.pool}.workers), and {promised} would be guaranteed"
        )


def list_shares(data_dir: DataDirOption = None) -> None:
    """List what tenants have of single pools, and pools that guarantee more workers than they have."""
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
