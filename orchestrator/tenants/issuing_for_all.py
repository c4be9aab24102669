"""Keys of every tenant, as an administrator manages them: the same rules, but for whose they are and what they may."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.errors import NotFound
from orchestrator.domain.rights import USUAL, Rights, Scope
from orchestrator.domain.texts import check_tenant
from orchestrator.ports import ApiKey, KeyPage
from orchestrator.tenants import keys
from orchestrator.tenants.issuing import Issued, Issuing, Wanted


class IssuingForAll(Issuing):
    """`by` is an administrator's key: every key is in its reach.

    It gives, beside what it has, what every tenant's keys usually have: that is what a tenant's first key needs, and an
    administrator has no videos of its own. It gives no key a longer life or wider networks than its own, nor a scope
    for what concerns every tenant that it has not.
    """

    async def create_for(self, by: ApiKey, tenant: str, *, name: str, wanted: Wanted) -> Issued:
        """A key of this tenant, which is made if it is new. Raises as `create` does."""
        return await self._create(by, check_tenant(tenant), name, wanted)

    async def list_of(self, tenant: str | None, *, limit: int, after: str | None = None) -> KeyPage:
        """The keys of a tenant, or of all, newest first. Raises `NotFound` where `after` is no key."""
        if after is not None:
            last = await self._store.find_key(after) if keys.is_id(after) else None
            if last is None:
                raise NotFound(f"no key with the id {after[:80]!r}", param="after")
        return await self._store.page_keys(tenant, limit=limit, after=after)

    def _reaches(self, by: ApiKey, key: ApiKey) -> bool:
        return True

    def _gives(self, maker: ApiKey) -> Rights:
        own = maker.rights
        return replace(own, scopes=own.scopes | USUAL) if Scope.ADMIN in own.scopes else own
