"""What the server signs into a browser's cookies, and the tokens that follow from it. Pure.

Each kind of text is signed for its own purpose: none passes for another's, and none for an API key's secret, since no
id of a key has a colon. A row, or the text itself, says nothing of the key that signed: all in the ring are tried.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from enum import StrEnum

from orchestrator.domain.masters import Ring

# The most that is looked at of a cookie. Browsers keep 4096 bytes of one (RFC 6265, section 6.1).
MAX_CHARS = 4096
_RANDOM_BYTES = 32


class Purpose(StrEnum):
    """What something is signed for."""

    SESSION = "console:session"
    # What a page must say with whatever it changes.
    CSRF = "console:csrf"
    # A sign-in with an issuer that has begun; and what it says there.
    SIGN_IN = "console:sign-in"
    STATE = "console:state"
    NONCE = "console:nonce"
    VERIFIER = "console:verifier"


def new_secret() -> str:
    """A fresh one: 256 bits, URL-safe."""
    return secrets.token_urlsafe(_RANDOM_BYTES)


def digest_of(secret: str) -> str:
    """What the database knows of a secret: nobody who reads it can say the secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def derive(master_key: str, purpose: Purpose, text: str) -> str:
    """What follows from a text for a purpose, and from it nobody without the master key: 43 URL-safe characters."""
    made = hmac.digest(master_key.encode(), f"{purpose}:{text}".encode(), "sha256")
    return urlsafe_b64encode(made).rstrip(b"=").decode()


def sign(master_key: str, purpose: Purpose, text: str) -> str:
    """The text with its signature behind a dot."""
    return f"{text}.{derive(master_key, purpose, text)}"


def verify(ring: Ring, purpose: Purpose, signed: str) -> tuple[str, int] | None:
    """The text and the generation that signed it; None for what none of the ring has."""
    text, dot, signature = signed.rpartition(".")
    if not dot or len(signed) > MAX_CHARS or not signed.isascii():
        return None
    # All of them, always: the time tells nothing of the generation.
    matches = [hmac.compare_digest(derive(each.key, purpose, text), signature) for each in ring.masters]
    return next(((text, each.generation) for each, matched in zip(ring.masters, matches, strict=True) if matched), None)


def same(said: str | None, due: str) -> bool:
    """Whether a token is the one that is due, in time that tells nothing of how much of it is right."""
    return said is not None and hmac.compare_digest(said.encode("utf-8", "replace"), due.encode())
