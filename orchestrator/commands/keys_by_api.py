"""`cogmill keys` of any tenant through the API: the same commands, without a database URL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import typer

from orchestrator.commands.administration import administrating
from orchestrator.commands.tables import table


def create(
    api: str | None,
    tenant: str,
    *,
    name: str,
    role: str | None,
    scopes: Sequence[str] | None,
    allow: Sequence[str] | None,
    expires: datetime | None,
) -> None:
    """Make a key of a tenant, and print it."""
    with administrating(api) as cogmill:
        made = cogmill.admin.create_key(
            tenant, name=name, role=role, scopes=scopes, allow=allow or None, expires_at=expires
        )
        typer.echo(made.key)


def show(api: str | None, tenant: str | None) -> None:
    """List them, of a tenant or of all, without their secrets."""
    heads = ("id", "tenant", "created (UTC)", "expires", "revoked", "used", "scopes", "from", "name")
    with administrating(api) as cogmill:
        table(
            heads,
            [
                (
                    key.id, key.tenant, _minute(key.created_at), _minute(key.expires_at), _minute(key.revoked_at),
                    _minute(key.last_used_at), ",".join(key.scopes), ",".join(key.allow) or None, key.name or None,
                )
                for key in cogmill.admin.keys(tenant=tenant)
            ],
        )  # fmt: skip


def rotate(api: str | None, key_id: str, *, overlap_s: float | None, expires: datetime | None) -> None:
    """Make a key in the place of another, and print it."""
    with administrating(api) as cogmill:
        typer.echo(cogmill.admin.rotate_key(key_id, overlap_s=overlap_s, expires_at=expires).key)


def revoke(api: str | None, key_id: str, *, descendants: bool) -> None:
    """End a key for good."""
    with administrating(api) as cogmill:
        cogmill.admin.revoke_key(key_id, descendants=descendants)


def _minute(seconds: int | None) -> str | None:
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
