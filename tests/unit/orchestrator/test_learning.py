"""What a dispatcher notes of finished renders: written when the database is back, and shown as metrics."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from prometheus_client import REGISTRY

from orchestrator.config import Settings
from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.errors import StoreUnavailable
from orchestrator.learning.book import FRESH_S, Book, Models
from orchestrator.learning.lessons import Lessons
from orchestrator.policy.prediction import Key, Lesson, Past, WorkerKind
from tests.support.api import api_settings
from tests.support.builders import a_claim, a_result, a_spec

MODELS = Models({"tiny-2b": FAMILIES["tiny-2b"]}, {})


class Shelf:
    """Stands in for the store."""

    def __init__(self) -> None:
        self.away = False
        self.written: list[Lesson] = []

    async def learn(self, lessons: Sequence[Lesson], *, keep: int) -> None:
        if self.away:
            raise StoreUnavailable("away")
        self.written += lessons

    async def learned(self) -> list[Past]:
        return [Past(key=lesson.key, ratios=[lesson.ratio], seen=[0.0]) for lesson in self.written[:1]]

    async def prune_learned(self, *, keep_s: float, most: int) -> int:
        return 0


def shown(name: str, pool: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"pool": pool, "model": "tiny-2b"})


async def test_what_was_taken_while_the_database_was_away_is_written_when_it_is_back() -> None:
    shelf = Shelf()
    lessons = Lessons(Book(MODELS, shelf), shelf)
    for seconds in (1.0, 2.0):
        lessons.take(a_claim(), a_result(gpu_seconds=seconds))
    lessons.take(a_claim(spec=a_spec(model="not configured any more")), a_result())
    shelf.away = True
    with pytest.raises(StoreUnavailable):
        await lessons.write()
    lessons.take(a_claim(), a_result(gpu_seconds=4.0))
    shelf.away = False
    assert await lessons.write() == 3
    first, second, third = (lesson.ratio for lesson in shelf.written)
    assert [second, third] == pytest.approx([2 * first, 4 * first])


async def test_how_far_off_a_prediction_was_is_counted_by_what_was_known_when_the_render_ended() -> None:
    shelf, now = Shelf(), 0.0
    book = Book(MODELS, shelf, monotonic=lambda: now)
    lessons, prior_s = Lessons(book, shelf), book.prior_s(a_spec())
    assert prior_s is not None
    for _ in range(2):
        lessons.take(a_claim(pool="learns"), a_result(gpu_seconds=3 * prior_s))
        await lessons.write()
        now += FRESH_S
        await lessons.read()
    assert shown("cogmill_prediction_error_ratio_count", "learns") == 2
    assert shown("cogmill_prediction_error_ratio_sum", "learns") == pytest.approx(3 + 1)
    assert shown("cogmill_prediction_learned_ratio", "learns") == pytest.approx(3)


async def test_a_render_teaches_of_its_kind_of_worker_and_its_pool_what_the_reference_kind_would_take() -> None:
    shelf, claim = Shelf(), a_claim()
    kinds = {"small/big": WorkerKind(pool="small", speed=4.0)}
    book = Book(Models(MODELS.families, {}, kinds, lambda pool, worker: "small/big"), shelf)
    lessons, prior_s = Lessons(book, shelf), book.prior_s(claim.spec)
    assert prior_s is not None
    assert book.seconds_of(claim) == pytest.approx(prior_s / 4), "as it is configured, before anybody has read"
    lessons.take(claim, a_result(gpu_seconds=prior_s))
    await lessons.write()
    assert shelf.written == [Lesson(key=Key.of(claim.spec, kind="small/big"), ratio=pytest.approx(1.0))]
    known = await book.known()
    assert book.seconds_of(claim) == pytest.approx(prior_s)
    assert known.ratio(Key.of(claim.spec, kind="small")).likely == pytest.approx(4.0)
    assert known.models() == [("tiny-2b", "small")]


def test_the_kinds_of_workers_are_those_of_the_configuration() -> None:
    plain = api_settings("postgresql://x/y").model_dump()
    kinds = {"spot": {"max": 9, "speed": 2.0}, "firm": {"max": 2}}
    pools = {"main": {"model": "tiny-2b", "kinds": kinds}, "small": {"model": "tiny-2b"}}
    models = Models.of(Settings.model_validate(plain | {"pools": pools}))
    assert models.kinds == {
        "main/spot": WorkerKind(pool="main", speed=2.0), "main/firm": WorkerKind(pool="main", speed=1.0),
    }  # fmt: skip
    assert [models.kind_of(*worker) for worker in (("main", "main-spot-3"), ("small", "small-0"))] == [
        "main/spot", "small",
    ]  # fmt: skip
