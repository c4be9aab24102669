"""`cogmill campaign`: campaigns from their plan to their end, for whoever has a key."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands import campaign_create, campaign_results, campaign_reviews, progress, tables
from orchestrator.commands.campaign_create import IdArgument, end
from orchestrator.commands.connection import CODES, JsonLinesOption, JsonOption, TimeoutOption, UseOption, connected

if TYPE_CHECKING:
    from cogmill_client import Campaign, Plan
    from cogmill_client.models.campaigns import Forecast

campaigns = typer.Typer(help="Many videos under one template, one budget and one deadline.", no_args_is_help=True,
                        epilog=CODES)  # fmt: skip
campaigns.command("create", epilog=CODES)(campaign_create.create)
campaigns.command("upload")(campaign_create.upload)
campaigns.command("rows")(campaign_results.rows)
campaigns.command("errors")(campaign_results.errors)
campaigns.command("manifest")(campaign_results.manifest)
campaigns.command("download", epilog=CODES)(campaign_results.download)
campaigns.command("failures")(campaign_reviews.failures)
campaigns.command("reviews")(campaign_reviews.reviews)
campaigns.command("review")(campaign_reviews.review)
campaigns.command("apply-reviews")(campaign_reviews.apply_reviews)

RowsArgument = Annotated[list[str] | None, typer.Argument(metavar="[CUSTOM_ID]...")]
CodeOption = Annotated[str | None, typer.Option("--code", help="Those that failed with this code.")]


@campaigns.command("list")
def list_campaigns(
    state: Annotated[str | None, typer.Option(help="Only those.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    as_json: JsonOption = False,
    use: UseOption = None,
) -> None:
    """List campaigns."""
    with connected(use) as cogmill:
        found = list(cogmill.campaigns.list(state=state, limit=limit))  # type: ignore[arg-type]  # the API says which
    if as_json:
        tables.document(found)
        return
    heads = ("id", "name", "state", "rows", "succeeded", "failed", "GPU seconds", "created (UTC)")
    tables.table(
        heads,
        [
            (each.id, each.name, progress.stands(each), each.counts.rows, each.counts.succeeded, each.counts.failed,
             each.spent.gpu_seconds, tables.when(each.created_at))
            for each in found
        ],
    )  # fmt: skip


@campaigns.command()
def show(campaign_id: IdArgument, as_json: JsonOption = False, use: UseOption = None) -> None:
    """Say where a campaign stands, what it has spent, and when it will be done."""
    with connected(use) as cogmill:
        _told(cogmill.campaigns.retrieve(campaign_id), as_json=as_json)


@campaigns.command()
def plan(campaign_id: IdArgument, as_json: JsonOption = False, use: UseOption = None) -> None:
    """Say what a campaign will render and what that costs."""
    with connected(use) as cogmill:
        made = cogmill.campaigns.plan(campaign_id)
    if as_json:
        tables.document(made)
    else:
        _planned(made)


@campaigns.command()
def approve(
    campaign_id: IdArgument,
    token: Annotated[
        str | None, typer.Option(help="Of the plan that was looked at: another one is not approved.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Whatever the plan is.")] = False,
    as_json: JsonOption = False,
    use: UseOption = None,
) -> None:
    """Let a campaign render what its plan says, for no more than its upper bound. On a terminal, shows it and asks."""
    with connected(use) as cogmill:
        if token is None:
            made = cogmill.campaigns.plan(campaign_id)
            if not yes:
                if as_json or not sys.stdin.isatty():
                    raise typer.BadParameter("name the plan that was looked at, or say --yes", param_hint="--token")
                _planned(made)
                typer.confirm("Render this?", abort=True)
            token = made.plan_token
        _told(cogmill.campaigns.approve(campaign_id, token), as_json=as_json)


@campaigns.command()
def reject(
    campaign_id: IdArgument,
    custom_ids: Annotated[list[str], typer.Argument(metavar="CUSTOM_ID...")],
    drop: Annotated[bool, typer.Option("--drop/--new-seed", help="Leave them out, or render them anew.")] = False,
    as_json: JsonOption = False,
    use: UseOption = None,
) -> None:
    """Sampled rows that will not do."""
    with connected(use) as cogmill:
        told = cogmill.campaigns.reject(campaign_id, custom_ids, do="drop" if drop else "new_seed")
        _told(told, as_json=as_json)


@campaigns.command(epilog=CODES)
def watch(
    campaign_id: IdArgument, timeout: TimeoutOption = None, as_json: JsonLinesOption = False, use: UseOption = None
) -> None:
    """Follow a campaign until it has ended, or needs approval."""
    with connected(use) as cogmill, progress.of_campaign(as_json=as_json) as follower:
        campaign = cogmill.campaigns.wait(campaign_id, timeout=timeout, on_event=follower.hear, on_change=follower.see)
    if not as_json:
        _told(campaign, as_json=False)
    end(campaign)


@campaigns.command()
def pause(
    campaign_id: IdArgument,
    reason: Annotated[str | None, typer.Option(help="For whoever asks why.")] = None,
    as_json: JsonOption = False,
    use: UseOption = None,
) -> None:
    """Begin no more rows; what is rendered now goes on."""
    with connected(use) as cogmill:
        _told(cogmill.campaigns.pause(campaign_id, reason=reason), as_json=as_json)


@campaigns.command()
def resume(campaign_id: IdArgument, as_json: JsonOption = False, use: UseOption = None) -> None:
    """End the owner's pause, or the one for failures."""
    with connected(use) as cogmill:
        _told(cogmill.campaigns.resume(campaign_id), as_json=as_json)


