"""The store of API keys and tenants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as the database knows it: no secret, which is derived from the master key and `id`."""

    id: str
    tenant: str
    name: str
    created_at: datetime
    revoked_at: datetime | None = None


class KeyStore(Protocol):
    """API keys and the tenants that they belong to."""

    async def add_key(self, key_id: str, tenant: str, name: str) -> ApiKey:
        """Insert a key, and its tenant if it is new."""
        ...

    async def list_keys(self, tenant: str | None = None) -> list[ApiKey]: ...

    async def revoke_key(self, key_id: str) -> bool:
        """Revoke for good; False when there is no such key or it was revoked before."""
        ...

    async def find_key(self, key_id: str) -> ApiKey | None: ...
