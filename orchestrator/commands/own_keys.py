"""The keys of one's own tenant, through the API: what `cogmill keys` does with --mine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import typer

from orchestrator.commands.connection import connected
from orchestrator.commands.tables import table


def create(
    use: str | None,
    *,
    name: str,
    scopes: Sequence[str] | None,
    allow: Sequence[str] | None,
    expires: datetime | None,
) -> None:
    """Make a key, and print it."""
    with connected(use) as cogmill:
        typer.echo(cogmill.keys.create(name=name, scopes=scopes, allow=allow, expires_at=expires).key)


def show(use: str | None) -> None:
    """List them, without their secrets."""
    heads = ("id", "created", "expires", "revoked", "used", "scopes", "from", "name")
    with connected(use) as cogmill:
        table(
            heads,
            [
                (
                    key.id, _day(key.created_at), _day(key.expires_at), _day(key.revoked_at), _day(key.last_used_at),
                    ",".join(key.scopes), ",".join(key.allow) or None, key.name or None,
                )
                for key in cogmill.keys.list()
            ],
        )  # fmt: skip


def rotate(use: str | None, key_id: str, *, overlap_s: float | None, expires: datetime | None) -> None:
    """Make a key in the place of another, and print it. Without `overlap_s` that one goes on as the server has it."""
    with connected(use) as cogmill:
        typer.echo(cogmill.keys.rotate(key_id, overlap_s=overlap_s, expires_at=expires).key)


def revoke(use: str | None, key_id: str, *, descendants: bool) -> None:
    """End a key for good."""
    with connected(use) as cogmill:
        cogmill.keys.revoke(key_id, descendants=descendants)


def _day(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds).astimezone()
