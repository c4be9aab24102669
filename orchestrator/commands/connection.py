"""How the commands for users reach an API, and what their exit codes and errors are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from importlib.util import find_spec
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.domain.errors import CogmillError, ConfigError

if TYPE_CHECKING:
    import httpx
    from cogmill_client import Cogmill

# The client is imported by the command that needs it: `cogmill --help` is instant.


class Exit(IntEnum):
    """What a script is told. `orchestrator.cli` has the same 1 and 2 for every command."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    # It has ended, and a row, or the video, has failed.
    FAILED = 3
    TIMED_OUT = 4
    NEEDS_APPROVAL = 5


CODES = (
    "Exit codes: 0 done, 1 error, 2 wrong usage or configuration, 3 ended with failed rows or a failed video, "
    "4 timed out, 5 needs approval."
)

UseOption = Annotated[
    str | None,
    typer.Option(
        "--use",
        metavar="NAME",
        help="A profile of `cogmill profile`: the API and its key.",
        show_default="COGMILL_PROFILE, COGMILL_API with COGMILL_KEY, the default profile, or the stack in ./.cogmill",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JsonLinesOption = Annotated[bool, typer.Option("--json", help="Print JSON, a line for each event.")]
TimeoutOption = Annotated[
    float | None,
    typer.Option(min=0, metavar="SECONDS", help="Wait no longer; exit code 4.", show_default="for ever"),
]


@contextmanager
def connected(use: str | None, *, url: str | None = None) -> Iterator[Cogmill]:
    """A client of the API that is meant: by `use`, or at `url` with the key in COGMILL_KEY.

    What it raises in the block becomes one line and an exit code.
    """
    check_installed()
    import cogmill_client as client

    try:
        with _client(use) if url is None else _client_at(url) as cogmill:
            yield cogmill
    except client.ConfigurationError as error:
        raise ConfigError(str(error)) from None
    except client.Timeout as error:
        typer.echo(f"cogmill: {error}", err=True)
        raise typer.Exit(Exit.TIMED_OUT) from None
    except client.ApiError as error:
        raise CogmillError(_line(error.message, error.param)) from None
    except client.CogmillError as error:
        raise CogmillError(str(error)) from None


def check_installed() -> None:
    """Raise `ConfigError` where the client is not installed: it is a distribution of its own."""
    if find_spec("cogmill_client") is None:
        raise ConfigError("this command needs the package cogmill-client: pip install ./api/client")


def http_client() -> httpx.Client | None:
    """The connections to use, where they are not the client's own."""
    return None


def _client(use: str | None) -> Cogmill:
    from cogmill_client import Cogmill, ConfigurationError, profiles

    told = use or any(os.environ.get(name) for name in ("COGMILL_PROFILE", "COGMILL_API", "COGMILL_KEY"))
    if told or profiles.read().default is not None:
        return Cogmill(profile=use, http_client=http_client())
    local = _local_stack()
    if local is None:
        raise ConfigurationError(
            "no API to talk to: set COGMILL_API and COGMILL_KEY, make a profile with `cogmill profile set`, "
            "or start a stack here with `cogmill up`"
        )
    url, key = local
    return Cogmill(key, url, http_client=http_client())


def _client_at(url: str) -> Cogmill:
    from cogmill_client import Cogmill, ConfigurationError

    key = os.environ.get("COGMILL_KEY")
    if not key:  # a profile's is for another API
        raise ConfigurationError(f"no key for {url}: set COGMILL_KEY")
    return Cogmill(key, url, http_client=http_client())


def _local_stack() -> tuple[str, str] | None:
    """API and key of the stack in ./.cogmill, if there is one whose secrets this user may read."""
    from orchestrator.local.layout import DataDir, default
    from orchestrator.local.state import State

    data = DataDir(default())
    try:
        port = State.from_json(data.state.read_text()).ports["api"]
        return f"http://127.0.0.1:{port}", data.api_key.read_text().strip()
    except (OSError, ValueError, KeyError):
        return None


def _line(message: str, param: str | None) -> str:
    """One line that names the field."""
    text = " ".join(message.split())
    return text if param is None or text.startswith(param) else f"{param}: {text}"


def pairs(given: list[str] | None, option: str) -> dict[str, str]:
    """Of `NAME=VALUE` options."""
    found: dict[str, str] = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{each!r} is not NAME=VALUE", param_hint=option)
        found[name] = value
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text} is no number that JSON has")
    return number


def values(given: list[str] | None, option: str) -> dict[str, Any]:
    """The same, with numbers, true, false and other JSON read as such."""
    from orchestrator.domain import jsontext

    found: dict[str, Any] = {}
    for name, text in pairs(given, option).items():
        try:
            found[name] = jsontext.parse(text, parse_constant=_finite, parse_float=_finite)
        except ValueError:
            found[name] = text
    return found


def moment(text: str | None) -> str | int | None:
    """Unix seconds as a number, anything else as it is: the API reads it, and says what is wrong with it."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else text
