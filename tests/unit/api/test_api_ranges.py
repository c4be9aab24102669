"""Range headers against a model of three lines: the bytes that a slice would give."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.wire.ranges import NotSatisfiable, parse_range

SIZE = st.integers(min_value=1, max_value=50)
PLACE = st.integers(min_value=0, max_value=60)


def sent(header: str, size: int) -> list[int]:
    """Which byte positions of an object of `size` bytes the header selects."""
    try:
        found = parse_range(header, size)
    except NotSatisfiable:
        return []
    assert found is not None
    assert found.length == found.end - found.start + 1
    return list(range(found.start, found.end + 1))


@given(SIZE, PLACE)
def test_from_a_place_to_the_end(size: int, first: int) -> None:
    assert sent(f"bytes={first}-", size) == list(range(size))[first:]


@given(SIZE, PLACE, PLACE)
def test_from_a_place_to_another_which_may_lie_behind_the_end(size: int, first: int, more: int) -> None:
    assert sent(f"bytes={first}-{first + more}", size) == list(range(size))[first : first + more + 1]


@given(SIZE, st.integers(min_value=1, max_value=60))
def test_the_last_bytes(size: int, last: int) -> None:
    assert sent(f"bytes=-{last}", size) == list(range(size))[-last:]


def test_no_last_bytes_and_an_empty_object_satisfy_nothing() -> None:
    assert sent("bytes=-0", 10) == []
    assert sent("bytes=0-", 0) == []


@pytest.mark.parametrize(
    "header", [None, "", "bytes=-", "bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b", "bytes=" + "9" * 5000 + "-"]
)
def test_what_is_no_single_range_of_bytes_means_the_whole_object(header: str | None) -> None:
    assert parse_range(header, 10) is None


@given(st.text())
def test_no_header_breaks_the_parser(header: str) -> None:
    assert parse_range("bytes=0-" + header, 10) is None or sent("bytes=0-" + header, 10)
