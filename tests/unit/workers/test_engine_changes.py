"""Versions and long polls: nothing is missed, and a tiny model's steps do not flood."""

from __future__ import annotations

import asyncio
import threading

from workers.engine.changes import Changes


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_urgent_change_is_a_new_version_at_once() -> None:
    changes = Changes(clock=Hand())
    before = changes.version
    changes.urgent()
    assert changes.version == before + 1


def test_progress_becomes_a_version_only_when_the_last_one_is_old_enough() -> None:
    hand = Hand()
    changes = Changes(every_s=0.25, clock=hand)
    before = changes.version
    for _ in range(100):
        changes.progress()
    assert changes.version == before
    hand.now += 0.25
    assert changes.version == before + 1
    hand.now += 10
    assert changes.version == before + 1, "one burst is one version"


def test_an_urgent_change_takes_the_progress_before_it_along() -> None:
    hand = Hand()
    changes = Changes(every_s=0.25, clock=hand)
    before = changes.version
    changes.progress()
    changes.urgent()
    hand.now += 1
    assert changes.version == before + 1


async def test_a_wait_for_a_version_that_is_past_returns_at_once() -> None:
    changes = Changes()
    await asyncio.wait_for(changes.wait(changes.version - 1, 60), 5)


async def test_a_wait_ends_after_its_timeout_without_a_change() -> None:
    changes = Changes()
    before = changes.version
    await asyncio.wait_for(changes.wait(before, 0.01), 5)
    assert changes.version == before


async def test_lone_progress_wakes_a_wait_when_it_is_due() -> None:
    changes = Changes(every_s=0.02)
    before = changes.version
    changes.progress()
    await asyncio.wait_for(changes.wait(before, 60), 5)
    assert changes.version == before + 1


async def test_no_change_from_another_thread_is_missed() -> None:
    """Each change waits for the poll before it to return, so one lost wake-up would hang until the timeout."""
    changes = Changes()
    seen_by_poll = threading.Semaphore(0)

    def announce() -> None:
        for _ in range(500):
            changes.urgent()
            assert seen_by_poll.acquire(timeout=10)

    first = changes.version
    thread = threading.Thread(target=announce)
    thread.start()
    for version in range(first, first + 500):
        await asyncio.wait_for(changes.wait(version, 60), 10)
        assert changes.version == version + 1
        seen_by_poll.release()
    await asyncio.to_thread(thread.join)


async def test_every_wait_hears_of_a_change() -> None:
    changes = Changes()
    waits = [asyncio.create_task(changes.wait(changes.version, 60)) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.to_thread(changes.urgent)
    await asyncio.wait_for(asyncio.gather(*waits), 5)
