"""`cogmill predictions`: how long renders take, by the catalogue and by what finished ones have taught."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.commands import fleet_by_api as by_api
from orchestrator.commands.administration import ApiOption, over_api
from orchestrator.commands.connection import JsonOption
from orchestrator.commands.options import DataDirOption, settings_of
from orchestrator.domain.errors import CogmillError, RequestError

if TYPE_CHECKING:
    from orchestrator.learning.listing import Line

# The rest is imported by the command that needs it, as in orchestrator.cli.


def predictions(
    model: Annotated[str | None, typer.Option(help="Of this model alone.")] = None,
    pool: Annotated[str | None, typer.Option(help="Of this pool alone.")] = None,
    speeds: Annotated[bool, typer.Option("--speeds", help="How fast each kind of worker is, instead.")] = False,
    as_json: JsonOption = False,
    api: ApiOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Show what renders have taught of how long renders take, the newest first."""
    if over_api(api, data_dir):
        by_api.show_predictions(api, model=model, pool=pool, speeds=speeds, as_json=as_json)
        return

    from orchestrator.commands import tables
    from orchestrator.learning.listing import Learned, Listing
    from orchestrator.store import Store

    settings = settings_of(data_dir)

    async def read() -> Learned:
        async with Store.open(settings.database) as store:
            return await Listing(settings, store).show(model=model, pool=pool)

    try:
        learned = asyncio.run(read())
    except RequestError as error:
        raise CogmillError(f"--{error.param}: {error.message}") from None
    names = ("pool", "kind", "model", "configured", "learned")
    fast = [(it.pool, it.kind, it.model, it.configured, it.learned) for it in learned.speeds]
    lines = [dict(zip(_HEADS, _cells(line), strict=True)) for line in learned.lines]
    if as_json:
        tables.document({"data": lines, "speeds": [dict(zip(names, row, strict=True)) for row in fast]})
    elif speeds:
        tables.table(names, fast)
    else:
        shown = [head for head in _HEADS if head != "revision"]
        told = (
            {**line, "guided": "yes" if line["guided"] else "no", "last_at": tables.when(line["last_at"])}
            for line in lines
        )
        tables.table([head.replace("_", " ") for head in shown], ([line[head] for head in shown] for line in told))


_HEADS = (
    "model", "revision", "pool", "kind", "size", "frames", "steps", "profile", "guided", "adapter", "prior_s",
    "seconds", "ratio", "low", "high", "renders", "weight", "last_at",
)  # fmt: skip


def _cells(line: Line) -> tuple[Any, ...]:
    key, ratio = line.key, line.ratio
    return (
        key.model, key.revision, line.pool, line.kind, f"{key.width}x{key.height}", key.num_frames, key.steps,
        key.profile, key.guided, key.adapter, line.prior_s, line.seconds, ratio.likely, ratio.low, ratio.high,
        ratio.samples, line.weight, line.last_at.timestamp(),
    )  # fmt: skip
