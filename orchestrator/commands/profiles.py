"""`cogmill profile`: which API to talk to, with which key, by name."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.commands import tables
from orchestrator.commands.connection import JsonOption, check_installed
from orchestrator.domain.errors import ConfigError

profile = typer.Typer(help="APIs and their keys, by name, in this user's configuration.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME")]


@profile.command("set")
def set_profile(
    name: NameArgument,
    api: Annotated[str, typer.Option("--api", metavar="URL", help="The API.")],
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="KEY", help="The key; - reads it from stdin.", show_default="asked for"),
    ] = None,
) -> None:
    """Keep an API and its key under NAME; the first one is used unless another is named."""
    check_installed()
    from cogmill_client import ConfigurationError, profiles, settings

    if key is None:
        key = typer.prompt("Key", hide_input=True, err=True)
    elif key == "-":
        key = typer.get_text_stream("stdin").readline().strip()
    if not key:
        raise typer.BadParameter("an empty key opens nothing", param_hint="--key")
    try:
        kept = profiles.Profile(settings.checked_url(api), key)
        where = profiles.write(profiles.read().having(name, kept))
    except ConfigurationError as error:
        raise ConfigError(str(error)) from None
    typer.echo(f"{name} is kept in {where}")


@profile.command("list")
def list_profiles(as_json: JsonOption = False) -> None:
    """List the profiles, without their keys."""
    check_installed()
    from cogmill_client import ConfigurationError, profiles

    try:
        known = profiles.read()
    except ConfigurationError as error:
        raise ConfigError(str(error)) from None
    if as_json:
        named = [
            {"name": name, "api": each.api, "default": name == known.default} for name, each in known.named.items()
        ]
        tables.document({"path": str(profiles.path()), "profiles": named})
        return
    for name, each in known.named.items():
        typer.echo(f"{'*' if name == known.default else ' '} {name}  {each.api}")


@profile.command("use")
def use_profile(name: NameArgument) -> None:
    """Use NAME unless another is named."""
    check_installed()
    from cogmill_client import ConfigurationError, profiles

    try:
        profiles.write(profiles.read().using(name))
    except ConfigurationError as error:
        raise ConfigError(str(error)) from None
