"""Request rates in a real Redis: one count for all API processes, which goes on when Redis comes back."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.domain.errors import LimitExceeded
from orchestrator.policy.limits import Limits
from orchestrator.tenants.rates import RequestRates, TenantLimits
from tests.support.sockets import free_port
from tests.support.tools import need


class Table:
    async def limits_of(self, tenant: str) -> Limits:
        return Limits(requests_per_s=0.2)


class Redis:
    def __init__(self, program: Path, directory: Path) -> None:
        self.port, self._program, self._directory = free_port(), program, directory
        self.url = f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._directory)]
        self._process = subprocess.Popen([self._program, *options], stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(need("redis-server"), tmp_path)
    server.start()
    yield server
    server.stop()


async def passes(rates: RequestRates, tenant: str) -> bool:
    try:
        await rates.admit(tenant)
    except LimitExceeded as refused:
        return not (refused.retry_after_s and 0 < refused.retry_after_s <= 5)
    return True


async def counting(rates: RequestRates) -> None:
    """Wait until requests are counted: Redis needs a moment to start, and a failure makes a pause."""
    deadline = time.monotonic() + 10
    while await passes(rates, "nobody"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_processes_share_one_count_and_find_redis_again(redis: Redis) -> None:
    first, second = (RequestRates(TenantLimits(Table(), cache_s=60), redis.url) for _ in range(2))
    await counting(first)
    await counting(second)
    assert [await passes(rates, "acme") for rates in (first, second, first, second)] == [True, False, False, False]
    redis.stop()
    assert [await passes(rates, "acme") for rates in (first, second)] == [True, True]
    redis.start()
    await counting(first)
    await counting(second)
    assert [await passes(rates, "acme") for rates in (second, first)] == [True, False]
