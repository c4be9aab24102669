"""`cogmill pools`, `fleet`, `predictions` and `parked` through the API: the same, without a database URL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from orchestrator.commands import tables
from orchestrator.commands.administration import administrating

if TYPE_CHECKING:
    from cogmill_client.models.admin import Pool
    from cogmill_client.models.fleet import ScaleDecision


def pause_pool(api: str | None, pool: str | None, reason: str) -> None:
    """Of one pool; None is the whole queue."""
    with administrating(api) as cogmill:
        if pool is None:
            cogmill.admin.pause_queue(reason=reason)
        else:
            cogmill.admin.pause_pool(pool, reason=reason)


def resume_pool(api: str | None, pool: str | None) -> None:
    """The same; what still stands is said."""
    with administrating(api) as cogmill:
        left = cogmill.admin.resume_queue() if pool is None else [cogmill.admin.resume_pool(pool)]
    for each in left:
        if each.paused:
            typer.echo(f"{each.id} begins nothing yet: {_pauses(each)}")


def show_pools(api: str | None) -> None:
    with administrating(api) as cogmill:
        for each in cogmill.admin.pools():
            state = _pauses(each) or "open"
            typer.echo(f"{each.id}  {each.model}  queued {each.queued}  running {each.running}  {state}")


def show_fleet(api: str | None, *, decisions: bool) -> None:
    with administrating(api) as cogmill:
        fleet = cogmill.admin.fleet()
    heads = ("pool", "kind", "bounds", "wanted", "requested", "starting", "ready", "draining", "why")
    tables.table(
        heads,
        [
            (it.pool, it.kind, f"{it.min}-{it.max}", it.wanted, it.requested, it.starting, it.ready, it.draining,
             it.why)
            for it in fleet.kinds
        ],
    )  # fmt: skip
    if decisions:
        typer.echo("")
        told = ((_second(it.at), it.pool, it.kind, f"{it.change:+d}", *_basis(it), it.why) for it in fleet.decisions)
        tables.table(("at (UTC)", "pool", "kind", "change", "had", "jobs", "backlog s", "due", "why"), told)


def show_predictions(api: str | None, *, model: str | None, pool: str | None, speeds: bool, as_json: bool) -> None:
    with administrating(api) as cogmill:
        told = cogmill.admin.predictions(model=model, pool=pool)
    if as_json:
        tables.document({"data": told["data"], "speeds": told["speeds"]})
        return
    lines = told["speeds"] if speeds else told["data"]
    names = ("pool", "kind", "model", "configured", "learned") if speeds else _PREDICTED
    tables.table([name.replace("_", " ") for name in names], ([line.get(name) for name in names] for line in lines))


def show_parked(api: str | None) -> None:
    with administrating(api) as cogmill:
        for each in cogmill.admin.parked():
            typer.echo(tables.visible(f"{each.id}  {each.kind}  {each.tenant}  {_second(each.at)[:16]}  {each.error}"))


def resume_parked(api: str | None, subject: str) -> None:
    with administrating(api) as cogmill:
        cogmill.admin.resume_parked(subject)


_PREDICTED = (
    "model", "pool", "kind", "size", "num_frames", "steps", "profile", "guided", "adapter", "prior_seconds", "seconds",
    "renders", "weight", "last_at",
)  # fmt: skip


def _basis(it: ScaleDecision) -> tuple[object, ...]:
    """What it was based on: requested/starting/ready/draining, and what the pool had to do."""
    of, demand = it.standing, it.demand
    if of is None or demand is None:
        return ("-",) * 4
    due = "-" if demand.due_in_s is None else f"{demand.required_rate:.2f}/s for {demand.due_in_s:.0f} s"
    had = f"{of.requested}/{of.starting}/{of.ready}/{of.draining}"
    return had, demand.jobs, f"{demand.backlog_s:.0f}", due


def _pauses(pool: Pool) -> str:
    return "; ".join(
        f"{'the whole queue is paused' if each.of == 'queue' else 'paused'} since {_second(each.paused_at)[:16]} UTC "
        f"by {each.paused_by}: {each.reason}"
        for each in pool.pauses
    )


def _second(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"
