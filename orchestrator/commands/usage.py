"""`cogmill usage`: what was used, or what workers' hours went into, from the ledger, as a table, CSV or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands import tables
from orchestrator.commands.connection import JsonOption, UseOption, connected, moment

if TYPE_CHECKING:
    from cogmill_client.models.usage import WorkerAmounts

_COLUMNS = ("hour", "tenant", "campaign", "model", "pool", "outcome")
_OF_WORKERS = ("hour", "pool", "kind")


def usage(
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="A date, a time with its zone, or Unix seconds.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", show_default="now")] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="campaign|model|outcome|hour|pool|tenant|kind", help="What to tell apart; may be repeated."
        ),
    ] = None,
    campaign: Annotated[str | None, typer.Option(metavar="ID", help="Of this campaign alone.")] = None,
    tenant: Annotated[str | None, typer.Option(help="For operators: whose; * is everybody's.")] = None,
    workers: Annotated[
        bool, typer.Option("--workers", help="For operators: what workers' hours went into, by hour, kind or pool.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: JsonOption = False,
    use: UseOption = None,
) -> None:
    """Say what was used: attempts, GPU seconds, those that came to nothing, and money where pools have prices."""
    if as_csv and as_json:
        raise typer.BadParameter("is one of two; say --csv or --json", param_hint="--json")
    words = [word for each in by or () for word in each.split(",") if word]
    if workers:
        for name, given in (("--csv", as_csv), ("--campaign", campaign), ("--tenant", tenant)):
            if given:
                raise typer.BadParameter("does not go with --workers", param_hint=name)
        _of_workers(since, until, words, as_json=as_json, use=use)
        return
    with connected(use) as cogmill:
        start, end = moment(since), moment(until)
        if as_csv:
            text = cogmill.usage_csv(from_=start, to=end, by=words, campaign=campaign, tenant=tenant)
            typer.echo(text, nl=not text.endswith("\n"))
            return
        used = cogmill.usage(from_=start, to=end, by=words, campaign=campaign, tenant=tenant)
    if as_json:
        tables.document(used)
        return
    told = [name for name in _COLUMNS if name in used.by]
    heads = (*told, "attempts", "GPU seconds", "wasted", f"money ({used.currency})")
    lines = [
        (
            *(tables.when(line.hour) if name == "hour" else getattr(line, name) for name in told),
            line.attempts, line.gpu_seconds, line.wasted_gpu_seconds, line.money,
        )
        for line in (used.data if told else ())
    ]  # fmt: skip
    total = used.total
    amounts = (total.attempts, total.gpu_seconds, total.wasted_gpu_seconds, total.money)
    tables.table(heads, [*lines, (*("total" if at == 0 else "" for at in range(len(told))), *amounts)])


def _of_workers(since: str | None, until: str | None, by: list[str], *, as_json: bool, use: str | None) -> None:
    with connected(use) as cogmill:
        used = cogmill.worker_usage(from_=moment(since), to=moment(until), by=by)
    if as_json:
        tables.document(used)
        return
    told = [name for name in _OF_WORKERS if name in used.by]
    lines = [
        (*(tables.when(line.hour) if name == "hour" else getattr(line, name) for name in told), *_hours(line))
        for line in (used.data if told else ())
    ]
    total = (*("total" if at == 0 else "" for at in range(len(told))), *_hours(used.total))
    heads = (*told, "busy s", "idle s", "loading s", "broken s", "used", f"money ({used.currency})", "unused money")
    tables.table(heads, [*lines, total])


def _hours(line: WorkerAmounts) -> tuple[object, ...]:
    share = "" if line.utilisation is None else f"{line.utilisation:.0%}"
    return line.busy_s, line.idle_s, line.loading_s, line.broken_s, share, line.money, line.unused_money
