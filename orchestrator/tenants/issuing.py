"""Keys as their tenant manages them, with one of its keys: made, looked at, replaced and revoked.

No key makes, replaces or revokes one that may more than itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from orchestrator.domain.addresses import IPNetwork
from orchestrator.domain.errors import BeyondOwn, InvalidField, LimitExceeded, NotFound, WrongState
from orchestrator.domain.masters import Masters
from orchestrator.domain.rights import Rights, Scope, Standing, check_within
from orchestrator.domain.texts import check_text
from orchestrator.ports import ApiKey, KeyPage, NewKey, Successor
from orchestrator.tenants import keys
from orchestrator.tenants.keyring import check_good

MAX_KEYS = 100
MAX_NAME_CHARS = 200
# For how long a key goes on beside the one that takes its place, unless told otherwise, and at most.
OVERLAP_S = 24 * 3600
MAX_OVERLAP_S = 90 * 24 * 3600


class KeysOfTenants(Protocol):
    """The parts of `KeyStore` that this needs."""

    async def mint_key(
        self,
        by: str,
        draft: Callable[[ApiKey], NewKey],
        *,
        at_most: int,
        tenant: str | None = None,
        person: ApiKey | None = None,
    ) -> ApiKey | None: ...

    async def replace_key(
        self,
        key_id: str,
        draft: Callable[[ApiKey, ApiKey | None], Successor],
        *,
        by: str,
        at_most: int,
        person: ApiKey | None = None,
    ) -> ApiKey | None: ...

    async def page_keys(self, tenant: str | None, *, limit: int, after: str | None) -> KeyPage: ...

    async def find_key(self, key_id: str) -> ApiKey | None: ...

    async def revoke_key(self, key_id: str) -> bool: ...

    async def revoke_made_by(self, key_id: str) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Issued:
    """A key and all of it, which is shown when it is new."""

    key: ApiKey
    whole: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a new key is to may; None is as its maker."""

    scopes: frozenset[Scope] | None = None
    allow: tuple[IPNetwork, ...] | None = None
    expires_at: datetime | None = None

    def of(self, own: Rights) -> Rights:
        """The rights that are meant, where its maker has these."""
        return Rights(
            scopes=own.scopes if self.scopes is None else self.scopes,
            allow=own.allow if self.allow is None else self.allow,
            expires_at=self.expires_at or own.expires_at,
        )


def utc_now() -> datetime:
    return datetime.now(UTC)


