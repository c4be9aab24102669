"""The console's sessions: begun with a good key or by a person, and what a cookie stands for at each request.

A cookie holds 256 random bits and their signature; the row has a digest of the bits. So neither the database nor the
master key alone opens a session, and what nobody signed costs no look-up. Nothing of a key is kept but its id: at each
request its row is read, and the key must be good, from there, for what it may then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from orchestrator.config.console import ConsoleSettings
from orchestrator.domain import rights
from orchestrator.domain.addresses import IPAddress
from orchestrator.domain.errors import Unauthenticated
from orchestrator.domain.masters import Masters
from orchestrator.domain.rights import Rights
from orchestrator.ports import ApiKey, Person
from orchestrator.ports.sessions import NewSession, Session, SessionStore
from orchestrator.tenants import cookies
from orchestrator.tenants.cookies import Purpose
from orchestrator.tenants.keyring import check_good
from orchestrator.tenants.oidc import People

# Of one key, or one person: who signs in once more ends the first.
MOST = 20
# How exact the row says when it was last used.
_TOUCHED_S = 60
# Kept at once, of those whose streams of events go on.
_MAX_OPEN = 10_000


class Store(SessionStore, Protocol):
    """What sessions need of the store."""

    async def find_key(self, key_id: str) -> ApiKey | None: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A session, whom it stands for now, and the token that says that a request is the console's own."""

    session: Session
    key: ApiKey
    csrf: str


@dataclass(frozen=True, slots=True)
class Begun:
    """A new session, and what its cookie holds, which is told once."""

    opened: Opened
    cookie: str


class Sessions:
    """`used` hears of every key that was let in. Every call raises `StoreUnavailable`."""

    def __init__(
        self,
        store: Store,
        masters: Masters,
        people: People,
        settings: ConsoleSettings,
        *,
        cache_s: float,
        used: Callable[[str], object] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._masters = masters
        self._people = people
        self._settings = settings
        self._cache_s = cache_s
        self._used = used
        self._monotonic = monotonic
        self._now = now
        # Until when they are known to be open, in monotonic seconds.
        self._open: dict[str, float] = {}

    async def begin(
        self, key: ApiKey, *, name: str = "", instead_of: str | None = None, sign_in: str | None = None
    ) -> Begun:
        """A session for a key or a person that was verified just now, and the end of the one `instead_of`.

        Raises `Unauthenticated` where the sign-in has begun a session before.
        """
        master, secret = self._masters().newest, cookies.new_secret()
        new = NewSession(
            id=cookies.digest_of(secret),
            holder=key.id,
            tenant=key.tenant,
            issuer=None if key.person is None else key.person.issuer,
            name=name,
            scopes=None if key.person is None else key.rights.scopes,
            master=master.generation,
            sign_in=sign_in,
        )
        made = await self._store.add_session(new, life_s=self._settings.session_s, instead_of=instead_of, at_most=MOST)
        if made is None:
            raise Unauthenticated("this sign-in has been used: begin another", reason="unverified")
        csrf = cookies.derive(master.key, Purpose.CSRF, secret)
        opened = Opened(made, replace(key, session=made.id), csrf)
        return Begun(opened, cookies.sign(master.key, Purpose.SESSION, secret))

    async def open(self, cookie: str, address: IPAddress | None) -> Opened:
        """What a cookie stands for now. Raises `Unauthenticated`, `AddressRefused` or `NoAccess`."""
        secret, generation = self._verified(cookie)
        session = await self._store.find_session(cookies.digest_of(secret), idle_s=self._settings.idle_s)
        master = self._masters().key_of(generation)
        if session is None or session.master != generation or master is None:
            raise _over()
        key = await self._key(session)
        rights.admit_from(key.rights, address)
        if (self._now() - session.used_at).total_seconds() >= _TOUCHED_S:
            await self._store.touch_session(session.id)
        return Opened(session, replace(key, session=session.id), cookies.derive(master, Purpose.CSRF, secret))

    async def end(self, session_id: str) -> None:
        """Sign out: from now on the cookie opens nothing, here or anywhere."""
        self._open.pop(session_id, None)
        await self._store.end_session(session_id)

    def id_of(self, cookie: str | None) -> str | None:
        """The session that a cookie is of, which may be over; None for what is no cookie of ours."""
        found = None if cookie is None else cookies.verify(self._masters(), Purpose.SESSION, cookie)
        return None if found is None else cookies.digest_of(found[0])

    async def check_open(self, session_id: str) -> None:
        """For what goes on behind an answer; asks at most every `cache_s` seconds. Raises `Unauthenticated`."""
        now = self._monotonic()
        if now < self._open.get(session_id, now):
            return
        if await self._store.find_session(session_id, idle_s=self._settings.idle_s) is None:
            self._open.pop(session_id, None)
            raise _over()
        if len(self._open) >= _MAX_OPEN:
            self._open.clear()
        self._open[session_id] = now + self._cache_s

    def _verified(self, cookie: str) -> tuple[str, int]:
        found = cookies.verify(self._masters(), Purpose.SESSION, cookie)
        if found is None:
            raise Unauthenticated("the session's cookie is none of ours: sign in again", reason="unverified")
        return found

    async def _key(self, session: Session) -> ApiKey:
        """Whom a session stands for, which is good now. Raises `Unauthenticated` or `NoAccess`."""
        if session.issuer is not None:
            return await self._person(session, session.issuer)
        key = await self._store.find_key(session.holder)
        if key is None or key.master not in self._masters().generations:
            raise _over()
        check_good(key, self._now())
        self._used(key.id)
        return key

    async def _person(self, session: Session, issuer: str) -> ApiKey:
        known = self._people.named(issuer)
        if known is None:  # the settings name it no more
            raise _over()
        await self._people.check_tenant(session.tenant)
        return ApiKey(
            id=session.holder,
            tenant=session.tenant,
            name="",
            created_at=session.used_at,
            rights=Rights(scopes=session.scopes or frozenset(), expires_at=session.expires_at),
            person=Person(issuer=issuer, made_keys_s=known.made_keys_s),
        )


def _over() -> Unauthenticated:
    return Unauthenticated("the session is over: sign in again", reason="expired")
