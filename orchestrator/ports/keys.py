"""The store of API keys and tenants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.policy.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as the database knows it: without its secret, which follows from the master key and `id`."""

    id: str
    tenant: str
    # For people, to tell keys apart.
    name: str
    created_at: datetime
    # None while it is good.
    revoked_at: datetime | None = None
    # It may also see and do what concerns every tenant.
    operator: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Who asks for videos."""

    name: str
    # Its share of the GPUs, relative to the others'.
    weight: float
    # Those that are its own.
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a tenant has of one pool."""

    tenant: str
    pool: str
    # Workers that it gets when it wants them; they are lent while it does not.
    guaranteed: int = 0
    # Jobs that it may run there at once; None is as many as it may over all pools. Not less than `guaranteed`.
    running: int | None = None


class KeyStore(Protocol):
    """API keys and the tenants that they belong to."""

    async def add_key(self, key_id: str, tenant: str, name: str, *, operator: bool = False) -> ApiKey:
        """Insert a key, and its tenant if it is new."""
        ...

    async def list_keys(self, tenant: str | None = None) -> list[ApiKey]: ...

    async def revoke_key(self, key_id: str) -> bool:
        """Revoke for good; False when there is no such key or it was revoked before."""
        ...

    async def find_key(self, key_id: str) -> ApiKey | None: ...

    async def list_tenants(self) -> list[Tenant]:
        """All of them, by name."""
        ...

    async def set_weight(self, tenant: str, weight: float) -> None:
        """A tenant's share relative to others; 1 is the default. Holds from the next claim on."""
        ...

    async def set_limits(self, tenant: str, changes: Mapping[str, float | None]) -> None:
        """Change these of a tenant's limits, by the names that `Limits` has; None goes back to the default.

        Holds from the next request, submit or claim on. What is over a lowered limit stays.
        """
        ...

    async def limits_of(self, tenant: str) -> Limits:
        """What holds for this tenant: its own limits, and the deployment's where it has none."""
        ...

    async def set_share(self, share: Share) -> None:
        """Give a tenant this much of a pool, from the next claim on; one that says nothing is taken away."""
        ...

    async def list_shares(self) -> list[Share]:
        """All of them, by pool and tenant."""
        ...