class Issuing:
    """`by` is the key of the request. An id that is not one of its tenant's own raises `NotFound`.

    `changed` hears of every key that is no longer as it was. Every call raises `StoreUnavailable`, and those that make
    a key `Unauthenticated` where `by` is none any more.
    """

    def __init__(
        self,
        store: KeysOfTenants,
        masters: Masters,
        *,
        changed: Callable[[str], object] = lambda _: None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._masters = masters
        self._changed = changed
        self._now = now

    async def create(self, by: ApiKey, *, name: str, wanted: Wanted) -> Issued:
        """A key of the same tenant.

        Raises `InvalidField`, `BeyondOwn`, and `LimitExceeded` for one key too many.
        """
        return await self._create(by, by.tenant, name, wanted)

    async def _create(self, by: ApiKey, tenant: str, name: str, wanted: Wanted) -> Issued:
        check_name(name)
        key_id, master = keys.new_id(), self._masters().newest

        def draft(maker: ApiKey) -> NewKey:
            check_good(maker, self._now())
            asked = wanted.of(maker.rights)
            check_within(asked, self._gives(maker))
            return NewKey(id=key_id, name=name, rights=check_rights(asked, self._now()), master=master.generation)

        made = await self._store.mint_key(by.id, draft, at_most=MAX_KEYS, tenant=tenant, person=self._person(by))
        if made is None:
            await self._check_there(by)
            raise _too_many()
        return Issued(made, keys.issue(master.key, made.id))

    async def list(self, by: ApiKey, *, limit: int, after: str | None = None) -> KeyPage:
        """The tenant's keys, newest first, behind the key `after`. Raises `NotFound` where that is none of them."""
        if after is not None:
            await self._own(by, after, param="after")
        return await self._store.page_keys(by.tenant, limit=limit, after=after)

    async def get(self, by: ApiKey, key_id: str) -> ApiKey:
        """One of the tenant's keys, which may be revoked or expired. Raises `NotFound`."""
        return await self._own(by, key_id)

    async def rotate(self, by: ApiKey, key_id: str, *, overlap_s: float, expires_at: datetime | None = None) -> Issued:
        """A key that may what this one may, which goes on beside it for `overlap_s`, and no longer.

        It expires when this one would have, unless it is told otherwise. Raises `NotFound`, `InvalidField`,
        `BeyondOwn`, `WrongState` for a key that is good no more or was replaced before, and `LimitExceeded` where the
        tenant has as many keys as it may: both count.
        """
        await self._own(by, key_id)
        fresh, master = keys.new_id(), self._masters().newest

        def draft(old: ApiKey, maker: ApiKey | None) -> Successor:
            if maker is None:
                raise keys.invalid()
            check_good(maker, self._now())
            successor = succeed(
                old, fresh, self._now(), overlap_s=overlap_s, expires_at=expires_at, master=master.generation
            )
            check_within(successor.key.rights, self._gives(maker))
            return successor

        made = await self._store.replace_key(key_id, draft, by=by.id, at_most=MAX_KEYS, person=self._person(by))
        if made is None:
            await self._own(by, key_id)
            raise _too_many()
        self._changed(key_id)
        return Issued(made, keys.issue(master.key, made.id))

    async def revoke(self, by: ApiKey, key_id: str, *, descendants: bool) -> ApiKey:
        """Revoke for good, and again without effect; with `descendants` also what it made, and what that made.

        Raises `NotFound`, and `BeyondOwn` for a key with more scopes than the request's.
        """
        key = await self._own(by, key_id)
        if more := sorted(key.rights.scopes - self._gives(by).scopes):
            raise BeyondOwn(f"a key cannot revoke one that may more than itself: {', '.join(more)}", param="scopes")
        await self._store.revoke_key(key_id)
        self._changed(key_id)
        if descendants:  # none of whom may more than it can give, and so than the request's
            for descendant in await self._store.revoke_made_by(key_id):
                self._changed(descendant)
        return await self._own(by, key_id)

    def _person(self, by: ApiKey) -> ApiKey | None:
        """A person as the maker of keys, which live as long as the settings say; None for a key.

        Raises `Unauthenticated`, and `BeyondOwn` where people make none.
        """
        if by.person is None:
            return None
        if by.person.made_keys_s is None:
            message = f"people of the issuer {by.person.issuer!r} make no keys (oidc.{by.person.issuer}.made_keys_s)"
            raise BeyondOwn(message, param="expires_at")
        now = self._now()
        check_good(by, now)
        return replace(by, rights=replace(by.rights, expires_at=now + timedelta(seconds=by.person.made_keys_s)))

    async def _check_there(self, by: ApiKey) -> None:
        """Raise `Unauthenticated` for a key that has gone with its tenant since the request was let in."""
        if by.person is None and await self._store.find_key(by.id) is None:
            raise keys.invalid()

    async def _own(self, by: ApiKey, key_id: str, *, param: str | None = None) -> ApiKey:
        key = await self._store.find_key(key_id) if keys.is_id(key_id) else None
        if key is None or not self._reaches(by, key):
            raise _no_key(key_id, param)
        return key

    def _reaches(self, by: ApiKey, key: ApiKey) -> bool:
        """Whether the one may see and change the other."""
        return key.tenant == by.tenant

    def _gives(self, maker: ApiKey) -> Rights:
        """The most that this one's keys may."""
        return maker.rights


def succeed(
    old: ApiKey,
    key_id: str,
    now: datetime,
    *,
    overlap_s: float,
    expires_at: datetime | None = None,
    master: int,
) -> Successor:
    """What takes a key's place. Raises `WrongState` for one that is good no more, or was replaced before."""
    standing = old.standing(now)
    if standing is Standing.REVOKED:
        raise WrongState("the key was revoked: make another one")
    if old.replaced_by is not None:
        raise WrongState(f"the key was replaced before, by {old.replaced_by}")
    if standing is Standing.EXPIRED:
        raise WrongState("the key has expired: make another one")
    rights = check_rights(replace(old.rights, expires_at=expires_at or old.rights.expires_at), now)
    fresh = NewKey(id=key_id, name=old.name, rights=rights, master=master)
    return Successor(key=fresh, until=now + timedelta(seconds=overlap_s))


def check_rights(rights: Rights, now: datetime) -> Rights:
    """The same. Raises `InvalidField` for a key that would be good for nothing."""
    if rights.expires_at is not None and rights.expires_at <= now:
        raise InvalidField("must be in the future", param="expires_at")
    return rights


def check_name(name: str) -> None:
    """Raise `InvalidField` for a name that is no line for people."""
    check_text(name, "name", max_chars=MAX_NAME_CHARS)
    if not name.isprintable():
        raise InvalidField("must be one printable line", param="name")


def _too_many() -> LimitExceeded:
    message = f"a tenant has at most {MAX_KEYS} keys that are good or were made within a day"
    return LimitExceeded(message, limit="keys", retry_after_s=None, most=MAX_KEYS, used=MAX_KEYS)


def _no_key(key_id: str, param: str | None = None) -> NotFound:
    return NotFound(f"no key with the id {key_id[:80]!r}", param=param)
