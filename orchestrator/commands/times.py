"""Times as the command line takes them: how long, and when."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LONGEST_S = 100 * 365 * 86400


def seconds(text: str) -> float:
    """A time that lasts, as in 90d, 12h, 30m or 45s."""
    match = re.fullmatch(r"(\d{1,10})([smhdw])", text)
    if match is None or int(match[1]) * _SECONDS[match[2]] > _LONGEST_S:
        raise typer.BadParameter(f"{text!r} is no time such as 90d, 12h, 30m or 45s")
    return float(int(match[1]) * _SECONDS[match[2]])


def moment(text: str) -> datetime:
    """A time to come: a date, a time with its zone, or how long it is until then."""
    if re.fullmatch(r"\d+[smhdw]", text):
        return datetime.now(UTC) + timedelta(seconds=seconds(text))
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no date, no time with its zone, and nothing like 90d") from None
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return found.replace(tzinfo=UTC)
    if found.tzinfo is None:
        raise typer.BadParameter(f"{text!r} has no zone: write it as in 2030-01-01T12:00:00Z")
    return found
