"""API keys: `id.secret`, where the secret follows from the master key and the id, so that nothing secret is stored.

A wrong secret is refused before the database is asked, whatever its id: an unknown id and a wrong secret look the same,
in the answer and in the time that it takes.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from orchestrator.domain.errors import Unauthenticated
from orchestrator.ports import ApiKey

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [high + low for high in _BASE62 for low in _BASE62]  # two digits for each division of a large number
_SECRET_LENGTH = 43  # digits that hold 256 bits in base 62
_ID_LENGTH = 16

# One optional scheme word, then exactly one dot. A JWT has two dots and is refused as malformed.
_CREDENTIAL = re.compile(r"(?:(?i:bearer) +)?([A-Za-z0-9_-]{1,64})\.([A-Za-z0-9]{1,128})")


def new_id() -> str:
    """A fresh key id: URL-safe, without a dot."""
    return "".join(secrets.choice(_BASE62) for _ in range(_ID_LENGTH))


def issue(master_key: str, key_id: str) -> str:
    """The whole key of an id, `id.secret`; the same every time."""
    return f"{key_id}.{_secret(master_key, key_id)}"


def parse(authorization: str | None) -> tuple[str, str]:
    """Id and secret from an Authorization header, with or without `Bearer`. Raises `Unauthenticated`."""
    if authorization is None or not authorization.strip():
        raise Unauthenticated("no Authorization header: send 'Authorization: Bearer <key>'", reason="missing")
    match = _CREDENTIAL.fullmatch(authorization.strip())
    if match is None:
        raise Unauthenticated("the Authorization header holds no key of the form id.secret", reason="malformed")
    return match[1], match[2]


def verify(master_key: str, key_id: str, secret: str) -> bool:
    """Whether `secret` is the id's own, in time that does not depend on how much of it is right."""
    return hmac.compare_digest(_secret(master_key, key_id), secret)


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
    """A read of one key, perhaps still under way; its answer is good until `fresh_until` (monotonic seconds)."""

    task: asyncio.Task[ApiKey | None]
    fresh_until: float


class Keyring:
    """Turns Authorization headers into tenants, and asks the database about each key at most every `cache_s` seconds.

    Only ids that come with their right secret are ever looked up, so the cache holds no more entries than keys were
    issued. Requests that arrive during a look-up share it.
    """

    def __init__(
        self, store: KeyFinder, master_key: str, *, cache_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._master_key = master_key
        self._cache_s = cache_s
        self._monotonic = monotonic
        self._lookups: dict[str, _Lookup] = {}

    async def tenant(self, authorization: str | None) -> str:
        """The tenant that an Authorization header speaks for. Raises `Unauthenticated` or `StoreUnavailable`."""
        key_id, secret = parse(authorization)
        if not verify(self._master_key, key_id, secret):
            raise Unauthenticated("the API key is not valid", reason="invalid")
        key = await self._find(key_id)
        if key is None:
            raise Unauthenticated("the API key is not valid", reason="invalid")
        if key.revoked_at is not None:
            raise Unauthenticated("the API key was revoked", reason="revoked")
        return key.tenant

    async def _find(self, key_id: str) -> ApiKey | None:
        lookup = self._lookups.get(key_id)
        now = self._monotonic()
        if lookup is None or now >= lookup.fresh_until or _failed(lookup.task):
            # Fresh from the start of the look-up, not its end: a revocation after the start is never hidden for longer.
            task = asyncio.ensure_future(self._store.find_key(key_id))
            lookup = self._lookups[key_id] = _Lookup(task, now + self._cache_s)
        # Shielded: a caller that hangs up must not cancel a look-up that others wait for.
        return await asyncio.shield(lookup.task)


def _failed(task: asyncio.Task[ApiKey | None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
