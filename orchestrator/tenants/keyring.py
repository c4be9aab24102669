"""Good keys: which of them are in requests, as the database knows them, asked about each one now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from orchestrator.domain import rights
from orchestrator.domain.addresses import IPAddress
from orchestrator.domain.errors import Unauthenticated
from orchestrator.domain.masters import Masters
from orchestrator.ports import ApiKey
from orchestrator.tenants import keys
from orchestrator.tenants.oidc import People

# One look-up that hangs does not hold up those who come later than this.
_SHARED_S = 1.0


class KeyFinder(Protocol):
    """The one part of `KeyStore` that checking keys needs."""

    async def find_key(self, key_id: str) -> ApiKey | None: ...


class OpenSessions(Protocol):
    """The one part of `Sessions` that streams of the console need."""

    async def check_open(self, session_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Lookup:
    """A read of one key, perhaps still under way."""

    task: asyncio.Task[ApiKey | None]
    # Its answer is good until then, in monotonic seconds.
    fresh_until: float
    # While it is under way, who comes before then waits for it, too.
    shared_until: float


class Keyring:
    """Turns Authorization headers into keys, and asks the database about each one at most every `cache_s` seconds.

    So a revocation acts within that time, here and on every other replica; an expiry that is known acts at once. Only
    ids that come with a right secret or signature are ever looked up, and those that are no key's are forgotten: the
    cache holds no more entries than keys were issued. That is so, too, where a generation of the master key has leaked,
    with which anybody makes a secret for any id; it opens nothing of another generation's, as a row says whose it is.
    Requests that arrive soon after a look-up began share it. `used` hears of every key that was let in.
    """

    def __init__(
        self,
        store: KeyFinder,
        masters: Masters,
        *,
        cache_s: float,
        used: Callable[[str], object] = lambda _: None,
        people: People | None = None,
        sessions: OpenSessions | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._masters = masters
        self._cache_s = cache_s
        self._used = used
        self._people = people
        self._sessions = sessions
        self._monotonic = monotonic
        self._wall = wall
        self._lookups: dict[str, _Lookup] = {}

    async def tenant(self, authorization: str | None, address: IPAddress | None = None) -> str:
        """The tenant that an Authorization header speaks for; raises as `key` does."""
        return (await self.key(authorization, address)).tenant

    async def key(self, authorization: str | None, address: IPAddress | None = None) -> ApiKey:
        """The key in an Authorization header, which is good, and may be used from there; or whose token is in it.

        Raises `Unauthenticated`, `AddressRefused`, `NoAccess`, `IssuerUnavailable` or `StoreUnavailable`.
        """
        if self._people is not None and (claimed := self._people.claimed(authorization)) is not None:
            return await self._people.person(claimed)
        credential = keys.parse(authorization)
        if isinstance(credential, keys.Token):
            generation = credential.verify(self._masters(), self._wall())
        else:
            generation = credential.verify(self._masters())
        key = await self.good(credential.id, generation)
        rights.admit_from(key.rights, address)
        self._used(key.id)
        return key

    async def good(self, key_id: str, generation: int | None = None) -> ApiKey:
        """The key of this id, whose secret or signature was verified with a generation of the master key.

        For what goes on behind its answer, asked again, without one: then any that is still in the ring.
        Raises `Unauthenticated` for one that is none any more, or `StoreUnavailable`.
        """
        key = await self._find(key_id)
        accepted = self._masters().generations if generation is None else (generation,)
        if key is None or key.master not in accepted:
            raise keys.invalid()
        check_good(key, datetime.fromtimestamp(self._wall(), UTC))
        return key

    async def check_still(self, key: ApiKey) -> None:
        """For what goes on behind the answer to a request with this key, or by this person: whether it may.

        Raises as `good` does, and `NoAccess`.
        """
        if key.session is not None and self._sessions is not None:
            await self._sessions.check_open(key.session)
        if key.person is None or self._people is None:
            await self.good(key.id)
            return
        check_good(key, datetime.fromtimestamp(self._wall(), UTC))
        await self._people.check_tenant(key.tenant)

    async def while_good(self, key: ApiKey, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """These pieces of an answer, each only if the key is good when it has come. Raises as `check_still` does."""
        async with aclosing(pieces):
            async for piece in pieces:
                await self.check_still(key)
                yield piece

    def forget(self, key_id: str) -> None:
        """Ask about it again, whenever it was last asked about: it has been changed here."""
        self._lookups.pop(key_id, None)

    async def _find(self, key_id: str) -> ApiKey | None:
        lookup = self._lookups.get(key_id)
        now = self._monotonic()
        if lookup is None or now >= lookup.fresh_until or _failed(lookup.task) or _hangs(lookup, now):
            # Fresh from the start of the look-up, not its end: a revocation after the start is never hidden for longer.
            task = asyncio.ensure_future(self._store.find_key(key_id))
            task.add_done_callback(partial(self._keep_known, key_id))
            lookup = self._lookups[key_id] = _Lookup(task, now + self._cache_s, now + _SHARED_S)
        # Shielded: a caller that hangs up must not cancel a look-up that others wait for.
        return await asyncio.shield(lookup.task)

    def _keep_known(self, key_id: str, task: asyncio.Task[ApiKey | None]) -> None:
        """Forget a look-up that found no key."""
        lookup = self._lookups.get(key_id)
        if lookup is not None and lookup.task is task and (_failed(task) or task.result() is None):
            del self._lookups[key_id]


def _hangs(lookup: _Lookup, now: float) -> bool:
    return not lookup.task.done() and now >= lookup.shared_until


def _failed(task: asyncio.Task[ApiKey | None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def check_good(key: ApiKey, now: datetime) -> None:
    """Raise `Unauthenticated` for a key that was revoked or has expired, or whose tenant is being erased."""
    kind = "API key" if key.person is None else "token"
    if key.erasing:
        raise Unauthenticated(f"the tenant of this {kind} is being erased", reason="revoked")
    match key.standing(now):
        case rights.Standing.REVOKED:
            raise Unauthenticated(f"the {kind} was revoked", reason="revoked")
        case rights.Standing.EXPIRED:
            message = f"the {kind} expired at {key.rights.expires_at:%Y-%m-%d %H:%M:%S} UTC"
            raise Unauthenticated(message, reason="expired")
