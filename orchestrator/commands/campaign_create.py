"""`cogmill campaign create`: a file of rows and a template become a campaign."""

from __future__ import annotations

import sys
from math import isfinite
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

import typer

from orchestrator.commands import progress, tables
from orchestrator.commands.connection import (
    Exit,
    JsonOption,
    TimeoutOption,
    UseOption,
    connected,
    moment,
    pairs,
    values,
)
from orchestrator.commands.options import path

if TYPE_CHECKING:
    from cogmill_client import Campaign, Cogmill

IdArgument = Annotated[str, typer.Argument(metavar="ID")]
FormatOption = Annotated[
    Literal["csv", "jsonl", "parquet"] | None,
    typer.Option("--format", help="Of the rows.", show_default="what the file's name says"),
]
_STDIN = "-"


def create(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]", help="CSV, JSONL or Parquet, also gzipped; - is stdin; or file-ID or s3://BUCKET/KEY."
        ),
    ] = None,
    prompt: Annotated[str | None, typer.Option(metavar="TEMPLATE", help="With {variables} of the rows.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(metavar="TEMPLATE")] = None,
    name: Annotated[str | None, typer.Option(help="For people to read.")] = None,
    format: FormatOption = None,
    default: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Of every row's request, such as size=720x480; may be repeated."),
    ] = None,
    sample: Annotated[int | None, typer.Option(min=0, help="Rows to render before the rest is approved.")] = None,
    variants: Annotated[int | None, typer.Option(min=1, help="Videos for each row, with seeds of their own.")] = None,
    budget_gpu_seconds: Annotated[float | None, typer.Option(min=0, help="What it may spend.")] = None,
    budget_money: Annotated[float | None, typer.Option(min=0, help="The same at the pools' prices.")] = None,
    budget_action: Annotated[
        list[str] | None, typer.Option(metavar="PERCENT=tell|finish|cancel", help="Of the budget; may be repeated.")
    ] = None,
    run_at: Annotated[str | None, typer.Option(metavar="TIME", help="Not before then.")] = None,
    deadline: Annotated[str | None, typer.Option(metavar="TIME")] = None,
    on_deadline: Annotated[Literal["continue", "stop"] | None, typer.Option(help="What to do behind it.")] = None,
    on_miss: Annotated[
        Literal["refuse", "warn"] | None, typer.Option(help="Whether an approval is refused when it cannot hold.")
    ] = None,
    cron: Annotated[str | None, typer.Option(help="Again and again, as '0 18 * * 1-5'.")] = None,
    time_zone: Annotated[str | None, typer.Option(help="Of --cron, such as Europe/Berlin.")] = None,
    priority: Annotated[int | None, typer.Option(help="0, the most urgent, to 100.")] = None,
    max_running: Annotated[int | None, typer.Option(min=1, help="Rows at once.")] = None,
    order: Annotated[Literal["arrival", "spread"] | None, typer.Option(help="Which rows come first.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="One bad row refuses them all.")] = False,
    no_approval: Annotated[bool, typer.Option("--no-approval", help="Render without asking.")] = False,
    like: Annotated[
        Path | None, typer.Option(parser=path, metavar="MANIFEST", help="Render the same again as it says.")
    ] = None,
    clone_of: Annotated[
        str | None, typer.Option(metavar="ID", help="As this campaign was, with the rows of FILE or its own.")
    ] = None,
    output: Annotated[str | None, typer.Option(metavar="s3://...", help="Where videos are delivered.")] = None,
    webhook_url: Annotated[str | None, typer.Option()] = None,
    metadata: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="May be repeated.")] = None,
    draft: Annotated[bool, typer.Option("--draft", help="Without rows: `campaign upload` sends them.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until it has ended, or needs approval.")] = False,
    timeout: TimeoutOption = None,
    as_json: JsonOption = False,
    use: UseOption = None,
) -> None:
    """Make a campaign of the rows of FILE."""
    _check_source(file, like, clone_of, draft=draft)
    asked: dict[str, Any] = {
        "prompt": prompt, "negative_prompt": negative_prompt, "name": name, "sample": sample, "variants": variants,
        "defaults": values(default, "--default") or None, "metadata": pairs(metadata, "--metadata") or None,
        "budget": _budget(budget_gpu_seconds, budget_money, budget_action), "run_at": moment(run_at),
        "deadline": moment(deadline), "on_deadline": on_deadline, "on_miss": on_miss,
        "schedule": _schedule(cron, time_zone), "priority": priority,
        "max_running": max_running, "order": order, "strict": strict or None,
        "approval": "none" if no_approval else None, "clone_of": clone_of, "output": output,
        "webhook_url": webhook_url,
    }  # fmt: skip
    with connected(use) as cogmill:
        if like is not None:
            asked["like"] = cogmill.files.upload(like, purpose="campaign").id
        campaign = _made(cogmill, asked, file, format)
        if wait:
            campaign = _waited(cogmill, campaign, timeout)
    if as_json:
        tables.document(campaign)
    else:
        typer.echo(f"{campaign.id}  {progress.stands(campaign)}")
    if wait:
        end(campaign)


