"""Time zones by their names in the IANA database."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


def zone_of(name: str) -> ZoneInfo:
    """The time zone of that name, such as `Europe/Berlin`. Raises `ValueError` when there is none."""
    try:
        return ZoneInfo(name)
    # A path out of the database, a folder in it, a file that is no zone: each raises something of its own.
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name[:80]!r}; names are such as Europe/Berlin or UTC") from None
