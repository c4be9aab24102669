"""`cogmill audit`: who did what to this deployment; written out, and checked against its seals and kept heads."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.commands.options import DataDirOption, path, settings_of, with_store
from orchestrator.commands.tables import visible
from orchestrator.commands.times import moment
from orchestrator.domain.errors import CogmillError

if TYPE_CHECKING:
    from orchestrator.config import Settings
    from orchestrator.domain.audit_chain import Entry, Head, Keys
    from orchestrator.ports.audit import AuditFilter
    from orchestrator.store import Store

# The rest is imported by the command that needs it, as in orchestrator.cli.

audit = typer.Typer(help="The audit log of administrative and security actions.", no_args_is_help=True)

_PAGE = 1_000


def _time(text: str) -> datetime:
    """A date, or a time with its zone."""
    if re.fullmatch(r"\d+[smhdw]", text):  # there it is a time to come
        raise typer.BadParameter(f"{text!r} is no date and no time with its zone")
    return moment(text)


_Actor = Annotated[
    str | None, typer.Option(metavar="WHO", help="As it is listed: key:ID, oidc:ISSUER#SUBJECT, cli:USER@HOST, nobody.")
]
_Action = Annotated[str | None, typer.Option(metavar="THING.VERB", help="As it is listed: key.create, pool.pause, ...")]
_Tenant = Annotated[str | None, typer.Option(metavar="TENANT", help="What was done to it, and by its keys.")]
_Since = Annotated[datetime | None, typer.Option("--from", parser=_time, metavar="TIME", help="A date or a time.")]
_Until = Annotated[datetime | None, typer.Option("--to", parser=_time, metavar="TIME", help="It is not in it.")]


@audit.command("list")
def list_entries(
    actor: _Actor = None,
    action: _Action = None,
    tenant: _Tenant = None,
    since: _Since = None,
    until: _Until = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the newest first.")] = 50,
    data_dir: DataDirOption = None,
) -> None:
    """List what was done, by whom, and what it changed."""
    wanted = _filter(actor, action, tenant, since, until)

    async def read(store: Store) -> list[Entry]:
        return list((await store.page_audit(wanted, limit=limit)).entries)

    for entry in with_store(settings_of(data_dir), read):
        typer.echo(visible(_line(entry)))


@audit.command("export")
def export(
    as_lines: Annotated[bool, typer.Option("--jsonl", help="One JSON object a line, the oldest first.")] = False,
    actor: _Actor = None,
    action: _Action = None,
    tenant: _Tenant = None,
    since: _Since = None,
    until: _Until = None,
    data_dir: DataDirOption = None,
) -> None:
    """Write out all that is asked for, whole, for an archive or a SIEM."""
    if not as_lines:
        raise typer.BadParameter("is the one format there is", param_hint="--jsonl")
    wanted = _filter(actor, action, tenant, since, until)

    async def write(store: Store) -> None:
        async for entry in _all(store, wanted):
            typer.echo(json.dumps(document(entry)))

    with_store(settings_of(data_dir), write)


@audit.command()
def heads(data_dir: DataDirOption = None) -> None:
    """Print where the chain stands, as one line to keep elsewhere: later it shows whether the log was written anew."""

    async def read(store: Store) -> dict[str, Any]:
        last = await store.last_seal()
        if last is None:
            raise CogmillError("nothing is sealed yet: is `cogmill maintain` running?")
        head = {"deployment": await store.deployment_id(), "number": last.number, "link": last.link}
        return {**head, "at": f"{last.at:%Y-%m-%dT%H:%M:%SZ}"}

    typer.echo(json.dumps(with_store(settings_of(data_dir), read)))


@audit.command()
def verify(
    kept: Annotated[
        Path | None,
        typer.Option("--from", parser=path, metavar="HEAD-FILE", help="Lines of `heads` that were kept elsewhere."),
    ] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Read the whole log again, and say what of it is not as it was sealed. Exit code 1 when anything is not."""
    from orchestrator.audit.verifying import MOST_FINDINGS, Report
    from orchestrator.audit.verifying import verify as check

    settings = settings_of(data_dir)
    known, keys = [] if kept is None else read_heads(kept.read_text()), _keys(settings)

    async def read(store: Store) -> Report:
        return await check(store, keys, kept=known, deployment=await store.deployment_id())

    report = with_store(settings, read)
    for finding in report.findings:
        typer.echo(visible(finding))
    if len(report.findings) == MOST_FINDINGS:
        typer.echo("and more")
    end = "nothing is sealed" if report.end is None else f"the end is seal {report.end.number}, {report.end.link}"
    typer.echo(
        f"{report.entries} entries in {report.seals} seals, {report.waiting} wait for one, {report.erased} with values "
        f"that were erased, {report.pruned} deleted by retention; {end}"
    )
    if report.findings:
        raise typer.Exit(1)


