"""Which lines of a batch's file are read together, and how many at a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.batches.input import InputLines, spans
from orchestrator.domain.campaign import Row
from orchestrator.kit.threads import Threads
from orchestrator.ports.campaign_values import Found
from tests.support.bad_items import fake

MIB = 2**20


def row(place: int, at: int | None, size: int) -> Row:
    return Row(place=place, line=place + 1, custom_id=f"{place}", body="", input_at=at, input_size=size)


@given(st.lists(st.tuples(st.integers(0, 200_000), st.integers(1, 9 * MIB)), min_size=1, max_size=30))
def test_lines_are_read_in_few_pieces_each_of_them_small_or_one_line(gaps: list[tuple[int, int]]) -> None:
    rows, at = [], 0
    for place, (gap, size) in enumerate(gaps):
        rows.append(row(place, at + gap, size))
        at += gap + size
    together = spans(reversed(rows))
    assert [each for span in together for each in span] == rows
    for span in together:
        length = span[-1].input_at + span[-1].input_size - span[0].input_at  # type: ignore[operator]
        assert len(span) == 1 or length <= 8 * MIB


async def test_rows_whose_lines_are_too_much_for_the_memory_come_with_the_next_ones() -> None:
    asked: list[tuple[int, int]] = []

    def stream(key: str, *, start: int, end: int) -> list[bytes]:
        asked.append((start, end))
        return [b"x" * (end - start + 1)]

    lines = InputLines(fake(stream=stream), Threads("tests", count=1, deadline_s=9))
    rows = [(100 + place, row(place, place * 20 * MIB, 20 * MIB)) for place in range(3)]
    hold = fake(campaign=fake(input=fake(key="k")))
    first = await lines.load(hold, Found(rows=rows, upto=103, last=True))
    assert (first.rows, first.upto, first.last) == (rows[:1], 101, False)
    assert asked == [(0, 20 * MIB - 1)]
    assert len(lines.of(rows[0][1])) == 20 * MIB
