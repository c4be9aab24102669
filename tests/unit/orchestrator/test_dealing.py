"""Who of a claim's jobs gets which worker: warm pairs first, everybody a seat of its own, in order where nothing tells.

That the claim does the same is held by tests/simulation/test_dealing.py.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.warmth import COLD, Warmth
from orchestrator.policy.dealing import Wish, deal

shapes = st.sampled_from(["wide", "tall"])
adapters = st.sampled_from(["ink", "clay", "lace"])
wishes = st.builds(Wish, shape=shapes, adapter=st.none() | adapters)
seats = st.builds(Warmth, shape=st.none() | shapes, adapters=st.lists(adapters, max_size=2, unique=True).map(tuple))
# No more jobs than seats.
tables = st.lists(seats, max_size=6).flatmap(
    lambda found: st.tuples(st.lists(wishes, max_size=len(found)), st.just(found))
)


def warmth(wish: Wish, seat: Warmth) -> tuple[bool, bool]:
    return wish.adapter is not None and wish.adapter in seat.adapters, wish.shape == seat.shape


@given(tables)
def test_each_job_gets_a_seat_of_its_own(table: tuple[list[Wish], list[Warmth]]) -> None:
    jobs, places = table
    dealt = deal(jobs, places)
    assert len(dealt) == len(set(dealt)) == len(jobs)
    assert set(dealt) <= set(range(len(places)))


@given(tables)
def test_nobody_is_cold_for_whom_a_warmer_seat_stays_free(table: tuple[list[Wish], list[Warmth]]) -> None:
    jobs, places = table
    dealt = deal(jobs, places)
    free = [seat for place, seat in enumerate(places) if place not in dealt]
    for wish, place in zip(jobs, dealt, strict=True):
        assert all(warmth(wish, seat) <= warmth(wish, places[place]) for seat in free)


@given(tables)
def test_no_two_jobs_would_both_be_warmer_in_each_others_seats(table: tuple[list[Wish], list[Warmth]]) -> None:
    jobs, places = table
    dealt = deal(jobs, places)
    for one, here in zip(jobs, dealt, strict=True):
        for other, there in zip(jobs, dealt, strict=True):
            both = warmth(one, places[there]) > warmth(one, places[here])
            assert not (both and warmth(other, places[here]) > warmth(other, places[there]))


@given(st.lists(wishes, max_size=6), st.integers(0, 3))
def test_where_nothing_is_known_of_the_workers_they_are_dealt_in_order(jobs: list[Wish], more: int) -> None:
    assert deal(jobs, [COLD] * (len(jobs) + more)) == list(range(len(jobs)))


def test_an_adapter_is_worth_more_than_a_shape_and_both_most() -> None:
    ink, clay = Wish(shape="wide", adapter="ink"), Wish(shape="wide", adapter="clay")
    wide, both = Warmth(shape="wide"), Warmth(shape="wide", adapters=("ink",))
    tall = Warmth(shape="tall", adapters=("ink", "clay"))
    assert deal([ink], [wide, tall]) == [1]
    assert deal([ink], [wide, tall, both]) == [2]
    assert deal([clay, ink], [both, tall]) == [1, 0]
    assert deal([Wish(shape="wide"), ink], [both, wide]) == [1, 0]