def upload(
    campaign_id: IdArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV, JSONL or Parquet, also gzipped; - is stdin.")],
    format: FormatOption = None,
    as_json: JsonOption = False,
    use: UseOption = None,
) -> None:
    """Send the rows of a draft, in one stream of any length."""
    with connected(use) as cogmill:
        campaign = _sent(cogmill, campaign_id, file, format)
    if as_json:
        tables.document(campaign)
    else:
        typer.echo(f"{campaign.id}  {progress.stands(campaign)}")


def end(campaign: Campaign) -> None:
    """Exit as the campaign stands: 5 where somebody must approve it, 3 where it failed or rows did."""
    if campaign.needs_approval:
        typer.echo(f"cogmill: {campaign.id} needs approval: `cogmill campaign approve {campaign.id}`", err=True)
        raise typer.Exit(Exit.NEEDS_APPROVAL)
    failed = campaign.counts.failed
    if campaign.error is not None:
        typer.echo(f"cogmill: {campaign.id}: {campaign.error.code}: {campaign.error.message}", err=True)
    elif failed:
        typer.echo(f"cogmill: {campaign.id}: {failed} rows failed: `cogmill campaign rows` says why", err=True)
    if campaign.state != "completed" or failed:
        raise typer.Exit(Exit.FAILED)


def _made(cogmill: Cogmill, asked: dict[str, Any], file: str | None, format: Any) -> Campaign:
    """Rows that lie somewhere are named; those of a file are sent to the draft, those of a clone kept before."""
    if file is None or _lies_elsewhere(file):
        return cogmill.campaigns.create(**asked, input=file, format=format)
    if file != _STDIN and not Path(file).is_file():
        raise typer.BadParameter(f"there is no file {file!r}", param_hint="FILE")
    if asked["clone_of"] is not None:  # it is no draft: where no other rows are named, it takes in the old ones at once
        filename = "stdin" if file == _STDIN else None
        kept = cogmill.files.upload(_opened(file), purpose="campaign", filename=filename)
        return cogmill.campaigns.create(**asked, input=kept.id, format=format)
    campaign = cogmill.campaigns.create(**asked)
    try:
        return _sent(cogmill, campaign.id, file, format)
    except BaseException:
        typer.echo(f"cogmill: {campaign.id} is left as a draft: `cogmill campaign upload` sends its rows", err=True)
        raise


def _sent(cogmill: Cogmill, campaign_id: str, file: str, format: Any) -> Campaign:
    return cogmill.campaigns.upload_input(campaign_id, _opened(file), format=format)


def _opened(file: str) -> Path | IO[bytes]:
    return sys.stdin.buffer if file == _STDIN else Path(file)


def _waited(cogmill: Cogmill, campaign: Campaign, timeout: float | None) -> Campaign:
    typer.echo(campaign.id, err=True)
    with progress.of_campaign(as_json=False) as follower:
        return cogmill.campaigns.wait(campaign.id, timeout=timeout, on_event=follower.hear, on_change=follower.see)


def _lies_elsewhere(file: str) -> bool:
    return file.startswith(("s3://", "file-")) and not Path(file).exists()


def _check_source(file: str | None, like: Path | None, clone_of: str | None, *, draft: bool) -> None:
    if draft and file is not None:
        raise typer.BadParameter("a draft has no rows yet", param_hint="FILE")
    if draft and (like is not None or clone_of is not None):
        raise typer.BadParameter("--like and --clone-of bring rows, which are taken in at once", param_hint="--draft")
    if like is not None and (file is not None or clone_of is not None):
        raise typer.BadParameter("a manifest says which rows; leave out FILE and --clone-of", param_hint="--like")
    if file is None and like is None and clone_of is None and not draft:
        raise typer.BadParameter("name the rows, or say --draft, --like or --clone-of", param_hint="FILE")


def _budget(gpu_seconds: float | None, money: float | None, actions: list[str] | None) -> dict[str, Any] | None:
    if gpu_seconds is not None and money is not None:
        raise typer.BadParameter("a campaign has one budget", param_hint="--budget-money")
    steps = []
    for percent, word in pairs(actions, "--budget-action").items():
        if not percent.isdecimal():
            raise typer.BadParameter(f"{percent!r} is no percentage", param_hint="--budget-action")
        steps.append({"percent": int(percent), "do": word})
    unit, amount = ("money", money) if gpu_seconds is None else ("gpu_seconds", gpu_seconds)
    if amount is not None and not isfinite(amount):
        raise typer.BadParameter("must be a finite number", param_hint=f"--budget-{unit.replace('_', '-')}")
    if amount is None:
        if steps:
            raise typer.BadParameter("there is no budget", param_hint="--budget-action")
        return None
    return {"amount": amount, "unit": unit} | ({"actions": steps} if steps else {})


def _schedule(cron: str | None, time_zone: str | None) -> dict[str, str] | None:
    if cron is None:
        if time_zone is not None:
            raise typer.BadParameter("goes with --cron", param_hint="--time-zone")
        return None
    return {"cron": cron, "time_zone": time_zone or "UTC"}
