"""What renders have taught, kept: by several dispatchers at once, over a restart, and bounded."""

from __future__ import annotations

import asyncio

from orchestrator.learning.book import FRESH_S, Book, Models
from orchestrator.policy.prediction import Key, Lesson, Past
from orchestrator.store import Store
from tests.support.builders import a_spec
from tests.support.postgres import Clock

KEY = Key.of(a_spec(), kind="small", revision="tiny-2b:here")
ADAPTED = Key.of(a_spec(adapter='ink "é\\'), kind="small")


def lessons(*ratios: float, key: Key = KEY) -> list[Lesson]:
    return [Lesson(key=key, ratio=ratio) for ratio in ratios]


async def only(store: Store) -> Past:
    (found,) = await store.learned()
    return found


async def test_the_last_ratios_of_each_kind_of_render_are_kept_the_newest_first(store: Store, clock: Clock) -> None:
    await store.learn([], keep=3)
    assert await store.learned() == []
    await store.learn([*lessons(1.0, 2.0), *lessons(9.0, key=ADAPTED)], keep=3)
    await clock.advance(60)
    await store.learn(lessons(3.0, 4.0), keep=3)
    found = {past.key: past for past in await store.learned()}
    assert {key: past.ratios for key, past in found.items()} == {KEY: (4.0, 3.0, 2.0), ADAPTED: (9.0,)}
    newest, newer, older = found[KEY].seen
    assert newest == newer
    assert newest - older >= 60
    await store.learn(lessons(*map(float, range(10, 20))), keep=2)
    assert {past.key: past.ratios for past in await store.learned()}[KEY] == (19.0, 18.0)


async def test_dispatchers_that_learn_of_one_key_at_once_lose_nothing(store: Store, database_url: str) -> None:
    async with Store.open(database_url) as other:
        both = [lessons(float(n), key=KEY) + lessons(float(n), key=ADAPTED) for n in range(1, 21)]
        writers = (store, other)
        # Each batch names both keys, in either order: nobody waits in a circle.
        await asyncio.gather(
            *(writers[n % 2].learn(batch if n % 3 else batch[::-1], keep=100) for n, batch in enumerate(both))
        )
    for past in await store.learned():
        assert sorted(past.ratios) == [float(n) for n in range(1, 21)]


async def test_what_was_written_is_read_by_another_process_and_after_a_restart(store: Store, database_url: str) -> None:
    now = 0.0
    async with Store.open(database_url) as other:
        book = Book(Models({}, {}), other, monotonic=lambda: now)
        assert (await book.known()).ratio(KEY).samples == 0
        await store.learn(lessons(2.0, 2.0, 2.0, 2.0), keep=31)
        assert (await book.known()).ratio(KEY).samples == 0, "asked a moment ago"
        now = FRESH_S
        assert (await book.known()).ratio(KEY).likely == 2.0
    async with Store.open(database_url) as after:
        assert (await Book(Models({}, {}), after).known()).ratio(KEY).likely == 2.0


async def test_what_nobody_renders_any_more_is_forgotten_and_of_too_many_the_longest_unseen(
    store: Store, clock: Clock
) -> None:
    keys = [Key.of(a_spec(num_inference_steps=steps)) for steps in range(1, 6)]
    for key in keys:
        await store.learn(lessons(1.0, key=key), keep=9)
        await clock.advance(10)
    await store.learn(lessons(1.0, key=keys[0]), keep=9)
    assert await store.prune_learned(keep_s=35, most=100) == 1
    assert {past.key for past in await store.learned()} == {keys[0], *keys[2:]}
    assert await store.prune_learned(keep_s=1000, most=2) == 2
    assert {past.key for past in await store.learned()} == {keys[0], keys[4]}
