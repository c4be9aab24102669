"""Erasures as administrators ask for them: by the API and on the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from orchestrator.domain.errors import InvalidField, NotFound, WrongState
from orchestrator.ports.erasures import Erasure

ERASURE_ID = re.compile(r"erasure_[0-9a-f]{32}")


class AskedStore(Protocol):
    """The parts of `ErasureStore` that this needs."""

    async def request_erasure(self, tenant: str, *, by: str, keep_usage: bool) -> Erasure | None: ...

    async def get_erasure(self, erasure_id: str) -> Erasure | None: ...

    async def list_erasures(self, *, limit: int, after: str | None = None) -> Sequence[Erasure]: ...


class Erasing:
    """Begins erasures, and says how they stand. Every call raises `StoreUnavailable`."""

    def __init__(self, store: AskedStore) -> None:
        self._store = store

    async def request(
        self, tenant: str, *, by: str, own_tenant: str | None, keep_usage: bool, confirm: str | None
    ) -> Erasure:
        """Erase a tenant, for good; again, it is the erasure that goes on.

        `by` is who asks, `own_tenant` whose key that is. `confirm` must be the tenant's name. Raises `InvalidField`,
        `NotFound`, and `WrongState` for one's own tenant, since nobody would be left to see how it ends, and where one
        goes on that does otherwise with what was used.
        """
        if confirm != tenant:
            raise InvalidField("must be the tenant's name, since nothing brings it back", param="confirm")
        if own_tenant == tenant:
            raise WrongState("a key cannot erase the tenant that it belongs to: ask with another tenant's")
        erasure = await self._store.request_erasure(tenant, by=by, keep_usage=keep_usage)
        if erasure is None:
            raise NotFound(f"no tenant with the name {tenant[:80]!r}")
        if erasure.keep_usage != keep_usage:
            does = "keeps" if erasure.keep_usage else "erases"
            raise WrongState(f"{erasure.id} goes on already, and {does} what was used", param="keep_usage")
        return erasure

    async def get(self, erasure_id: str) -> Erasure:
        """How it stands. Raises `NotFound`."""
        found = await self._store.get_erasure(erasure_id) if ERASURE_ID.fullmatch(erasure_id) else None
        if found is None:
            raise _no_erasure(erasure_id)
        return found

    async def list(self, *, limit: int, after: str | None = None) -> tuple[Sequence[Erasure], bool]:
        """Newest first, behind the one with the id `after`; and whether there are more. Raises `NotFound`."""
        if after is not None and not ERASURE_ID.fullmatch(after):
            raise _no_erasure(after, param="after")
        found = await self._store.list_erasures(limit=limit + 1, after=after)
        return found[:limit], len(found) > limit

    async def receipt(self, erasure_id: str) -> str:
        """The signed receipt. Raises `NotFound`, and `WrongState` before the end."""
        erasure = await self.get(erasure_id)
        if erasure.receipt is None:
            raise WrongState(f"the erasure goes on: {erasure.waits_for or 'it is at work'}")
        return erasure.receipt


def _no_erasure(erasure_id: str, param: str | None = None) -> NotFound:
    return NotFound(f"no erasure with the id {erasure_id[:80]!r}", param=param)