@campaigns.command()
def cancel(campaign_id: IdArgument, as_json: JsonOption = False, use: UseOption = None) -> None:
    """End a campaign for good; what is done stays."""
    with connected(use) as cogmill:
        _told(cogmill.campaigns.cancel(campaign_id), as_json=as_json)


@campaigns.command()
def retry(
    campaign_id: IdArgument,
    custom_ids: RowsArgument = None,
    code: CodeOption = None,
    as_json: JsonOption = False,
    use: UseOption = None,
) -> None:
    """Try failed rows again: all, or those named."""
    with connected(use) as cogmill:
        _told(cogmill.campaigns.retry(campaign_id, rows=custom_ids or None, code=code), as_json=as_json)


@campaigns.command()
def waive(
    campaign_id: IdArgument,
    custom_ids: RowsArgument = None,
    code: CodeOption = None,
    as_json: JsonOption = False,
    use: UseOption = None,
) -> None:
    """Accept that failed rows, all or those named, stay without a video."""
    with connected(use) as cogmill:
        _told(cogmill.campaigns.waive(campaign_id, rows=custom_ids or None, code=code), as_json=as_json)


@campaigns.command()
def promote(
    campaign_id: IdArgument,
    custom_ids: RowsArgument = None,
    profile: Annotated[str | None, typer.Option(metavar="exact|fast", show_default="exact")] = None,
    as_json: JsonOption = False,
    use: UseOption = None,
) -> None:
    """Render rows of a draft again in full, with their seeds: all, or those named."""
    with connected(use) as cogmill:
        _told(cogmill.campaigns.promote(campaign_id, rows=custom_ids or None, profile=profile), as_json=as_json)


def _planned(plan: Plan) -> None:
    cost, money = plan.gpu_seconds, plan.money
    hours = {
        f"hours on {name} fleet": f"{hours:.1f} ({workers} workers)"
        for name, hours, workers in (
            ("the present", plan.hours.present, plan.workers.present),
            ("the largest", plan.hours.largest, plan.workers.largest),
        )
        if hours is not None
    }
    tables.facts(
        {
            "rows": f"{plan.rows:,}" + (f" ({plan.bad_rows:,} bad ones are left out)" if plan.bad_rows else ""),
            "GPU seconds": f"{cost.likely:,.0f} ({cost.low:,.0f} to {cost.high:,.0f})",
            "charged": None if plan.charge <= cost.likely else f"{plan.charge:,.0f} GPU seconds",
            "money": money and f"{money.likely:,.2f} {money.currency} ({money.low:,.2f} to {money.high:,.2f})",
            **hours,
            "deadline": {True: "holds", False: "does not hold", None: None}[plan.deadline_holds],
            "plan token": plan.plan_token,
        }
    )
    tables.table(
        ("pool", "model", "rows", "GPU seconds"),
        [(pool.pool, pool.model, pool.rows, pool.gpu_seconds) for pool in plan.pools],
    )


def _done(forecast: Forecast) -> str:
    """The range, and how fast it goes."""
    about = tables.between(forecast.low_at, forecast.likely_at, forecast.high_at)
    if about is None:
        return f"never: {forecast.reason or 'it goes too slowly'}"
    rate = "" if forecast.rows_per_hour is None else f", {forecast.rows_per_hour:,.0f} rows/h"
    return f"{about}{rate}"


def _told(campaign: Campaign, *, as_json: bool) -> None:
    if as_json:
        tables.document(campaign)
        return
    counts, spent, forecast, budget = campaign.counts, campaign.spent, campaign.forecast, campaign.budget
    rows = {name: number for name, number in counts.model_dump().items() if number}
    money = "" if spent.money is None else f", {spent.money:,.2f} {spent.currency}"
    tables.facts(
        {
            "campaign": campaign.id,
            "name": campaign.name,
            "state": progress.stands(campaign),
            "rows": ", ".join(f"{number:,} {name}" for name, number in rows.items()) or "none",
            "spent": f"{spent.gpu_seconds:,.0f} GPU seconds, {spent.reserved_gpu_seconds:,.0f} reserved{money}",
            "budget": budget and f"{budget.amount:,.2f} {budget.unit.replace('_', ' ')}",
            "deadline": campaign.deadline and f"{tables.when(campaign.deadline)} UTC",
            "done about": forecast and _done(forecast),
            "at risk": forecast and forecast.at_risk and (forecast.advice or "the deadline lies in the range"),
            "error": campaign.error and f"{campaign.error.code}: {campaign.error.message}",
            "plan token": campaign.plan_token if campaign.needs_approval else None,
        }
    )
