"""`cogmill usage`: what was used, what workers' hours went into, or what came to nothing: a table, CSV or JSON."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands import tables
from orchestrator.commands.administration import administrating
from orchestrator.commands.connection import JsonOption, UseOption, connected, moment

if TYPE_CHECKING:
    from cogmill_client import Cogmill
    from cogmill_client.client import Admin
    from cogmill_client.models.usage import WasteLine, WorkerAmounts, WorkerLine

_COLUMNS = ("hour", "tenant", "campaign", "model", "pool", "kind", "outcome")
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
    waste: Annotated[
        bool, typer.Option("--waste", help="For operators: what came to nothing, by cause; and by hour, kind or pool.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: JsonOption = False,
    use: UseOption = None,
    api: Annotated[
        str | None,
        typer.Option(
            "--api",
            metavar="URL|NAME",
            help="As an administrator sees it, everybody's without --tenant: the API's URL (the key is COGMILL_KEY), "
            "or a profile.",
        ),
    ] = None,
) -> None:
    """Say what was used: attempts, GPU seconds, those that came to nothing, and money where pools have prices."""
    if use is not None and api is not None:
        raise typer.BadParameter("is one of two; say --use or --api", param_hint="--api")
    if as_csv and as_json:
        raise typer.BadParameter("is one of two; say --csv or --json", param_hint="--json")
    words = [word for each in by or () for word in each.split(",") if word]
    if workers and waste:
        raise typer.BadParameter("is one of two; say --workers or --waste", param_hint="--waste")
    if workers or waste:
        chosen = "--workers" if workers else "--waste"
        for name, given in (("--campaign", campaign), ("--tenant", tenant)):
            if given:
                raise typer.BadParameter(f"does not go with {chosen}", param_hint=name)
        show = _of_workers if workers else _waste
        show(since, until, words, as_csv=as_csv, as_json=as_json, use=use, api=api)
        return
    with _reports(use, api) as cogmill:
        start, end = moment(since), moment(until)
        if as_csv:
            _print(cogmill.usage_csv(from_=start, to=end, by=words, campaign=campaign, tenant=tenant))
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


@contextmanager
def _reports(use: str | None, api: str | None) -> Iterator[Cogmill | Admin]:
    """Who tells it: the API to a tenant or an operator, or to an administrator."""
    if api is None:
        with connected(use) as cogmill:
            yield cogmill
    else:
        with administrating(api) as cogmill:
            yield cogmill.admin


def _of_workers(
    since: str | None,
    until: str | None,
    by: list[str],
    *,
    as_csv: bool,
    as_json: bool,
    use: str | None,
    api: str | None,
) -> None:
    with _reports(use, api) as cogmill:
        if as_csv:
            _print(cogmill.worker_usage_csv(from_=moment(since), to=moment(until), by=by))
            return
        used = cogmill.worker_usage(from_=moment(since), to=moment(until), by=by)
    if as_json:
        tables.document(used)
        return
    told = [name for name in _OF_WORKERS if name in used.by]
    lines = [(*_told(line, told), *_hours(line)) for line in (used.data if told else ())]
    total = (*("total" if at == 0 else "" for at in range(len(told))), *_hours(used.total))
    heads = (*told, "busy s", "idle s", "loading s", "broken s", "used", f"money ({used.currency})", "unused money")
    tables.table(heads, [*lines, total])


def _waste(
    since: str | None,
    until: str | None,
    by: list[str],
    *,
    as_csv: bool,
    as_json: bool,
    use: str | None,
    api: str | None,
) -> None:
    with _reports(use, api) as cogmill:
        if as_csv:
            _print(cogmill.waste_csv(from_=moment(since), to=moment(until), by=by))
            return
        found = cogmill.waste(from_=moment(since), to=moment(until), by=by)
    if as_json:
        tables.document(found)
        return
    told = [name for name in _OF_WORKERS if name in found.by]
    lines = [
        (*_told(line, told), line.cause, line.seconds, _percent(line.share), line.money)
        for line in found.data
    ]  # fmt: skip
    all_of_it = (*("" for _ in told), "all that workers did", found.worker_seconds, "100%", found.worker_money)
    tables.table((*told, "cause", "seconds", "share", f"money ({found.currency})"), [*lines, all_of_it])


def _told(line: WorkerLine | WasteLine, names: list[str]) -> list[object]:
    return [tables.when(line.hour) if name == "hour" else getattr(line, name) for name in names]


def _print(text: str) -> None:
    typer.echo(text, nl=not text.endswith("\n"))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _hours(line: WorkerAmounts) -> tuple[object, ...]:
    share = "" if line.utilisation is None else f"{line.utilisation:.0%}"
    return line.busy_s, line.idle_s, line.loading_s, line.broken_s, share, line.money, line.unused_money
