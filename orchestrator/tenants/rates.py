"""What tenants may ask for, at the edge of the API: requests per second, and which limits hold for whom.

Queued jobs and GPU seconds are counted where jobs are inserted (`store/admission.py`), running ones where they are
claimed (`store/claim.py`): only there can a count be exact.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import ConfigurationError
from limits.storage import storage_from_string

from orchestrator.domain.errors import ConfigError, LimitExceeded
from orchestrator.policy.limits import Limits
from orchestrator.telemetry import logs, metrics

_log = logs.get("limits")

# Counting must not hold up a request; after a failure nobody is counted for a while, rather than each one in vain.
_COUNT_TIMEOUT_S = 0.25
_PAUSE_S = 1.0
_SCHEMES = ("memory://", "redis://", "rediss://")


class LimitFinder(Protocol):
    """The one part of `KeyStore` that finding limits needs."""

    async def limits_of(self, tenant: str) -> Limits: ...


@dataclass(frozen=True, slots=True)
class _Known:
    limits: Limits
    fresh_until: float


class TenantLimits:
    """Each tenant's limits, read again when they are older than `cache_s` seconds."""

    def __init__(self, store: LimitFinder, *, cache_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._cache_s = cache_s
        self._monotonic = monotonic
        self._known: dict[str, _Known] = {}

    async def of(self, tenant: str) -> Limits:
        """What holds for a tenant. Raises `StoreUnavailable`."""
        now = self._monotonic()
        known = self._known.get(tenant)
        if known is None or now >= known.fresh_until:
            known = self._known[tenant] = _Known(await self._store.limits_of(tenant), now + self._cache_s)
        return known.limits


class RequestRates:
    """Counts every authenticated request in a moving window, in `storage`: this process's memory or a Redis.

    Fails open: while the storage does not answer, requests pass and a metric counts them.
    Raises `ConfigError` for a storage that cannot be used.
    """

    def __init__(self, limits: TenantLimits, storage: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._window = _window_in(storage)
        self._monotonic = monotonic
        self._paused_until = -math.inf

    async def admit(self, tenant: str) -> None:
        """Count a request. Raises `LimitExceeded` when it is one too many, or `StoreUnavailable`."""
        rate = (await self._limits.of(tenant)).requests_per_s
        if rate is None or math.isinf(rate):
            return
        wait_s = await self._count(window_of(rate), tenant)
        if wait_s is not None:
            message = f"at most {rate:g} requests per second are allowed"
            raise LimitExceeded(message, limit="requests_per_s", retry_after_s=wait_s)

    async def _count(self, item: RateLimitItem, tenant: str) -> float | None:
        """None when the request fits, or seconds until one will."""
        if self._monotonic() < self._paused_until:
            metrics.uncounted_requests.inc()
            return None
        try:
            async with asyncio.timeout(_COUNT_TIMEOUT_S):
                if await self._window.hit(item, tenant):
                    return None
                # Unix time, from the same clock that the window is kept by.
                return max(0.0, (await self._window.get_window_stats(item, tenant)).reset_time - time.time())
        except Exception as error:  # whatever the storage's driver raises
            self._paused_until = self._monotonic() + _PAUSE_S
            _log.warning("rates_uncounted", error=f"{type(error).__name__}: {error}"[:200])
            metrics.uncounted_requests.inc()
            return None


def window_of(rate: float) -> RateLimitItem:
    """Requests in how many whole seconds: a rate's nearest fraction with a window of at most 10 s, or one request.

    2.5 per second are 5 in 2 s; 0.01 are 1 in 100 s. Rates of 10 and more are rounded.
    """
    if rate >= 10:
        return RateLimitItemPerSecond(round(rate), 1)
    if rate < 0.1:
        return RateLimitItemPerSecond(1, math.ceil(1 / rate))
    fraction = Fraction(rate).limit_denominator(10)
    return RateLimitItemPerSecond(fraction.numerator, fraction.denominator)


def check_storage(storage: str) -> None:
    """Raise `ConfigError` for a storage that can never be used."""
    _window_in(storage)


def _window_in(storage: str) -> MovingWindowRateLimiter:
    if not storage.startswith(_SCHEMES):
        raise ConfigError(f"limits.storage: must begin with {', '.join(_SCHEMES)}, not {storage.split('@')[-1]!r}")
    options = {} if storage.startswith("memory") else {"implementation": "redispy", "key_prefix": "cogmill"}
    try:
        return MovingWindowRateLimiter(storage_from_string(f"async+{storage}", **options))
    except (ConfigurationError, ValueError) as error:
        raise ConfigError(f"limits.storage: {error}") from error
