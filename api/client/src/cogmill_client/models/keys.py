"""API keys, as their tenant sees them."""

from __future__ import annotations

from typing import Annotated, Literal

from cogmill_client.models.base import Identified, OrNewer

Scope = Literal["read", "submit", "campaigns", "webhooks", "keys", "operate", "view", "admin"]


class Key(Identified):
    """A key, without its secret. Times are Unix seconds; no network in `allow` is from anywhere."""

    object: Literal["key"]
    name: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None
    scopes: list[Annotated[Scope, OrNewer]]
    allow: list[str]
    made_by: str | None
    replaced_by: str | None


class KeyWithSecret(Key):
    """The whole key is shown once, when it is made."""

    key: str
