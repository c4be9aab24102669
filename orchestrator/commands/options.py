"""Whose settings a command takes that is no service, a local stack's or its environment's; and their database."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from orchestrator.domain.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.config import Settings
    from orchestrator.store import Store

T = TypeVar("T")


def path(text: str) -> Path:
    """A path on the command line. An empty one, of an unset variable say, would quietly mean the current directory."""
    if not text:
        raise typer.BadParameter("an empty path names nothing")
    return Path(text)


DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="The local stack's directory.", show_default="./.cogmill", parser=path, metavar="PATH"
    ),
]


def has_database() -> bool:
    """Whether the environment, or a stack in ./.cogmill, says which database is meant, rightly or wrongly."""
    from orchestrator.local import layout

    said = {name.upper() for name, text in os.environ.items() if text}
    if said & {"COGMILL_CONFIG", "COGMILL_DATABASE_URL", "COGMILL_SECRETS_DIR"}:
        return True
    return layout.DataDir(layout.default()).config.is_file()


def settings_of(data_dir: Path | None) -> Settings:
    """Of the stack in `data_dir`, else COGMILL_CONFIG's, else of the stack in ./.cogmill."""
    from orchestrator import config
    from orchestrator.local import configuration, layout

    data = layout.DataDir(data_dir or layout.default())
    if data_dir is not None and not data.config.is_file():
        raise ConfigError(f"{data_dir} holds no stack: `cogmill up --data-dir {data_dir}` makes one")
    if data_dir is not None or (not os.environ.get("COGMILL_CONFIG") and data.config.is_file()):
        configuration.enter(data)
    return config.load()


def with_store(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    """What this makes of the database, which is open until it is done."""
    from orchestrator.store import Store

    async def opened() -> T:
        async with Store.open(settings.database) as store:
            return await work(store)

    return asyncio.run(opened())
