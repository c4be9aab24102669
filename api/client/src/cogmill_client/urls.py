"""Paths of the API with what callers name in them, and queries without what they leave out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from cogmill_client.errors import ConfigurationError


def at(template: str, *names: str) -> str:
    """`/v1/videos/{}` with an id in it. Raises `ConfigurationError` for an empty one, which would be another route."""
    for name in names:
        if not name.strip(".") or "\0" in name:
            raise ConfigurationError(f"{name!r} is no id")
    return template.format(*(quote(name, safe="") for name in names))


def query(**given: str | int | bool | datetime | Sequence[str] | None) -> tuple[tuple[str, str | int], ...]:
    """What is not None, in order; a trailing `_` of a name is Python's, a sequence is repeated."""
    pairs: list[tuple[str, str | int]] = []
    for name, value in given.items():
        each = [] if value is None else [value] if isinstance(value, str | int | datetime) else list(value)
        pairs += [(name.rstrip("_"), _word(one)) for one in each]
    return tuple(pairs)


def _word(value: str | int | datetime) -> str | int:
    if isinstance(value, bool):
        return "true" if value else "false"
    return int(value.timestamp()) if isinstance(value, datetime) else value


def without_none(**given: Any) -> dict[str, Any]:
    """The fields that were given, as JSON has them."""
    return {name: _json(value) for name, value in given.items() if value is not None}


def _json(value: Any) -> Any:
    return value.astimezone().isoformat() if isinstance(value, datetime) else value
