"""How an issuer of people's tokens is asked for its public keys, and for the token of who signs in."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

# What it answers: a set of keys (RFC 7517, section 5), or whatever else. Raises `IssuerUnavailable` within its time.
Fetch = Callable[[], Coroutine[Any, Any, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What an issuer's discovery document says of signing in (OpenID Connect Discovery 1.0, section 3)."""

    authorization: str
    token: str
    # How a client shows its secret: `client_secret_basic` or `client_secret_post`.
    secret_in_body: bool = False
    # It says in its answer who it is (RFC 9207).
    says_issuer: bool = False


class Provider(Protocol):
    """An issuer that people sign in with in a browser. Every call raises `IssuerUnavailable` within its time."""

    async def endpoints(self) -> Endpoints: ...

    async def redeem(self, code: str, *, verifier: str, redirect_uri: str) -> str:
        """The ID token for a code (RFC 6749, section 4.1.3; RFC 7636, section 4.5).

        Raises `Unauthenticated` where the issuer does not take the code.
        """
