"""The store of API keys and tenants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain.masters import FIRST
from orchestrator.domain.rights import UNBOUND, Rights, Scope, Standing, standing
from orchestrator.policy.limits import Limits
from orchestrator.policy.quotas import Holding


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who asks with a token of an issuer, and not with a key."""

    # Its name in the settings.
    issuer: str
    # How long a key lives that the person makes; None: the person makes none.
    made_keys_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as the database knows it: without its secret, which follows from the master key and `id`."""

    id: str
    tenant: str
    # For people, to tell keys apart.
    name: str
    created_at: datetime
    revoked_at: datetime | None = None
    rights: Rights = UNBOUND
    # Within a minute.
    last_used_at: datetime | None = None
    # The key or the person that made it, and the key that took its place; ids.
    made_by: str | None = None
    replaced_by: str | None = None
    # The generation of the master key that its secret follows from.
    master: int = FIRST
    # Its tenant is being erased: the key is good for nothing.
    erasing: bool = False
    # Whose token stands for it: then it is in no table, and its id is `oidc:ISSUER#SUBJECT`.
    person: Person | None = None
    # The session of the console that the request came by; None: it came with the key itself.
    session: str | None = None

    @property
    def operator(self) -> bool:
        """It may also see and do what concerns every tenant."""
        return Scope.OPERATE in self.rights.scopes

    def standing(self, now: datetime) -> Standing:
        """Whether it is good."""
        return standing(self.rights, self.revoked_at, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key to be made, of the tenant that its maker, or the one before it, belongs to."""

    id: str
    name: str
    rights: Rights
    # As `ApiKey` has it. Whoever forgets it would make a key that is refused once the first generation is gone.
    master: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Successor:
    """The key that takes another's place, which is good until then at the latest."""

    key: NewKey
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPage:
    """Some of a tenant's keys; `has_more` when there are others behind them."""

    keys: Sequence[ApiKey]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Who asks for videos."""

    name: str
    # Its share of the GPUs, relative to the others'.
    weight: float
    # Those that are its own.
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantPage:
    """Some tenants; `has_more` when there are others behind them."""

    tenants: Sequence[Tenant]
    has_more: bool


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

    async def add_key(self, key_id: str, tenant: str, name: str, *, rights: Rights = UNBOUND, master: int) -> ApiKey:
        """Insert a key, and its tenant if it is new. Without `rights` it has the usual ones."""
        ...

    async def mint_key(
        self,
        by: str,
        draft: Callable[[ApiKey], NewKey],
        *,
        at_most: int,
        tenant: str | None = None,
        person: ApiKey | None = None,
    ) -> ApiKey | None:
        """Insert what `draft` makes of the key `by` as it stands, which stays so until then; or of `person`, called so.

        It is of the same tenant, or of `tenant`, which is made if it is new. None where that one has `at_most` that are
        good, or made within a day, however many arrive at once; and where there is no key `by`.
        """
        ...

    async def replace_key(
        self,
        key_id: str,
        draft: Callable[[ApiKey, ApiKey | None], Successor],
        *,
        by: str | None = None,
        at_most: int | None = None,
        person: ApiKey | None = None,
    ) -> ApiKey | None:
        """Insert what `draft` makes of a key and of `by` as they stand, or of `person`, and end the former.

        None without such a key; and where its tenant has `at_most` as `mint_key` counts them.
        """
        ...

    async def list_keys(self, tenant: str | None = None) -> list[ApiKey]: ...

    async def page_keys(self, tenant: str | None, *, limit: int, after: str | None) -> KeyPage:
        """Those of a tenant, or of all, newest first, behind the key `after`, which is one of them."""
        ...

    async def revoke_key(self, key_id: str) -> bool:
        """Revoke for good; False when there is no such key or it was revoked before."""
        ...

    async def revoke_made_by(self, key_id: str) -> list[str]:
        """Revoke what a revoked key has made, and what that has, and so on; the ids of those that were not yet."""
        ...

    async def find_key(self, key_id: str) -> ApiKey | None: ...

    async def record_uses(self, ages: Mapping[str, float]) -> None:
        """Keys were used so many seconds ago; what is known to be later stays."""
        ...

    async def list_tenants(self) -> list[Tenant]:
        """All of them, by name."""
        ...

    async def page_tenants(self, *, limit: int, after: str | None) -> TenantPage:
        """Some of them, behind this name, which need not be one's."""
        ...

    async def find_tenant(self, name: str) -> Tenant | None: ...

    async def has_tenant(self, name: str) -> bool:
        """Whether there is this tenant, and it takes requests."""
        ...

    async def add_tenant(self, name: str) -> bool:
        """Make a tenant with nothing of its own; False when there is one."""
        ...

    async def use_of(self, tenant: str) -> Mapping[str, float]:
        """What counts against a tenant's limits now, by the names that `Limits` has; not all are counted.

        Exact, and so for people: what admits jobs counts only what is limited.
        """
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

    async def holding_of(self, tenant: str) -> tuple[Limits, Holding]:
        """What holds for this tenant, as `limits_of` says, and what counts against its quotas."""
        ...

    async def set_share(self, share: Share) -> None:
        """Give a tenant this much of a pool, from the next claim on; one that says nothing is taken away."""
        ...

    async def list_shares(self) -> list[Share]:
        """All of them, by pool and tenant."""
        ...
