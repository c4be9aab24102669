"""`cogmill any-jobs` and `cogmill dead-letters`: jobs of every tenant, through the API with an administrator's key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands import tables
from orchestrator.commands.administration import OnlyApiOption, administrating
from orchestrator.commands.connection import JsonOption

if TYPE_CHECKING:
    from cogmill_client.models.admin import Job

any_jobs = typer.Typer(help="Jobs of every tenant; with an administrator's key.", no_args_is_help=True)
dead_letters = typer.Typer(
    help="Jobs that failed for the service's fault; with an administrator's key.", no_args_is_help=True
)

IdArgument = Annotated[str, typer.Argument(metavar="ID")]
IdsArgument = Annotated[list[str], typer.Argument(metavar="ID...")]
LimitOption = Annotated[int, typer.Option(min=1, help="How many, the newest first.")]
TenantOption = Annotated[str | None, typer.Option(help="Of this tenant alone.")]
PoolOption = Annotated[str | None, typer.Option(help="Of this pool alone.")]
ModelOption = Annotated[str | None, typer.Option(help="Of this model alone.")]


@any_jobs.command("list")
def list_jobs(
    state: Annotated[str | None, typer.Option(help="held, queued, running, succeeded, failed or cancelled.")] = None,
    tenant: TenantOption = None,
    pool: PoolOption = None,
    model: ModelOption = None,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
    api: OnlyApiOption = None,
) -> None:
    """List jobs, rows of campaigns and batches among them."""
    with administrating(api) as cogmill:
        _told([*cogmill.admin.jobs(tenant=tenant, state=state, pool=pool, model=model, limit=limit)], as_json=as_json)


@any_jobs.command()
def show(job_id: IdArgument, as_json: JsonOption = False, api: OnlyApiOption = None) -> None:
    """Say what befell a job, attempt by attempt. What it shows is its tenant's."""
    with administrating(api) as cogmill:
        job = cogmill.admin.job(job_id)
    if as_json:
        tables.document(job)
        return
    others = {name: value for name, value in job.model_dump().items() if value not in (None, [], False)}
    moments = {name: f"{tables.when(others[name])} UTC" for name in _MOMENTS if name in others}
    failure = None if job.failure is None else f"{job.failure.code}: {job.failure.message}"
    end = None if job.dead_letter is None else f"{job.dead_letter.fate} by {job.dead_letter.ended_by}"
    tables.facts(others | moments | {"failure": failure, "attempts": None, "dead_letter": end})
    if job.attempts:
        typer.echo("")
        heads = ("attempt", "outcome", "cluster", "worker", "GPU seconds", "ended (UTC)", "failure")
        tables.table(
            heads,
            [
                (it.number, it.outcome, it.cluster, it.worker, it.gpu_seconds, tables.when(it.ended_at),
                 None if it.failure is None else f"{it.failure.code}: {it.failure.message}")
                for it in job.attempts
            ],
        )  # fmt: skip


@any_jobs.command()
def cancel(job_ids: IdsArgument, as_json: JsonOption = False, api: OnlyApiOption = None) -> None:
    """Call jobs off; those that have ended stay as they are."""
    with administrating(api) as cogmill:
        _told([cogmill.admin.cancel_job(each) for each in job_ids], as_json=as_json)


@any_jobs.command()
def retry(job_ids: IdsArgument, as_json: JsonOption = False, api: OnlyApiOption = None) -> None:
    """Queue jobs like those that failed or were cancelled, in their tenants' names, and print the new ones."""
    with administrating(api) as cogmill:
        _told([cogmill.admin.retry_job(each) for each in job_ids], as_json=as_json)


@dead_letters.command("list")
def list_letters(
    tenant: TenantOption = None,
    pool: PoolOption = None,
    model: ModelOption = None,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
    api: OnlyApiOption = None,
) -> None:
    """List dead letters with why they failed; `any-jobs show ID` has their attempts."""
    with administrating(api) as cogmill:
        _told([*cogmill.admin.dead_letters(tenant=tenant, pool=pool, model=model, limit=limit)], as_json=as_json)


@dead_letters.command()
def release(job_ids: IdsArgument, as_json: JsonOption = False, api: OnlyApiOption = None) -> None:
    """Queue jobs like these, once each, in their tenants' names, and print the new ones."""
    with administrating(api) as cogmill:
        _told([cogmill.admin.release(each) for each in job_ids], as_json=as_json)


@dead_letters.command()
def forget(job_ids: IdsArgument, as_json: JsonOption = False, api: OnlyApiOption = None) -> None:
    """List these no more; their tenants keep them."""
    with administrating(api) as cogmill:
        _told([cogmill.admin.forget(each) for each in job_ids], as_json=as_json)


_MOMENTS = ("created_at", "started_at", "finished_at")


def _told(found: list[Job], *, as_json: bool) -> None:
    if as_json:
        tables.document(found)
        return
    heads = ("id", "tenant", "state", "pool", "model", "attempts", "created (UTC)", "failure")
    tables.table(
        heads,
        [
            (it.id, it.tenant, it.state, it.pool, it.model, len(it.attempts), tables.when(it.created_at),
             None if it.failure is None else f"{it.failure.code}: {it.failure.message}")
            for it in found
        ],
    )  # fmt: skip
