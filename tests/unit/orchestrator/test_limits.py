"""A tenant's limits: which jobs fit, how many requests pass, and that a storage which is away holds nobody up."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config import LimitSettings
from orchestrator.domain.errors import ConfigError, LimitExceeded
from orchestrator.policy.limits import Limits, Standing, admit
from orchestrator.policy.quotas import QUOTAS
from orchestrator.telemetry import metrics
from orchestrator.tenants.rates import RequestRates, TenantLimits, window_of
from tests.support.sockets import free_port

costs = st.floats(0.1, 50)


class Table:
    """Everybody's limits, and how often they were read."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.reads = 0

    async def limits_of(self, tenant: str) -> Limits:
        self.reads += 1
        return self.limits


def rates(per_s: float | None, storage: str = "memory://") -> RequestRates:
    return RequestRates(TenantLimits(Table(Limits(requests_per_s=per_s)), cache_s=60), storage)


async def passed(limiter: RequestRates, count: int, tenant: str = "acme") -> int:
    done = await asyncio.gather(*(limiter.admit(tenant) for _ in range(count)), return_exceptions=True)
    assert all(outcome is None or isinstance(outcome, LimitExceeded) for outcome in done), done
    return sum(outcome is None for outcome in done)


@pytest.mark.parametrize(
    ("most", "wished", "usual", "given"),
    [
        (None, 0, 10, 0), (None, None, 10, 10), (10, 10, 10, 10), (10, 30, 10, 30), (10, None, 20, 20),
        (30, None, 10, 30), (30, 30, 10, 30), (0, 0, 10, 0), (0, None, 10, 10),
    ],
)  # fmt: skip
def test_a_wish_is_had_as_far_as_the_limit_allows_and_no_wish_is_as_usual_or_the_limit(
    most: int | None, wished: int | None, usual: int, given: int
) -> None:
    assert Limits(most_urgent=most).urgency(wished, usual) == given


def test_a_more_urgent_wish_is_refused_by_the_limits_name_and_value() -> None:
    for most, wished in ((10, 9), (10, 0), (30, 10), (100, 99)):
        with pytest.raises(LimitExceeded, match=f"{wished} is more urgent .* most_urgent allows: {most} ") as refused:
            Limits(most_urgent=most).urgency(wished, 10)
        told = refused.value
        assert (told.limit, told.param, told.most, told.used) == ("most_urgent", "priority", most, wished)
        assert told.retry_after_s is None


def test_own_limits_go_before_the_deployments() -> None:
    own = Limits(queued=3, running=math.inf)
    assert own.over(Limits(queued=9, running=2, largest_request=60)) == Limits(
        queued=3, running=math.inf, largest_request=60
    )
    quotas = {name: getattr(LimitSettings(), name) for name in QUOTAS}
    assert LimitSettings(queued=9, storage="redis://host").defaults == Limits(queued=9, most_urgent=10, **quotas)


@given(st.integers(0, 20), st.integers(0, 30), st.lists(costs, max_size=30))
def test_as_many_jobs_are_queued_as_may_be_the_first_ones_first(most: int, queued: int, asked: list[float]) -> None:
    refusals = admit(Limits(queued=most), Standing(queued=queued, gpu_seconds=0, day_left_s=60), asked)
    room = max(0, most - queued)
    assert [refusal is None for refusal in refusals] == [i < room for i in range(len(asked))]


@given(st.floats(0, 200), st.floats(0, 200), st.lists(costs, max_size=30))
def test_a_days_budget_is_never_overdrawn_and_no_job_that_fits_is_refused(
    budget: float, used: float, asked: list[float]
) -> None:
    refusals = admit(Limits(gpu_seconds_per_day=budget), Standing(queued=0, gpu_seconds=used, day_left_s=60), asked)
    for cost, refusal in zip(asked, refusals, strict=True):
        if refusal is None:
            used += cost
            assert used <= budget * (1 + 1e-6)
        else:
            assert used + cost > budget
            assert (refusal.retry_after_s is None) == (cost > budget)


def test_a_budget_of_three_times_a_tenth_has_room_for_three() -> None:
    refusals = admit(Limits(gpu_seconds_per_day=0.3), Standing(queued=0, gpu_seconds=0, day_left_s=1), [0.1] * 4)
    assert [refusal is None for refusal in refusals] == [True, True, True, False]


@pytest.mark.parametrize(
    ("rate", "requests", "seconds"),
    [(1, 1, 1), (2.5, 5, 2), (0.3, 3, 10), (0.5, 1, 2), (0.01, 1, 100), (99.9, 100, 1), (1e-6, 1, 1_000_000)],
)
def test_a_rate_is_so_many_requests_in_so_many_whole_seconds(rate: float, requests: int, seconds: int) -> None:
    window = window_of(rate)
    assert (window.amount, window.get_expiry()) == (requests, seconds)


@given(st.floats(1e-4, 1e5))
def test_a_window_is_never_far_from_its_rate(rate: float) -> None:
    window = window_of(rate)
    assert window.amount / window.get_expiry() == pytest.approx(rate, rel=0.12)


async def test_each_tenant_has_its_own_count_and_is_told_when_to_come_back() -> None:
    limiter = rates(0.2)
    assert await passed(limiter, 10) == 1
    with pytest.raises(LimitExceeded) as refused:
        await limiter.admit("acme")
    assert refused.value.limit == "requests_per_s"
    assert refused.value.retry_after_s is not None
    assert 4 < refused.value.retry_after_s <= 5
    assert await passed(limiter, 10, "other") == 1


async def test_places_in_the_window_come_back() -> None:
    limiter = rates(5)
    assert await passed(limiter, 20) == 5
    with pytest.raises(LimitExceeded) as refused:
        await limiter.admit("acme")
    assert refused.value.retry_after_s is not None
    await asyncio.sleep(refused.value.retry_after_s + 0.01)
    assert await passed(limiter, 20) == 5


@pytest.mark.parametrize("rate", [None, math.inf])
async def test_who_has_no_rate_is_not_counted(rate: float | None) -> None:
    assert await passed(rates(rate, f"redis://127.0.0.1:{free_port()}"), 50) == 50


async def test_limits_are_read_once_while_they_are_fresh() -> None:
    table, moments = Table(Limits(queued=1)), [0.0, 1.9, 2.0, 3.9]
    known = TenantLimits(table, cache_s=2, monotonic=iter(moments).__next__)
    for _ in moments:
        assert await known.of("acme") == table.limits
    assert table.reads == 2


@pytest.fixture
def silent_server() -> Iterator[int]:
    """A port that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("away", ["refuses", "hangs"])
async def test_requests_pass_while_redis_is_away_and_a_metric_says_so(silent_server: int, away: str) -> None:
    limiter = rates(1, f"redis://127.0.0.1:{silent_server if away == 'hangs' else free_port()}")
    before, began = metrics.uncounted_requests._value.get(), time.monotonic()
    assert await passed(limiter, 20) == 20
    for _ in range(20):  # one that was asked in vain spares the others
        await limiter.admit("acme")
    assert metrics.uncounted_requests._value.get() - before == 40
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("storage", ["", "redis", "memcached://x", "https://x", "redis://host:port"])
def test_a_storage_that_cannot_be_used_is_refused_at_start(storage: str) -> None:
    with pytest.raises(ConfigError, match=r"limits\.storage"):
        rates(1, storage)