@audit.command()
def accept(data_dir: DataDirOption = None) -> None:
    """Go on behind a last seal that this deployment's master key has not made. First look at what `verify` says."""
    from orchestrator.domain.audit_chain import Seal, checkpoint_at

    settings = settings_of(data_dir)
    keys = _keys(settings)

    async def vouch(store: Store) -> Seal | None:
        return await store.accept_audit(lambda seal, entries, at: checkpoint_at(seal, entries, at, keys))

    seal = with_store(settings, vouch)
    if seal is None:
        raise CogmillError("nothing is sealed yet")
    typer.echo(f"seal {seal.number} and all before it are vouched for as they are, which the log now says")


def read_heads(text: str) -> list[Head]:
    """Heads from lines of `cogmill audit heads`. Raises `CogmillError`."""
    from orchestrator.domain import jsontext
    from orchestrator.domain.audit_chain import Head

    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            said = jsontext.parse(line)
            found.append(Head(deployment=said["deployment"], number=int(said["number"]), link=said["link"]))
        except (ValueError, KeyError, TypeError):
            raise CogmillError(f"line {number} of the heads is no line of `cogmill audit heads`") from None
    if not found:
        raise CogmillError("there is no head in it")
    return found


def document(entry: Entry) -> dict[str, Any]:
    """An entry for machines. What was erased is named, and null."""
    values = {name: entry.values.get(name) for name in ("actor", "actor_tenant", "address", "request_id")}
    values |= {name: entry.values.get(name) for name in ("tenant", "object")}
    return {
        "id": entry.id,
        "at": entry.at.isoformat(),
        "action": entry.action,
        "outcome": entry.outcome,
        **values,
        "before": entry.before,
        "after": entry.after,
        "erased": sorted(entry.erased),
        "seal": entry.seal,
    }


def _filter(
    actor: str | None, action: str | None, tenant: str | None, since: datetime | None, until: datetime | None
) -> AuditFilter:
    from orchestrator.ports.audit import AuditFilter

    return AuditFilter(actor=actor, action=action, tenant=tenant, since=since, until=until)


async def _all(store: Store, wanted: AuditFilter) -> AsyncIterator[Entry]:
    after: int | None = None
    while True:
        page = await store.page_audit(wanted, limit=_PAGE, after=after, oldest_first=True)
        for entry in page.entries:
            yield entry
        if not page.has_more:
            return
        after = page.entries[-1].id


def _keys(settings: Settings) -> Keys:
    from orchestrator.domain.audit_chain import Keys

    return Keys.of(settings.needed_ring)


def _line(entry: Entry) -> str:
    said = dict.fromkeys(entry.erased, "(erased)") | dict(entry.values)
    cells = [str(entry.id), f"{entry.at:%Y-%m-%d %H:%M:%S}", entry.action, entry.outcome, said.get("actor", "-")]
    cells += [said[name] for name in ("address", "object") if name in said]
    if "before" in said:
        cells.append(f"was {said['before']}")
    if "after" in said:
        cells.append(f"is {said['after']}")
    return "  ".join(cells)
