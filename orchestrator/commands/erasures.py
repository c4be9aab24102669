"""`cogmill tenants erase` and `erasures`, and `cogmill receipts`: tenants are erased, and that is proven."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.manifest import keys_of
from orchestrator.commands.options import DataDirOption, path, settings_of, with_store
from orchestrator.commands.tenants import Tenant, tenant_name
from orchestrator.domain.errors import IntegrityError

if TYPE_CHECKING:
    from orchestrator.ports.erasures import Erasure
    from orchestrator.store import Store

# The rest is imported by the command that needs it, as in orchestrator.cli.

receipts = typer.Typer(help="Receipts of erasures.", no_args_is_help=True)

_LOOKS_S = 2.0
_MOST = 1000

_Id = Annotated[str, typer.Argument(metavar="ERASURE", help="Its id, as `cogmill tenants erasures` lists it.")]


def join(tenants: typer.Typer) -> None:
    """Add the commands that are about tenants."""
    tenants.command("erase")(erase)
    tenants.command("erasures")(list_erasures)


def erase(
    tenant: Tenant,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for its name again.")] = False,
    keep_usage: Annotated[
        bool, typer.Option("--keep-usage", help="Keep what was used and when, under no tenant's name.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is finished, and print the receipt.")] = False,
    data_dir: DataDirOption = None,
) -> None:
    """Erase all that is kept of TENANT, for good: its keys open nothing from now on, its renders are stopped."""
    from orchestrator.telemetry import acting
    from orchestrator.tenants.erasing import Erasing

    confirm = tenant if yes else typer.prompt(f"Nothing brings it back. To erase {tenant}, write its name", err=True)

    async def request(store: Store) -> Erasure:
        return await Erasing(store).request(
            tenant, by=acting.current().name, own_tenant=None, keep_usage=keep_usage, confirm=confirm
        )

    erasure = with_store(settings_of(data_dir), request)
    typer.echo(erasure.id, err=wait)
    if wait:
        typer.echo(_waited_for(erasure.id, data_dir), nl=False)


def _waited_for(erasure_id: str, data_dir: Path | None) -> str:
    """The receipt, once there is one."""
    said = None
    while (erasure := _read(erasure_id, data_dir)).receipt is None:
        if erasure.waits_for != said and erasure.waits_for is not None:
            typer.echo(erasure.waits_for, err=True)
        said = erasure.waits_for
        time.sleep(_LOOKS_S)
    return erasure.receipt


def list_erasures(data_dir: DataDirOption = None) -> None:
    """List erasures, newest first: what each waits for, or when it was finished."""
    from orchestrator.commands.tables import table

    found = with_store(settings_of(data_dir), lambda store: store.list_erasures(limit=_MOST))
    rows = (
        (each.id, each.tenant, each.requested_at, each.requested_by, each.finished_at, each.waits_for) for each in found
    )
    table(("id", "tenant", "requested", "by", "finished", "waits for"), rows)


@receipts.command("show")
def show(erasure: _Id, data_dir: DataDirOption = None) -> None:
    """Print the signed receipt of an erasure that is finished."""
    from orchestrator.tenants.erasing import Erasing

    typer.echo(with_store(settings_of(data_dir), lambda store: Erasing(store).receipt(erasure)), nl=False)


@receipts.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(parser=path, metavar="FILE", help="A receipt, as JSON.")],
    tenant: Annotated[
        str | None, typer.Option(parser=tenant_name, metavar="TENANT", help="Whose it should be.")
    ] = None,
    jwks: Annotated[
        str | None,
        typer.Option(
            help="The public keys, as the deployment has them at /.well-known/jwks.json.",
            show_default="this deployment's own",
            metavar="PATH|URL",
        ),
    ] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Say whether FILE is as it was signed, and TENANT's; exit code 1, and what is wrong, if not."""
    from orchestrator.domain.receipt import SignedReceipt

    if not file.is_file():
        raise typer.BadParameter(f"there is no file {file}")
    keys = keys_of(jwks, data_dir)
    try:
        found = SignedReceipt.parse(file.read_bytes())
        keys.verify(found)
        if tenant is not None and not found.names(tenant):
            raise IntegrityError(f"it is another tenant's than {tenant}")
    except IntegrityError as error:
        typer.echo(f"{file} is not genuine: {error}", err=True)
        raise typer.Exit(1) from None
    whose = "" if tenant is None else f" of {tenant}"
    typer.echo(f"{file} is genuine: {found.receipt['erasure']}{whose}, finished at {found.receipt['finished_at']}")


def _read(erasure_id: str, data_dir: Path | None) -> Erasure:
    from orchestrator.tenants.erasing import Erasing

    return with_store(settings_of(data_dir), lambda store: Erasing(store).get(erasure_id))
