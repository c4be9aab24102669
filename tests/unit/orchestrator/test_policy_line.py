"""A line gives its jobs in the order of their claim, and is what it was after others were made of it."""

from __future__ import annotations

import math
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.policy.line import Line, Waiting

deadlines = st.lists(st.sampled_from([1.0, 2.0, math.inf]), max_size=30)


def jobs(deadlines: list[float], *, start: int = 0) -> list[Waiting]:
    return [Waiting(id=UUID(int=start + i), cost=1.0, deadline=when) for i, when in enumerate(deadlines)]


def ordered(jobs: list[Waiting]) -> list[Waiting]:
    return sorted(jobs, key=lambda job: (job.deadline, job.id))


@given(deadlines, deadlines, st.integers(0, 40), st.integers(0, 40))
def test_it_is_a_sorted_list_that_never_changes(first: list[float], later: list[float], taken: int, seen: int) -> None:
    there, coming = jobs(first), jobs(later, start=100)
    before = Line(there)
    left = before.after(taken)
    after = left.joined(coming)
    assert list(before) == ordered(there)
    assert len(before) == len(there)
    assert list(left) == ordered(there)[taken:]
    assert len(left) == len(list(left))
    expected = ordered(ordered(there)[taken:] + coming)
    assert list(after) == expected
    assert len(after) == len(expected)
    assert after.first(seen) == expected[:seen]
    gone = {job.id for job in expected[::2]}
    assert list(after.without(gone)) == expected[1::2]


def test_taking_from_a_long_line_touches_only_its_beginning() -> None:
    line = Line(jobs([math.inf] * 100_000)).joined(jobs([1.0] * 1_000, start=1_000_000))
    for _ in range(50_000):
        line = line.after(1)
    assert line.first(1) == jobs([math.inf] * 49_001)[-1:]
    assert len(line) == 51_000
