"""`cogmill workers`: workers of every cluster, one by one: drained, replaced and called back, through the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands import tables
from orchestrator.commands.administration import OnlyApiOption, administrating
from orchestrator.commands.connection import JsonOption
from orchestrator.commands.times import seconds

if TYPE_CHECKING:
    from cogmill_client.models.admin import Worker

workers = typer.Typer(help="Workers, one by one; with an administrator's key.", no_args_is_help=True)

IdsArgument = Annotated[list[str], typer.Argument(metavar="ID...", help="As they are listed: default:main-0.")]
_Within = Annotated[
    float | None,
    typer.Option(
        parser=seconds,
        metavar="10m",
        help="What it still renders then leaves with its checkpoint.",
        show_default="what it renders goes on to its end",
    ),
]


@workers.command("list")
def list_workers(
    pool: Annotated[str | None, typer.Option(help="Of this pool alone.")] = None,
    cluster: Annotated[str | None, typer.Option(help="Of this cluster alone.")] = None,
    as_json: JsonOption = False,
    api: OnlyApiOption = None,
) -> None:
    """List workers: those that live, those that rest since they cannot load, and those that were drained."""
    with administrating(api) as cogmill:
        found = list(cogmill.admin.workers(pool=pool, cluster=cluster))
    _told(found, as_json=as_json)


@workers.command()
def drain(
    worker_ids: IdsArgument, within: _Within = None, as_json: JsonOption = False, api: OnlyApiOption = None
) -> None:
    """Have workers end once they hold nothing, and stay away until `resume`. Those of kinds just leave."""
    with administrating(api) as cogmill:
        _told([cogmill.admin.drain_worker(each, within_s=within) for each in worker_ids], as_json=as_json)


@workers.command()
def replace(
    worker_ids: IdsArgument, within: _Within = None, as_json: JsonOption = False, api: OnlyApiOption = None
) -> None:
    """The same, but they are started anew."""
    with administrating(api) as cogmill:
        _told([cogmill.admin.replace_worker(each, within_s=within) for each in worker_ids], as_json=as_json)


@workers.command()
def resume(worker_ids: IdsArgument, as_json: JsonOption = False, api: OnlyApiOption = None) -> None:
    """Lift what was asked of workers: those that were drained are started again."""
    with administrating(api) as cogmill:
        _told([cogmill.admin.resume_worker(each) for each in worker_ids], as_json=as_json)


def _told(found: list[Worker], *, as_json: bool) -> None:
    if as_json:
        tables.document(found)
        return
    heads = ("id", "pool", "model", "state", "running", "asked", "why")
    tables.table(
        heads,
        [(it.id, it.pool, it.model, it.state or "unknown", it.running, _asked(it), it.reason or None) for it in found],
    )


def _asked(it: Worker) -> str | None:
    if it.order is None:
        return None
    left = "" if it.order.left_s is None else f", {it.order.left_s:.0f} s left"
    return f"{it.order.kind} by {it.order.asked_by}{left}"
