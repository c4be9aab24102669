"""API keys: `id.secret`, where the secret follows from a master key and the id, so that nothing secret is stored.

An id begins with `cgm_`, and its secret ends in a checksum: who looks for keys in what was published by mistake knows
one when they see it, and takes nothing else for one. Keys of before, which have neither, are as good as ever.

A caller sends the key itself, or a JSON Web Token signed with its secret, as the bigmodel SDKs do. What is wrong is
refused before the database is asked, whatever its id: an unknown id and a wrong secret look the same, in the answer and
in the time that it takes.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import jwt
from jwt.utils import base64url_decode

from orchestrator.domain import jsontext
from orchestrator.domain.errors import Unauthenticated
from orchestrator.domain.masters import Ring

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [high + low for high in _BASE62 for low in _BASE62]  # two digits for each division of a large number
_SECRET_LENGTH = 43  # digits that hold 256 bits in base 62
_ID_LENGTH = 16
# As GitHub's: six digits of CRC-32 in base 62 (github.blog, "Behind GitHub's new authentication token formats").
PREFIX = "cgm_"
_CHECKSUM_LENGTH = 6

_ID = r"[A-Za-z0-9_-]{1,64}"
# One optional scheme word; then one dot between id and secret, or a token's three parts.
_CREDENTIAL = re.compile(
    rf"(?:(?i:bearer) +)?(?:(?P<id>{_ID})\.(?P<secret>[A-Za-z0-9]{{1,128}})"
    r"|(?P<token>[A-Za-z0-9_-]{1,1024}\.[A-Za-z0-9_-]{1,1024}\.[A-Za-z0-9_-]{1,128}))"
)

# A token's `exp` counts milliseconds, which PyJWT would take for seconds and never find expired. We compare it.
_CHECKS: jwt.types.Options = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}
# How long a token can be used after its timestamp; and how far ahead that may be, as its maker's clock may. The SDKs
# sign with the time that it is, and use a token for three minutes (zhipuai and zai-sdk, `core/_jwt_token.py`).
_MAX_AGE_S = 600
_MAX_AHEAD_S = 60
_MAX_MILLISECONDS = 1e15  # in the year 33658; also false of NaN, and of what no float can hold


def new_id() -> str:
    """A fresh key id: URL-safe, without a dot."""
    return PREFIX + "".join(secrets.choice(_BASE62) for _ in range(_ID_LENGTH))


def issue(master_key: str, key_id: str) -> str:
    """The whole key of an id, `id.secret`; the same every time."""
    return f"{key_id}.{_secret(master_key, key_id)}"


def is_id(text: str) -> bool:
    """Whether a key might have this id."""
    return re.fullmatch(_ID, text) is not None


@dataclass(frozen=True, slots=True)
class Key:
    """The whole key, as its owner holds it."""

    id: str
    secret: str

    def verify(self, ring: Ring) -> int:
        """The generation that its secret follows from: it is good only if its row says the same.

        Raises `Unauthenticated`, in time that depends neither on how much of the secret is right nor on the generation.
        """
        matches = [hmac.compare_digest(_secret(master.key, self.id), self.secret) for master in ring.masters]
        return _matched(ring, matches, invalid())


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

    def verify(self, ring: Ring, now: float) -> int:
        """The generation that the secret behind its signature follows from, as of a whole key.

        Raises `Unauthenticated` for a wrong signature, and for a token that is expired or too old or too new.
        """
        matches = [self._signed_with(_secret(master.key, self.id)) for master in ring.masters]
        wrong = Unauthenticated("the token's signature is not valid", reason="unverified")
        generation = _matched(ring, matches, wrong)
        if now >= self.expires_at:
            raise Unauthenticated("the token is expired ('exp' counts milliseconds)", reason="expired")
        if now - self.made_at > _MAX_AGE_S:
            message = f"the token's timestamp is more than {_MAX_AGE_S // 60} minutes ago"
            raise Unauthenticated(message, reason="expired")
        if self.made_at - now > _MAX_AHEAD_S:
            message = f"the token's timestamp is more than {_MAX_AHEAD_S} seconds ahead of this server's clock"
            raise Unauthenticated(message, reason="unverified")
        return generation

    def _signed_with(self, secret: str) -> bool:
        try:
            jwt.decode(self.text, secret, algorithms=["HS256"], options=_CHECKS)
        except jwt.InvalidTokenError:
            return False
        return True


def parse(authorization: str | None) -> Key | Token:
    """The credential in an Authorization header, with or without `Bearer`, unverified. Raises `Unauthenticated`."""
    if authorization is None or not authorization.strip():
        raise Unauthenticated("no Authorization header: send 'Authorization: Bearer <key>'", reason="missing")
    match = _CREDENTIAL.fullmatch(authorization.strip())
    if match is None:
        raise Unauthenticated("the Authorization header holds no key of the form id.secret", reason="malformed")
    return Key(match["id"], match["secret"]) if match["token"] is None else _token(match["token"])


def claimed_id(authorization: str | None) -> str | None:
    """Whose key an Authorization header claims to hold; None where it holds none. Nothing is verified."""
    try:
        return parse(authorization).id
    except Unauthenticated:
        return None


def _token(text: str) -> Token:
    try:
        for part in text.split(".")[:2]:  # PyJWT reads both as JSON, now and when the signature is verified
            jsontext.check_depth(base64url_decode(part).decode("latin-1"))
        claims = jwt.decode(text, options={**_CHECKS, "verify_signature": False})
    except (jwt.InvalidTokenError, ValueError):
        raise Unauthenticated("the token is no JSON Web Token", reason="malformed") from None
    key_id = claims.get("api_key")
    if not isinstance(key_id, str) or not is_id(key_id):
        raise Unauthenticated("the token's 'api_key' is no key's id", reason="malformed")
    return Token(key_id, _seconds(claims, "exp"), _seconds(claims, "timestamp"), text)


def _seconds(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MAX_MILLISECONDS:
        raise Unauthenticated(f"the token's {name!r} is no number of milliseconds", reason="malformed")
    return value / 1000


def invalid() -> Unauthenticated:
    """What is said of a wrong secret, and of an id that nobody has."""
    return Unauthenticated("the API key is not valid", reason="invalid")


def _matched(ring: Ring, matches: list[bool], wrong: Unauthenticated) -> int:
    """The generation that matched; raises `wrong` where none did."""
    for generation, matched in zip(ring.generations, matches, strict=True):
        if matched:
            return generation
    raise wrong


def _secret(master_key: str, key_id: str) -> str:
    """What the owner of a key holds behind its dot."""
    secret = _digits(int.from_bytes(hmac.digest(master_key.encode(), key_id.encode(), "sha256")), _SECRET_LENGTH)
    return secret + _checksum(f"{key_id}.{secret}") if key_id.startswith(PREFIX) else secret


def _checksum(text: str) -> str:
    return _digits(crc32(text.encode()), _CHECKSUM_LENGTH)


def _digits(number: int, length: int) -> str:
    pairs = []
    for _ in range((length + 1) // 2):
        number, pair = divmod(number, len(_PAIRS))
        pairs.append(_PAIRS[pair])
    return "".join(reversed(pairs))[-length:]
