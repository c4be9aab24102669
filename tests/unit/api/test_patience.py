"""Patience with readers: a minute of pauses, made up for by reading, never saved up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api.wire.patience import SLOWEST_READ, STALLED_S, Patience


def test_who_reads_nothing_is_cut_after_a_minute() -> None:
    assert Patience().pause(0.0, 10**6) == STALLED_S


def test_sips_do_not_begin_the_minute_anew() -> None:
    patience = Patience()
    for second in range(0, 60, 20):
        patience.pause(second, 65_536)
        patience.resume(second + 20, 65_536 - 16)
    assert patience.pause(60, 65_536) < 1


def test_who_reads_slowly_and_enough_is_never_cut() -> None:
    patience = Patience()
    for second in range(1_000):
        assert patience.pause(second, 65_536) > STALLED_S - 2
        patience.resume(second + 1, 65_536 - SLOWEST_READ)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 10**6)), max_size=50))
def test_however_much_was_read_nobody_may_stop_for_longer_than_a_minute(reads: list[tuple[float, int]]) -> None:
    patience, now = Patience(), 0.0
    for seconds, read in reads:
        patience.pause(now, 10**6)
        now += seconds
        patience.resume(now, 10**6 - read)
    assert 0 <= patience.pause(now, 10**6) <= STALLED_S
