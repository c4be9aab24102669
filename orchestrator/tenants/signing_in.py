"""Signing in to the console with an issuer: OpenID Connect's code flow, with PKCE, a state and a nonce.

All that a sign-in has to remember until the browser comes back is in a cookie of that browser, signed: which issuer it
was led to, until when, where it wanted to go, and a secret from which state, nonce and verifier follow by the master
key. So a sign-in that somebody else has begun, or with another issuer, is none here, and nothing waits in memory.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from orchestrator.config.oidc import OidcSettings
from orchestrator.domain import jsontext
from orchestrator.domain.errors import NoAccess, NotFound, Unauthenticated
from orchestrator.domain.masters import Masters
from orchestrator.ports import ApiKey
from orchestrator.ports.issuers import Provider
from orchestrator.tenants import cookies
from orchestrator.tenants.cookies import Purpose
from orchestrator.tenants.oidc import People

# From leaving to coming back: a password, a second factor.
LIFE_S = 600
HOME = "/console"
# A path of the console, with a query; nothing that a browser takes for another site's address.
_PLACE = re.compile(r"/console(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*/?(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?")
_MAX_PLACE = 1_000
_MAX_CODE = 4_000


@dataclass(frozen=True, slots=True)
class Leaving:
    """Where the browser goes, and what it keeps until it comes back."""

    location: str
    cookie: str


@dataclass(frozen=True, slots=True)
class Arrived:
    """Who came back, and where they wanted to go; `sign_in` names the sign-in, for it to be good once."""

    person: ApiKey
    name: str
    place: str
    instead_of: str | None
    sign_in: str


class SigningIn:
    """`url` is the console's origin and base path, as browsers have it."""

    def __init__(
        self,
        issuers: Mapping[str, OidcSettings],
        people: People,
        masters: Masters,
        provider_of: Callable[[str, OidcSettings], Provider],
        *,
        url: str,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings = {name: each for name, each in issuers.items() if each.client_id is not None}
        self._providers = {name: provider_of(name, each) for name, each in self._settings.items()}
        self._people = people
        self._masters = masters
        self._url = url
        self._wall = wall

    @property
    def issuers(self) -> Mapping[str, str]:
        """What people may sign in with: what each is called, by its name."""
        return {name: each.title or name for name, each in self._settings.items()}

    async def begin(self, issuer: str, *, place: str | None, instead_of: str | None) -> Leaving:
        """To an issuer, and back to a place in the console. Raises `NotFound` or `IssuerUnavailable`."""
        settings = self._of(issuer)
        endpoints = await self._providers[issuer].endpoints()
        master, secret = self._masters().newest.key, cookies.new_secret()
        kept = {
            "issuer": issuer,
            "secret": secret,
            "until": int(self._wall()) + LIFE_S,
            "place": place_of(place),
            "instead_of": instead_of,
        }
        challenge = hashlib.sha256(cookies.derive(master, Purpose.VERIFIER, secret).encode()).digest()
        query = {
            "response_type": "code",
            "client_id": settings.client_id,
            "redirect_uri": self._callback(issuer),
            "scope": " ".join(settings.scopes),
            "state": cookies.derive(master, Purpose.STATE, secret),
            "nonce": cookies.derive(master, Purpose.NONCE, secret),
            "code_challenge": _base64(challenge),
            "code_challenge_method": "S256",
        }
        joint = "&" if urlsplit(endpoints.authorization).query else "?"
        location = f"{endpoints.authorization}{joint}{urlencode(query)}"
        text = _base64(json.dumps(kept, separators=(",", ":")).encode())
        return Leaving(location, cookies.sign(master, Purpose.SIGN_IN, text))

    async def end(self, issuer: str, said: Mapping[str, str], cookie: str | None) -> Arrived:
        """Who came back from an issuer, which has `said` this in the URL.

        Raises `NotFound`, `Unauthenticated`, `NoAccess` or `IssuerUnavailable`.
        """
        settings = self._of(issuer)
        kept, master = self._kept(cookie)
        secret = str(kept["secret"])
        if kept["issuer"] != issuer or not cookies.same(
            said.get("state"), cookies.derive(master, Purpose.STATE, secret)
        ):
            raise Unauthenticated("this is the end of another sign-in ('state')", reason="unverified")
        provider = self._providers[issuer]
        await self._check_issuer(provider, settings, said.get("iss"))
        if "error" in said:
            raise NoAccess("the issuer did not let you in")
        code = said.get("code", "")
        if not 0 < len(code) <= _MAX_CODE:
            raise Unauthenticated("the issuer sent no code", reason="malformed")
        verifier = cookies.derive(master, Purpose.VERIFIER, secret)
        token = await provider.redeem(code, verifier=verifier, redirect_uri=self._callback(issuer))
        known = self._people.named(issuer)
        assert known is not None
        person, name = await known.signed_in(token, cookies.derive(master, Purpose.NONCE, secret))
        await self._people.check_tenant(person.tenant)
        return Arrived(person, name, str(kept["place"]), kept["instead_of"], cookies.digest_of(secret))

    async def _check_issuer(self, provider: Provider, settings: OidcSettings, iss: str | None) -> None:
        """Raise `Unauthenticated` where another issuer has sent the browser back (RFC 9207, section 2.4)."""
        needed = (await provider.endpoints()).says_issuer
        if (needed or iss is not None) and iss != settings.issuer:
            raise Unauthenticated("another issuer has answered ('iss')", reason="unverified")

    def _kept(self, cookie: str | None) -> tuple[Mapping[str, Any], str]:
        """What a browser has kept, and the master key that signed it. Raises `Unauthenticated`."""
        ring = self._masters()
        found = None if cookie is None else cookies.verify(ring, Purpose.SIGN_IN, cookie)
        if found is None:
            raise Unauthenticated("no sign-in was begun in this browser", reason="missing")
        kept = jsontext.parse(_bytes(found[0]))  # signed: it is as it was made
        if self._wall() >= kept["until"]:
            raise Unauthenticated("the sign-in has taken too long", reason="expired")
        return kept, ring.key_of(found[1]) or ""

    def _of(self, issuer: str) -> OidcSettings:
        if issuer not in self._settings:
            raise NotFound("there is no such issuer to sign in with")
        return self._settings[issuer]

    def _callback(self, issuer: str) -> str:
        return f"{self._url}{HOME}/oidc/{issuer}/callback"


def place_of(asked: str | None) -> str:
    """Where somebody may be led once they are in: a page of the console, or its first where it is none."""
    if asked is None or len(asked) > _MAX_PLACE or not _PLACE.fullmatch(asked):
        return HOME
    # Browsers take dots for steps up, also where they are written in percents.
    steps = unquote(asked.partition("?")[0]).split("/")
    return HOME if "." in steps or ".." in steps else asked


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
