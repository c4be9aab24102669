"""`cogmill campaign failures|reviews|review|apply-reviews`: why rows failed, and what people think of the videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands import tables
from orchestrator.commands.campaign_create import IdArgument
from orchestrator.commands.connection import JsonOption, UseOption, connected
from orchestrator.commands.options import path

if TYPE_CHECKING:
    from cogmill_client import Cogmill, SheetVideo
    from cogmill_client.models.reviews import Decision as Verdict
    from cogmill_client.models.reviews import Remedy

_HEADS = ("custom id", "video", "rating", "decision", "then", "why", "by")


def failures(campaign_id: IdArgument, as_json: JsonOption = False, use: UseOption = None) -> None:
    """Say why rows failed, the commonest reason first, with examples."""
    with connected(use) as cogmill:
        found = cogmill.campaigns.failures(campaign_id)
    if as_json:
        tables.document(found)
        return
    rows = [
        (reason.code, reason.rows, ", ".join(row.custom_id for row in reason.examples), reason.examples[0].message)
        for reason in found.data
    ]
    tables.table(("code", "rows", "such as", "message"), rows)


def reviews(
    campaign_id: IdArgument,
    decision: Annotated[str | None, typer.Option(metavar="undecided|approve|reject", help="Only those.")] = None,
    rating: Annotated[int | None, typer.Option(min=1, max=5, help="Only those.")] = None,
    out: Annotated[
        Path | None, typer.Option(parser=path, metavar="PATH", help="Save all of them there, as JSON Lines.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Save CSV.")] = False,
    as_json: JsonOption = False,
    use: UseOption = None,
) -> None:
    """List a campaign's videos and what is thought of them, or save that."""
    if as_csv and out is None:
        raise typer.BadParameter("say where it goes", param_hint="--out")
    with connected(use) as cogmill:
        if out is not None:
            typer.echo(cogmill.reviews.export(campaign_id, out, format="csv" if as_csv else "jsonl"))
            return
        found = cogmill.reviews.sheet(campaign_id, decision=decision, rating=rating)  # type: ignore[arg-type]
        if as_json:
            tables.array(found)
            return
        tables.table(_HEADS, [_told(video) for video in found])


def review(
    campaign_id: IdArgument,
    custom_ids: Annotated[list[str], typer.Argument(metavar="CUSTOM_ID...")],
    approve: Annotated[bool | None, typer.Option("--approve/--reject", help="What becomes of them.")] = None,
    rating: Annotated[int | None, typer.Option(min=1, max=5, help="1, the worst, to 5.")] = None,
    reason: Annotated[str | None, typer.Option(help="For people to read.")] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Leave them out when it is applied, instead of anew.")] = False,
    as_json: JsonOption = False,
    use: UseOption = None,
) -> None:
    """Rate, approve or reject videos of rows. What another has said is replaced."""
    decision: Verdict | None = None if approve is None else "approve" if approve else "reject"
    if drop and decision != "reject":
        raise typer.BadParameter("is for what is rejected", param_hint="--drop")
    action: Remedy | None = None if decision != "reject" else "drop" if drop else "new_seed"
    with connected(use) as cogmill:
        said = []
        for video_id in _videos(cogmill, campaign_id, custom_ids):
            version = cogmill.reviews.retrieve(video_id).version
            said.append(
                cogmill.reviews.decide(
                    video_id, version=version, rating=rating, decision=decision, reason=reason, action=action
                )
            )
    if as_json:
        tables.document(said)
    else:
        tables.table(("video", "rating", "decision"), [(each.id, each.rating, each.decision) for each in said])


def apply_reviews(campaign_id: IdArgument, as_json: JsonOption = False, use: UseOption = None) -> None:
    """Leave out what was rejected, or render it again with other seeds."""
    with connected(use) as cogmill:
        done = cogmill.reviews.apply(campaign_id)
    if as_json:
        tables.document(done)
    else:
        typer.echo(f"{done.new_seed} rows are rendered again, {done.drop} are left out")


def _videos(cogmill: Cogmill, campaign_id: str, custom_ids: list[str]) -> list[str]:
    found = []
    for custom_id in custom_ids:
        row = next(iter(cogmill.campaigns.rows(campaign_id, custom_id=custom_id)), None)
        if row is None or row.video_id is None or row.state != "succeeded":
            raise typer.BadParameter(f"{custom_id!r} has no video", param_hint="CUSTOM_ID")
        found.append(row.video_id)
    return found


def _told(video: SheetVideo) -> tuple[object, ...]:
    said = video.review
    return video.custom_id, video.id, said.rating, said.decision, said.action, said.reason, said.reviewer
