"""An issuer's public keys: which are known, how old they are, and when the issuer is asked again.

However many ask at once, they share one call of the issuer; and whatever they ask for, the next call does not begin
before `again_s` have passed since the last one began. So neither made-up key ids nor an issuer that is away cost more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from orchestrator.domain.errors import IssuerUnavailable, Unauthenticated
from orchestrator.ports.issuers import Fetch
from orchestrator.telemetry import logs

_log = logs.get("oidc")

# Of one issuer; more are not looked at.
_MAX_KEYS = 100
_MIN_RSA_BITS = 2048
# Which kinds of keys an algorithm has, by its first two letters (RFC 7518, section 6.1; RFC 8037).
_KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


@dataclass(slots=True)
class _Known:
    """What the issuer said, and when it was asked, in monotonic seconds."""

    asked_at: float
    entries: list[Mapping[str, Any]]
    # Read once, by id and algorithm.
    read: dict[tuple[str | None, str], jwt.PyJWK] = field(default_factory=dict)

    def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key of this id for this algorithm; of no id, the only one there is."""
        if (known := self.read.get((kid, algorithm))) is not None:
            return known
        fitting = [each for each in self.entries if _fits(each, kid, algorithm)]
        if not fitting or (kid is None and len(fitting) > 1):
            return None
        key = _read(fitting[0], algorithm)
        if key is not None:
            self.read[kid, algorithm] = key
        return key


class KeySet:
    """`name` is the issuer's; `fetch` asks it for its keys, and raises `IssuerUnavailable` within its time."""

    def __init__(
        self,
        name: str,
        fetch: Fetch,
        *,
        fresh_s: float,
        again_s: float,
        stale_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._fetch = fetch
        self._fresh_s = fresh_s
        self._again_s = again_s
        self._stale_s = stale_s
        self._monotonic = monotonic
        self._known: _Known | None = None
        self._asking: asyncio.Task[None] | None = None
        self._asked_at: float | None = None
        self._failed = False

    async def key(self, kid: str | None, algorithm: str) -> jwt.PyJWK:
        """The issuer's key of this id. Raises `Unauthenticated`, or `IssuerUnavailable`."""
        if (age := self._age()) >= self._fresh_s:
            # An issuer that was away when it was last asked holds nobody up again.
            await self._ask(wait=not self._failed or age >= self._stale_s)
        found = self._find(kid, algorithm)
        if found is None:
            await self._ask()
            found = self._find(kid, algorithm)
        if found is not None:
            return found
        if self._failed:
            raise self._away()
        raise Unauthenticated("the token is signed with a key that its issuer does not show", reason="unverified")

    def _age(self) -> float:
        return float("inf") if self._known is None else self._monotonic() - self._known.asked_at

    def _find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Raises `IssuerUnavailable` where what is known is too old."""
        if self._known is None or self._age() >= self._stale_s:
            raise self._away()
        return self._known.find(kid, algorithm)

    async def _ask(self, *, wait: bool = True) -> None:
        """Wait for what the issuer says now, if it is time to ask; who comes meanwhile waits for the same."""
        now = self._monotonic()
        if self._asking is None and (self._asked_at is None or now - self._asked_at >= self._again_s):
            self._asked_at = now
            self._asking = asyncio.create_task(self._refresh(now))
        if self._asking is not None and wait:
            # Shielded: a caller that hangs up must not cancel what others wait for.
            await asyncio.shield(self._asking)

    async def _refresh(self, now: float) -> None:
        try:
            self._known = _Known(now, _entries(await self._fetch()))
            self._failed = False
        except Exception as error:  # whatever it is, those who wait get an answer
            self._failed = True
            said = str(error) if isinstance(error, IssuerUnavailable) else f"{type(error).__name__}: {error}"
            _log.warning("issuer_unavailable", issuer=self._name, error=said[:200])
        finally:
            self._asking = None

    def _away(self) -> IssuerUnavailable:
        return IssuerUnavailable(f"the issuer {self._name!r} does not answer, so its tokens cannot be checked now")


def _entries(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The keys of a key set (RFC 7517, section 5). Raises `IssuerUnavailable` for what is none."""
    keys = said.get("keys")
    if not isinstance(keys, list):
        raise IssuerUnavailable("what it answers is no set of keys")
    return [each for each in keys[:_MAX_KEYS] if isinstance(each, Mapping)]


def _fits(entry: Mapping[str, Any], kid: str | None, algorithm: str) -> bool:
    """Whether it is the public key of this id, to check signatures with, by this algorithm."""
    return (
        (kid is None or entry.get("kid") == kid)
        and entry.get("kty") == _KINDS.get(algorithm[:2])
        and entry.get("use", "sig") == "sig"
        and entry.get("alg", algorithm) == algorithm
        and "d" not in entry  # a secret key that is shown is nobody's any more
    )


def _read(entry: Mapping[str, Any], algorithm: str) -> jwt.PyJWK | None:
    try:
        key = jwt.PyJWK(dict(entry), algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    return None if getattr(key.key, "key_size", _MIN_RSA_BITS) < _MIN_RSA_BITS and entry["kty"] == "RSA" else key
