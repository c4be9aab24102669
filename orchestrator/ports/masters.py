"""The store of what follows from each generation of the master key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain.campaign import ManifestMark


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterUse:
    """How much lives on one generation."""

    generation: int
    # That are good.
    keys: int
    # Webhook endpoints and tenants whose secret follows from it; those that are replaced and still sign count too.
    secrets: int
    # When one of these keys was last used, within a minute.
    used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningSecret:
    """A secret that signs webhooks."""

    tenant: str
    # None for the tenant's own, which signs for the URLs that requests name.
    endpoint_id: str | None
    # What its deliveries go to, and the name that people know that by.
    url: str | None
    name: str | None
    # Its successor signs beside it until then; None for one that has none.
    until: datetime | None
    # The last delivery that there is still a trace of.
    sent_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """What ended with a generation."""

    # Ids of keys that were revoked, and of endpoints whose secret was rotated; tenants whose own was.
    keys: Sequence[str]
    endpoints: Sequence[str]
    tenants: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedManifest:
    """The last manifest of a campaign."""

    # The campaign's public id.
    campaign: str
    mark: ManifestMark


class MasterStore(Protocol):
    """Every method may raise `StoreUnavailable`."""

    async def masters_in_use(self) -> list[MasterUse]:
        """The generations on which something lives, newest first."""
        ...

    async def signing_secrets(self, generation: int) -> list[SigningSecret]:
        """Those that follow from a generation and sign, by tenant and endpoint."""
        ...

    async def retire_master(self, generation: int, *, successor: int) -> Retired:
        """Revoke the keys of a generation, and rotate the secrets on it to `successor`, without an overlap."""
        ...

    async def manifests_signed(self, key_id: str, *, limit: int, after: str = "") -> list[SignedManifest]:
        """Those that the key with this id signed, by campaign, behind the campaign `after`."""
        ...

    async def note_signature(self, signed: SignedManifest, key_id: str) -> bool:
        """Another key has signed this very manifest; False where it is the last one no more."""
        ...
