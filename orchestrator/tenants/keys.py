"""API keys: `id.secret`, where the secret follows from the master key and the id, so that nothing secret is stored.

A caller sends the key itself, or a JSON Web Token signed with its secret, as the bigmodel SDKs do. What is wrong is
refused before the database is asked, whatever its id: an unknown id and a wrong secret look the same, in the answer and
in the time that it takes.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jwt
from jwt.utils import base64url_decode

from orchestrator.domain import jsontext
from orchestrator.domain.errors import Unauthenticated
from orchestrator.ports import ApiKey

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [high + low for high in _BASE62 for low in _BASE62]  # two digits for each division of a large number
_SECRET_LENGTH = 43  # digits that hold 256 bits in base 62
_ID_LENGTH = 16

_ID = r"[A-Za-z0-9_-]{1,64}"
# One optional scheme word; then one dot between id and secret, or a token's three parts.
_CREDENTIAL = re.compile(
    rf"(?:(?i:bearer) +)?(?:(?P<id>{_ID})\.(?P<secret>[A-Za-z0-9]{{1,128}})"
    r"|(?P<token>[A-Za-z0-9_-]{1,1024}\.[A-Za-z0-9_-]{1,1024}\.[A-Za-z0-9_-]{1,128}))"
)

# A token's `exp` counts milliseconds, which PyJWT would take for seconds and never find expired. We compare it.
_CHECKS: jwt.types.Options = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}
# How far a token's own clock may be off, which is also the longest that one can be used.
_MAX_SKEW_S = 600
_MAX_MILLISECONDS = 1e15  # in the year 33658; also false of NaN, and of what no float can hold

# One look-up that hangs does not hold up those who come later than this.
_SHARED_S = 1.0


def new_id() -> str:
    """A fresh key id: URL-safe, without a dot."""
    return "".join(secrets.choice(_BASE62) for _ in range(_ID_LENGTH))


def issue(master_key: str, key_id: str) -> str:
    """The whole key of an id, `id.secret`; the same every time."""
    return f"{key_id}.{_secret(master_key, key_id)}"


@dataclass(frozen=True, slots=True)
class Key:
    """The whole key, as its owner holds it."""

    id: str
    secret: str

    def verify(self, master_key: str) -> None:
        """Raises `Unauthenticated`, in time that does not depend on how much of the secret is right."""
        if not hmac.compare_digest(_secret(master_key, self.id), self.secret):
            raise _invalid()


@dataclass(frozen=True, slots=True)
class Token:
    """A JSON Web Token, and what it says of itself. Source: zhipuai and zai-sdk, `core/_jwt_token.py`."""

    # The key's that signed it.
    id: str
    # Unix seconds, as is the next one.
    expires_at: float
    made_at: float
    # The token itself.
    text: str

    def verify(self, master_key: str, now: float) -> None:
        """Raises `Unauthenticated` for a wrong signature, and for a token that is expired or too old or too new."""
        try:
            jwt.decode(self.text, _secret(master_key, self.id), algorithms=["HS256"], options=_CHECKS)
        except jwt.InvalidTokenError:
            raise Unauthenticated("the token's signature is not valid", reason="unverified") from None
        if now >= self.expires_at:
            raise Unauthenticated("the token is expired ('exp' counts milliseconds)", reason="expired")
        if abs(now - self.made_at) > _MAX_SKEW_S:
            message = f"the token's timestamp is more than {_MAX_SKEW_S // 60} minutes away from now"
            raise Unauthenticated(message, reason="expired" if self.made_at < now else "unverified")


def parse(authorization: str | None) -> Key | Token:
    """The credential in an Authorization header, with or without `Bearer`, unverified. Raises `Unauthenticated`."""
    if authorization is None or not authorization.strip():
        raise Unauthenticated("no Authorization header: send 'Authorization: Bearer <key>'", reason="missing")
    match = _CREDENTIAL.fullmatch(authorization.strip())
    if match is None:
        raise Unauthenticated("the Authorization header holds no key of the form id.secret", reason="malformed")
    return Key(match["id"], match["secret"]) if match["token"] is None else _token(match["token"])


def _token(text: str) -> Token:
    try:
        for part in text.split(".")[:2]:  # PyJWT reads both as JSON, now and when the signature is verified
            jsontext.check_depth(base64url_decode(part).decode("latin-1"))
        claims = jwt.decode(text, options={**_CHECKS, "verify_signature": False})
    except (jwt.InvalidTokenError, ValueError):
        raise Unauthenticated("the token is no JSON Web Token", reason="malformed") from None
    key_id = claims.get("api_key")
    if not isinstance(key_id, str) or not re.fullmatch(_ID, key_id):
        raise Unauthenticated("the token's 'api_key' is no key's id", reason="malformed")
    return Token(key_id, _seconds(claims, "exp"), _seconds(claims, "timestamp"), text)


def _seconds(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MAX_MILLISECONDS:
        raise Unauthenticated(f"the token's {name!r} is no number of milliseconds", reason="malformed")
    return value / 1000


def _invalid() -> Unauthenticated:
    return Unauthenticated("the API key is not valid", reason="invalid")


def _secret(master_key: str, key_id: str) -> str:
    digest = hmac.digest(master_key.encode(), key_id.encode(), "sha256")
    number = int.from_bytes(digest)
    pairs = []
    for _ in range((_SECRET_LENGTH + 1) // 2):
        number, pair = divmod(number, len(_PAIRS))
        pairs.append(_PAIRS[pair])
    return "".join(reversed(pairs))[-_SECRET_LENGTH:]


class KeyFinder(Protocol):
    """The one part of `KeyStore` that checking keys needs."""

    async def find_key(self, key_id: str) -> ApiKey | None: ...


@dataclass(frozen=True, slots=True)
class _Lookup:
    """A read of one key, perhaps still under way."""

    task: asyncio.Task[ApiKey | None]
    # Its answer is good until then, in monotonic seconds.
    fresh_until: float
    # While it is under way, who comes before then waits for it, too.
    shared_until: float


class Keyring:
    """Turns Authorization headers into tenants, and asks the database about each key at most every `cache_s` seconds.

    Only ids that come with their right secret or signature are ever looked up, so the cache holds no more entries than
    keys were issued. Requests that arrive soon after a look-up began share it.
    """

    def __init__(
        self,
        store: KeyFinder,
        master_key: str,
        *,
        cache_s: float,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._master_key = master_key
        self._cache_s = cache_s
        self._monotonic = monotonic
        self._wall = wall
        self._lookups: dict[str, _Lookup] = {}

    async def tenant(self, authorization: str | None) -> str:
        """The tenant that an Authorization header speaks for. Raises `Unauthenticated` or `StoreUnavailable`."""
        return (await self.key(authorization)).tenant

    async def key(self, authorization: str | None) -> ApiKey:
        """The key in an Authorization header, which is good. Raises `Unauthenticated` or `StoreUnavailable`."""
        credential = parse(authorization)
        if isinstance(credential, Token):
            credential.verify(self._master_key, self._wall())
        else:
            credential.verify(self._master_key)
        return await self.good(credential.id)

    async def good(self, key_id: str) -> ApiKey:
        """The key of this id, whose secret or signature was verified. For what goes on behind its answer: asked again.

        Raises `Unauthenticated` for one that is none any more, or `StoreUnavailable`.
        """
        key = await self._find(key_id)
        if key is None:
            raise _invalid()
        if key.revoked_at is not None:
            raise Unauthenticated("the API key was revoked", reason="revoked")
        return key

    async def _find(self, key_id: str) -> ApiKey | None:
        lookup = self._lookups.get(key_id)
        now = self._monotonic()
        if lookup is None or now >= lookup.fresh_until or _failed(lookup.task) or _hangs(lookup, now):
            # Fresh from the start of the look-up, not its end: a revocation after the start is never hidden for longer.
            task = asyncio.ensure_future(self._store.find_key(key_id))
            lookup = self._lookups[key_id] = _Lookup(task, now + self._cache_s, now + _SHARED_S)
        # Shielded: a caller that hangs up must not cancel a look-up that others wait for.
        return await asyncio.shield(lookup.task)


def _hangs(lookup: _Lookup, now: float) -> bool:
    return not lookup.task.done() and now >= lookup.shared_until


def _failed(task: asyncio.Task[ApiKey | None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
