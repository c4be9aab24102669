"""The store of the console's sessions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain.rights import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session to be begun. What its cookie holds is not in it: only a digest, which is its id."""

    id: str
    # Whose it is: a key's id, or a person's `oidc:ISSUER#SUBJECT`.
    holder: str
    tenant: str
    # Of a person: the issuer's name in the settings, the person's own, and what it may. None: as the key's row says.
    issuer: str | None = None
    name: str = ""
    scopes: frozenset[Scope] | None = None
    # The generation of the master key that signed the cookie.
    master: int
    # The digest of the sign-in that it came from, which begins no other.
    sign_in: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session(NewSession):
    """A session that is not over."""

    # Within a minute.
    used_at: datetime
    expires_at: datetime


class SessionStore(Protocol):
    """Every call raises `StoreUnavailable`."""

    async def add_session(
        self, session: NewSession, *, life_s: float, instead_of: str | None, at_most: int
    ) -> Session | None:
        """Begin one. The one `instead_of` ends, and of the holder's those that were begun first beyond `at_most`.

        None where the sign-in that it came from has begun another. Ended ones go once no sign-in could come again.
        """

    async def find_session(self, session_id: str, *, idle_s: float) -> Session | None:
        """None for one that has ended, is too old, or was not used for `idle_s`."""

    async def touch_session(self, session_id: str) -> None:
        """It is used now."""

    async def end_session(self, session_id: str) -> bool:
        """Whether it had not ended before."""
