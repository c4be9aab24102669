"""`cogmill campaign rows|errors|manifest|download`: what came of each row, and the videos."""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands import progress, tables
from orchestrator.commands.campaign_create import IdArgument
from orchestrator.commands.connection import Exit, JsonOption, UseOption, connected, pairs
from orchestrator.commands.options import path
from orchestrator.domain.errors import IntegrityError

if TYPE_CHECKING:
    from cogmill_client import Cogmill, ManifestSignature, Row

# Lines of a table that are gathered so that its columns fit.
_BLOCK = 1000
_TRIES = 5
_BAD_COLUMNS = ("line", "custom_id", "field", "code", "reason")


def rows(
    campaign_id: IdArgument,
    state: Annotated[str | None, typer.Option(metavar="failed|succeeded|...", help="Only those.")] = None,
    reason: Annotated[str | None, typer.Option(help="Those that failed with this code.")] = None,
    custom_id: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    var: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Those whose variable is that; may be repeated.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="How many.", show_default="all")] = None,
    as_json: JsonOption = False,
    use: UseOption = None,
) -> None:
    """List rows, in their order."""
    with connected(use) as cogmill:
        found = cogmill.campaigns.rows(
            campaign_id,
            state=state,  # type: ignore[arg-type]  # the API says which there are
            reason=reason,
            custom_id=custom_id,
            variables=pairs(var, "--var"),
            limit=limit,
        )
        if as_json:
            tables.array(found)
            return
        block: list[Row] = []
        for row in found:
            block.append(row)
            if len(block) == _BLOCK:
                _table(block)
                block.clear()
        _table(block)


def errors(
    campaign_id: IdArgument,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: JsonOption = False,
    use: UseOption = None,
) -> None:
    """List the records of the input that are no rows, and why."""
    from orchestrator.domain.spreadsheet import rows_of

    with connected(use) as cogmill:
        found = cogmill.campaigns.errors(campaign_id)
        if as_json:
            tables.array(found)
        elif as_csv:
            cells = ([getattr(bad, name) for name in _BAD_COLUMNS] for bad in found)
            sys.stdout.writelines(rows_of(chain([_BAD_COLUMNS], cells)))
        else:
            for bad in found:
                named = f" ({bad.custom_id})" if bad.custom_id else ""
                typer.echo(f"line {bad.line}{named}: {bad.field or 'record'}: {bad.reason} [{bad.code}]")


def manifest(
    campaign_id: IdArgument,
    out: Annotated[Path, typer.Option(parser=path, metavar="PATH", help="Where it goes.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV, which is not signed.")] = False,
    as_json: JsonOption = False,
    use: UseOption = None,
) -> None:
    """Save what came of each row, and beside it the signature, for `cogmill manifest verify`."""
    with connected(use) as cogmill:
        if as_csv:
            saved, beside = cogmill.campaigns.manifest(campaign_id, out, format="csv"), None
        else:
            signature = _signed(cogmill, campaign_id, out)
            saved, beside = out, out.with_suffix(".sig.json")
            beside.write_text(signature.model_dump_json() + "\n", "utf-8")
    if as_json:
        tables.document({"path": str(saved), "signature": None if beside is None else str(beside)})
    else:
        typer.echo(saved if beside is None else f"{saved}\n{beside}")


def download(
    campaign_id: IdArgument,
    out: Annotated[
        Path | None, typer.Option(parser=path, metavar="PATH", help="The directory.", show_default="the campaign's id")
    ] = None,
    pattern: Annotated[str, typer.Option(help="The name of each file.")] = "{custom_id}.mp4",
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many at once.")] = 8,
    as_json: JsonOption = False,
    use: UseOption = None,
) -> None:
    """Save all videos, compared with their SHA-256. Those that are there are left alone: call it again to go on."""
    directory = Path(campaign_id) if out is None else out
    with connected(use) as cogmill:
        total = cogmill.campaigns.retrieve(campaign_id).counts.succeeded
        with progress.of_files(total) as tell:
            done = cogmill.download_campaign(campaign_id, directory, pattern=pattern, workers=workers, on_file=tell)
    if as_json:
        counts = {"saved": done.saved, "present": done.present, "bytes": done.bytes, "failed": done.failed}
        tables.document({"directory": str(directory), **counts})
    else:
        typer.echo(f"{directory}: {done.saved} saved, {done.present} were there, {len(done.failed)} failed")
        for custom_id, why in list(done.failed.items())[:20]:
            typer.echo(f"cogmill: {custom_id}: {why}", err=True)
    if done.failed:
        raise typer.Exit(Exit.FAILED)


def _signed(cogmill: Cogmill, campaign_id: str, out: Path) -> ManifestSignature:
    """The signature of what is saved as `out`; a campaign that runs may write another revision between the two."""
    from cogmill_client.downloads import sha256_of

    for _ in range(_TRIES):
        cogmill.campaigns.manifest(campaign_id, out)
        signature = cogmill.campaigns.signature(campaign_id)
        if sha256_of(out) == signature.sha256:
            return signature
    raise IntegrityError(f"{out} is not what the signature of {campaign_id} is about, after {_TRIES} tries")


def _table(found: list[Row]) -> None:
    heads = ("custom id", "state", "attempts", "GPU seconds", "seed", "video", "why")
    if found:
        tables.table(
            heads,
            [
                (row.custom_id, row.state, row.attempts, row.gpu_seconds, row.seed, row.video_id,
                 f"{row.error.code}: {row.error.message}" if row.error else ", ".join(row.flags))
                for row in found
            ],
        )  # fmt: skip
