"""A reading: seldom, by one at a time, and never in the way of whoever asks when it fails."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.domain.errors import StoreUnavailable
from orchestrator.kit.readings import Reading
from orchestrator.telemetry import metrics


class Source:
    """What is read: the number of the reading, unless it fails."""

    def __init__(self) -> None:
        self.now = 100.0
        self.asked = 0
        self.fails: Exception | None = None
        self.silent = False

    async def read(self) -> int:
        self.asked += 1
        await asyncio.sleep(0)
        if self.silent:
            await asyncio.Event().wait()
        if self.fails is not None:
            raise self.fails
        return self.asked

    def reading(self, patience_s: float = 30.0) -> Reading[int]:
        return Reading("test", self.read, 0, fresh_s=10.0, patience_s=patience_s, monotonic=lambda: self.now)


async def test_it_is_read_once_for_all_who_ask_until_it_is_too_old() -> None:
    source = Source()
    reading = source.reading()
    assert reading.last == 0
    assert await asyncio.gather(*(reading.now() for _ in range(20))) == [1] * 20
    source.now += 9.9
    assert (await reading.now(), source.asked) == (1, 1)
    source.now += 0.1
    assert (await reading.now(), reading.last, source.asked) == (2, 2, 2)
    reading.expire()
    assert await reading.now() == 3


@pytest.mark.parametrize("error", [StoreUnavailable("away"), ValueError("nobody foresaw it")])
async def test_what_was_known_holds_on_while_it_fails_and_nobody_tries_again_at_once(error: Exception) -> None:
    source = Source()
    reading = source.reading()
    await reading.now()
    source.now, source.fails = source.now + 10, error
    assert [await reading.now() for _ in range(5)] == [1] * 5
    assert source.asked == 2
    source.now, source.fails = source.now + 10, None
    assert await reading.now() == 3


async def test_what_does_not_answer_is_waited_for_once() -> None:
    source = Source()
    reading = source.reading(patience_s=0.01)
    source.silent = True
    assert await asyncio.gather(*(reading.now() for _ in range(5))) == [0] * 5
    assert source.asked == 1


async def test_what_nobody_foresaw_leaves_evidence_and_a_store_that_is_away_does_not() -> None:
    def counted() -> float:
        return float(metrics.parked.labels("test")._value.get())

    source, before = Source(), counted()
    source.fails = StoreUnavailable("away")
    reading = source.reading()
    await reading.now()
    assert counted() == before
    source.now, source.fails = source.now + 10, ValueError("nobody foresaw it")
    await reading.now()
    assert counted() == before + 1


async def test_who_gives_up_waiting_leaves_it_to_the_next() -> None:
    source = Source()
    reading = source.reading()
    source.silent = True
    asking = asyncio.create_task(reading.now())
    await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    source.silent, source.now = False, source.now + 10
    assert await reading.now() == 2
