"""People, by tokens of the issuers that the settings name (OpenID Connect): verified, and what they may here.

A token whose `iss` is a configured issuer's is that issuer's or is refused; it is never taken for anything else. Of its
head only `alg`, `kid` and `typ` are looked at: it says neither where keys lie nor what they are.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import jwt
from jwt.utils import base64url_decode

from orchestrator.config.oidc import MAX_LEEWAY_S, MAX_TOKEN_BYTES, OidcSettings
from orchestrator.domain import jsontext, people
from orchestrator.domain.errors import NoAccess, Unauthenticated
from orchestrator.domain.rights import Rights
from orchestrator.ports import ApiKey, Person
from orchestrator.ports.issuers import Fetch
from orchestrator.tenants import cookies
from orchestrator.tenants.jwks import KeySet

# Ids of people begin so, and no key's does.
PREFIX = "oidc:"

_PART = r"[A-Za-z0-9_-]+"
_TOKEN = re.compile(rf"(?:(?i:bearer) +)?({_PART}\.{_PART}\.(?:{_PART})?)")
# RFC 8725, section 3.11: other kinds of tokens (a logout token's) say another one. RFC 9068 has that of access tokens.
_TYPES = ("jwt", "at+jwt", "application/at+jwt")
_MAX_KID = 255
# Of a person, as the console shows it.
_MAX_NAME = 200
_NAMES = ("name", "preferred_username", "email")
_REQUIRED = ["exp", "aud", "iss", "sub"]
_LATEST = 253402300799  # the last second of the year 9999
# Kept at once, of those that tokens name.
_MAX_TENANTS = 10_000


class TenantFinder(Protocol):
    """The one part of `KeyStore` that this needs."""

    async def has_tenant(self, name: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Claimed:
    """A token that says to be of a configured issuer; nothing of it is verified."""

    issuer: str
    text: str


class Issuer:
    """One issuer: verifies its tokens, and says who they are here."""

    def __init__(self, name: str, settings: OidcSettings, keys: KeySet) -> None:
        self._name = name
        self._settings = settings
        self._keys = keys

    @property
    def made_keys_s(self) -> float | None:
        """How long a key lives that its people make."""
        return self._settings.made_keys_s

    async def person(self, token: str) -> ApiKey:
        """Whose token it is, with a tenant that there may or may not be.

        Raises `Unauthenticated`, `NoAccess` or `IssuerUnavailable`.
        """
        return self._whose(await self._verified(token, self._settings.audience))

    async def signed_in(self, token: str, nonce: str) -> tuple[ApiKey, str]:
        """Whose ID token it is, and what people call them, where it answers the request that said this nonce.

        OpenID Connect Core 1.0, section 3.1.3.7. Raises as `person` does.
        """
        client = self._settings.client_id or ""
        claims = await self._verified(token, (client,))
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if several else client) != client:
            raise Unauthenticated("the token is for somebody else ('azp')", reason="unverified")
        said = claims.get("nonce")
        if not isinstance(said, str) or not cookies.same(said, nonce):
            raise Unauthenticated("the token answers another sign-in ('nonce')", reason="unverified")
        return self._whose(claims), _name(claims)

    def _whose(self, claims: Mapping[str, Any]) -> ApiKey:
        settings = self._settings
        if settings.tenant is not None:
            tenant = settings.tenant
        else:
            tenant = people.tenant_of(claims, settings.tenant_claim or "", settings.tenants)
        scopes = people.scopes_of(claims, settings.role_claim, settings.roles, settings.everybody)
        ends = datetime.fromtimestamp(_moment(claims["exp"]) + settings.leeway_s, UTC)
        return ApiKey(
            id=f"{PREFIX}{self._name}#{_subject(claims['sub'])}",
            tenant=tenant,
            name="",
            created_at=datetime.now(UTC),
            rights=Rights(scopes=scopes, expires_at=ends),
            person=Person(issuer=self._name, made_keys_s=settings.made_keys_s),
        )

    async def _verified(self, token: str, audience: Sequence[str]) -> Mapping[str, Any]:
        kid, algorithm = self._head(token)
        key = await self._keys.key(kid, algorithm)
        settings = self._settings
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=audience,
                issuer=settings.issuer,
                leeway=settings.leeway_s,
                options={"require": _REQUIRED},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("the token is expired", reason="expired") from None
        except (jwt.MissingRequiredClaimError, jwt.ImmatureSignatureError, jwt.InvalidAudienceError) as error:
            raise Unauthenticated(_WORDS[type(error)], reason="unverified") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
            raise Unauthenticated("the token's signature is not valid", reason="unverified") from None
        return claims

    def _head(self, token: str) -> tuple[str | None, str]:
        """The id of the key, and the algorithm. Raises `Unauthenticated` for one that is not taken."""
        head = _read(token.split(".")[0])
        algorithm, kid, kind = head.get("alg"), head.get("kid"), head.get("typ", "JWT")
        if algorithm not in self._settings.algorithms:
            taken = ", ".join(self._settings.algorithms)
            raise Unauthenticated(f"the token is not signed by one of: {taken}", reason="unverified")
        if kid is not None and (not isinstance(kid, str) or len(kid) > _MAX_KID):
            raise Unauthenticated("the token's 'kid' is no key's id", reason="malformed")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise Unauthenticated("the token is of another kind ('typ')", reason="malformed")
        return kid, algorithm


_WORDS: Mapping[type[Exception], str] = {
    jwt.MissingRequiredClaimError: f"the token lacks one of: {', '.join(_REQUIRED)}",
    jwt.ImmatureSignatureError: "the token is not valid yet ('nbf' or 'iat')",
    jwt.InvalidAudienceError: "the token is for somebody else ('aud')",
}


class People:
    """All issuers, by their names; `of` makes them. A tenant is looked up at most every `cache_s` seconds."""

    def __init__(
        self,
        issuers: Mapping[str, OidcSettings],
        store: TenantFinder,
        fetch_of: Callable[[str, OidcSettings], Fetch],
        *,
        cache_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._cache_s = cache_s
        self._monotonic = monotonic
        self._issuers = {
            each.issuer: Issuer(name, each, _key_set(name, each, fetch_of(name, each), monotonic))
            for name, each in issuers.items()
        }
        self._named = dict(zip(issuers, self._issuers.values(), strict=True))
        # Until when it is known of a name, in monotonic seconds, whether it is a tenant's.
        self._tenants: dict[str, tuple[float, bool]] = {}

    def claimed(self, authorization: str | None) -> Claimed | None:
        """The token of a configured issuer in an Authorization header, unverified; None where it holds none.

        Raises `Unauthenticated` for one that is too large.
        """
        if not self._issuers or (found := _TOKEN.fullmatch((authorization or "").strip())) is None:
            return None
        if len(found[1]) > MAX_TOKEN_BYTES:
            raise Unauthenticated(f"the token has more than {MAX_TOKEN_BYTES} bytes", reason="malformed")
        try:
            issuer = _read(found[1].split(".")[1]).get("iss")
        except Unauthenticated:
            return None
        return Claimed(issuer, found[1]) if isinstance(issuer, str) and issuer in self._issuers else None

    async def person(self, claimed: Claimed) -> ApiKey:
        """Whose token it is. Raises `Unauthenticated`, `NoAccess`, `IssuerUnavailable` or `StoreUnavailable`."""
        person = await self._issuers[claimed.issuer].person(claimed.text)
        await self.check_tenant(person.tenant)
        return person

    def named(self, name: str) -> Issuer | None:
        """The issuer of this name in the settings."""
        return self._named.get(name)

    async def check_tenant(self, tenant: str) -> None:
        """Raise `NoAccess` where there is no such tenant, or none any more; or `StoreUnavailable`."""
        now = self._monotonic()
        until, there = self._tenants.get(tenant, (now, False))
        if now >= until:
            there = await self._store.has_tenant(tenant)
            if len(self._tenants) >= _MAX_TENANTS:
                self._tenants.clear()
            self._tenants[tenant] = now + self._cache_s, there
        if not there:
            raise NoAccess(f"there is no tenant {tenant[:80]!r}, for which the token stands")


def _key_set(name: str, settings: OidcSettings, fetch: Fetch, monotonic: Callable[[], float]) -> KeySet:
    return KeySet(
        name,
        fetch,
        fresh_s=settings.keys_fresh_s,
        again_s=settings.keys_again_s,
        stale_s=settings.keys_stale_s,
        monotonic=monotonic,
    )


def _read(part: str) -> Mapping[str, Any]:
    """One part of a token. Raises `Unauthenticated` for what is no object in JSON."""
    try:
        said = jsontext.parse(base64url_decode(part).decode("utf-8"))
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise Unauthenticated("the token is no JSON Web Token", reason="malformed")
    return said


def _subject(value: Any) -> str:
    """Raises `Unauthenticated` for what would not be told from another's in a log."""
    if not isinstance(value, str) or not 0 < len(value) <= people.MAX_SUBJECT or not value.isprintable():
        raise Unauthenticated("the token's 'sub' is no name", reason="malformed")
    return value


def _name(claims: Mapping[str, Any]) -> str:
    """What people call somebody, as far as the token says it; it is shown, and means nothing."""
    said = (claims.get(name) for name in _NAMES)
    return next((it for it in said if isinstance(it, str) and 0 < len(it) <= _MAX_NAME and it.isprintable()), "")


def _moment(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST - MAX_LEEWAY_S:
        raise Unauthenticated("the token's 'exp' is no number of seconds", reason="malformed")
    return value
