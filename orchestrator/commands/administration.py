"""Whether a command of administration goes through the API, with an administrator's key, or to the database itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.connection import connected
from orchestrator.commands.options import has_database

if TYPE_CHECKING:
    from cogmill_client import Cogmill

ApiOption = Annotated[
    str | None,
    typer.Option(
        "--api",
        metavar="URL|NAME",
        help="Through the API, with an administrator's key: its URL (the key is COGMILL_KEY), or a profile.",
        show_default="the database where one is configured; else COGMILL_API with COGMILL_KEY, or the default profile",
    ),
]
# Of commands that have no other way.
OnlyApiOption = Annotated[
    str | None,
    typer.Option(
        "--api",
        metavar="URL|NAME",
        help="The API: its URL (the administrator's key is COGMILL_KEY), or a profile.",
        show_default="COGMILL_API with COGMILL_KEY, the default profile, or the stack in ./.cogmill",
    ),
]


def over_api(api: str | None, data_dir: Path | None = None) -> bool:
    """Whether the API is meant: it is named, or there is no database to go to and an API to talk to."""
    if api is not None and data_dir is not None:
        raise typer.BadParameter("is one of two; say --api or --data-dir", param_hint="--api")
    if api is not None:
        return True
    return data_dir is None and not has_database() and _known_api()


@contextmanager
def administrating(api: str | None) -> Iterator[Cogmill]:
    """A client of the API that is meant, by a URL or a profile's name; its errors become one line."""
    is_url = api is not None and api.startswith(("http://", "https://"))
    with connected(None if is_url else api, url=api if is_url else None) as cogmill:
        yield cogmill


def _known_api() -> bool:
    if any(os.environ.get(name) for name in ("COGMILL_PROFILE", "COGMILL_API", "COGMILL_KEY")):
        return True
    try:
        from cogmill_client import profiles
    except ImportError:
        return False
    return profiles.read().default is not None
