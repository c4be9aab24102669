"""`cogmill trace`: the life of one job as a tree, from the database or through the API. No tracing has to be on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.commands.administration import ApiOption, administrating, over_api
from orchestrator.commands.connection import JsonOption
from orchestrator.commands.options import DataDirOption, settings_of, with_store

if TYPE_CHECKING:
    from cogmill_client import Cogmill
    from cogmill_client.models.admin import JobTrace

    from orchestrator.store import Store

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Its id, video_..., or the hex digits that logs have.")]


def trace(
    job_id: JobArgument, data_dir: DataDirOption = None, as_json: JsonOption = False, api: ApiOption = None
) -> None:
    """Show the life of a job: waits and why, attempts with their stages, webhooks. Over the API, a tenant's key shows
    its own jobs, one with `view` those of any tenant."""
    from orchestrator.intake.lives import public_form

    known = public_form(job_id)
    if over_api(api, data_dir):
        with administrating(api) as cogmill:
            told = _ask(cogmill, known).model_dump(mode="json")
    else:
        told = _read(known, data_dir)
    if as_json:
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _draw(told)


def _ask(cogmill: Cogmill, job_id: str) -> JobTrace:
    from cogmill_client import Forbidden, NotFound

    # The caller's own first: what a key may not ask is kept in the audit log.
    try:
        return cogmill.jobs.trace(job_id)
    except (Forbidden, NotFound) as none:
        try:
            return cogmill.admin.job_trace(job_id)
        except Forbidden:
            raise none from None


def _read(job_id: str, data_dir: Any) -> dict[str, Any]:
    from orchestrator.domain.life_tree import document
    from orchestrator.intake.lives import Lives
    from orchestrator.intake.waiting import Waiting

    settings = settings_of(data_dir)

    async def read(store: Store) -> dict[str, Any]:
        return document(await Lives(store, Waiting(store, settings.sets)).of(job_id))

    return with_store(settings, read)


def _draw(told: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.tree import Tree

    names = ("tenant", "pool", "model", "campaign", "trace_id")
    facts = "  ".join(f"{name.replace('_', ' ')} {told[name]}" for name in names if told.get(name))
    job, *parts = told["spans"]
    hung = {job["number"]: (tree := Tree(_line(job, called=told["id"])))}
    for part in parts:
        hung[part["number"]] = hung[part["parent"]].add(_line(part))
    # A tree is cut at the width, which is 80 where nobody looks; a terminal wraps what is longer than it.
    console = Console(highlight=False, markup=False, soft_wrap=True, width=1000)
    console.print(_visible(facts))
    console.print(tree)


def _line(span: Mapping[str, Any], called: str | None = None) -> Any:
    from rich.text import Text

    from orchestrator.commands.tables import duration

    goes_on = " so far" if span["ended_at"] is None else ""
    line = Text(f"{datetime.fromtimestamp(span['began_at'], UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3], style="dim")
    line.append("  ").append(called or span["name"], style="bold")
    line.append(f"  {duration(span['seconds'])}{goes_on}", style="cyan")
    note = _visible(span["note"])
    return line.append(f"  {note}") if note else line


def _visible(text: str) -> str:
    from orchestrator.commands.tables import visible

    return visible(text)
