"""How one tenant's seats are divided among its campaigns and single videos: what holds whatever they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.policy.refill import Contender, error_weight, needed_workers, refill
from orchestrator.policy.window import slow_start

weights = st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0])
some = st.builds(
    Contender,
    name=st.just(""),
    most=st.integers(0, 12),
    running=st.integers(0, 12),
    need=st.sampled_from([0.0, 0.0, 0.4, 2.0, 7.5, 1e9]),
    due_s=st.sampled_from([10.0, 3600.0, math.inf]),
    weight=weights,
)
contenders = st.lists(some, max_size=5).map(
    lambda found: [
        replace(each, name=f"c{number}", running=min(each.running, each.most)) for number, each in enumerate(found)
    ]
)
workers, spares = st.integers(0, 20), st.integers(0, 20)


@given(contenders, workers, spares)
def test_seats_stay_within_their_bound_and_no_worker_is_without_one_that_somebody_can_use(
    of: Sequence[Contender], workers: int, spare: int
) -> None:
    dealt = refill(of, workers=workers, spare=spare)
    bound = max(workers, sum(each.most > 0 for each in of))
    able = sum(each.most for each in of)
    assert min(bound, able) <= sum(dealt.values()) <= min(bound + spare, able)
    assert all(dealt[each.name] <= each.most for each in of)


@given(contenders, workers, spares)
def test_what_is_spare_lets_nobody_go_before_another_that_has_more_to_give(
    of: Sequence[Contender], workers: int, spare: int
) -> None:
    without, dealt = (refill(of, workers=workers, spare=more) for more in (0, spare))
    gainers = [place for place, each in enumerate(of) if dealt[each.name] > without[each.name]]
    assert all(each.most == each.running for place, each in enumerate(of) if gainers and place > min(gainers))


@given(contenders, workers, spares)
def test_each_that_can_use_one_has_a_seat(of: Sequence[Contender], workers: int, spare: int) -> None:
    dealt = refill(of, workers=workers, spare=spare)
    assert all(dealt[each.name] >= min(1, each.most) for each in of)


@given(contenders, workers, spares, st.data())
def test_nobody_has_less_for_a_greater_weight(
    of: Sequence[Contender], workers: int, spare: int, data: st.DataObject
) -> None:
    for place, each in enumerate(of):
        more = data.draw(weights.filter(lambda weight, each=each: weight >= each.weight))  # type: ignore[misc]
        heavier = [*of[:place], replace(each, weight=more), *of[place + 1 :]]
        before, after = (refill(which, workers=workers, spare=spare)[each.name] for which in (of, heavier))
        assert after >= before


@given(contenders, workers, spares, st.sampled_from([0.0, 1.0, 5.0, 30.0]))
def test_nobody_has_less_for_needing_more(of: Sequence[Contender], workers: int, spare: int, more: float) -> None:
    for place, each in enumerate(of):
        pressed = [*of[:place], replace(each, need=each.need + more), *of[place + 1 :]]
        before, after = (refill(which, workers=workers, spare=spare)[each.name] for which in (of, pressed))
        assert after >= before


def three(**changes: Contender) -> dict[str, int]:
    """Three campaigns with plenty of rows on ten workers."""
    of = [changes.get(name, Contender(name=name, most=100)) for name in ("old", "new", "last")]
    return refill(of, workers=10, spare=10)


def test_equal_campaigns_have_equal_seats_and_the_one_that_is_claimed_last_those_beyond_the_workers() -> None:
    assert three() == {"old": 4, "new": 3, "last": 13}


def test_a_campaign_whose_renders_fail_has_fewer_but_never_none() -> None:
    failing = Contender(name="old", most=100, weight=error_weight(succeeded=1, failed=9))
    assert three(old=failing) == {"old": 1, "new": 5, "last": 14}


def test_who_needs_workers_for_a_deadline_has_them_first_and_the_earliest_before_all() -> None:
    soon = Contender(name="new", most=100, need=5.2, due_s=60)
    assert three(new=soon)["new"] == 6
    later = Contender(name="old", most=100, need=9, due_s=3600)
    assert three(new=soon, old=later) == {"old": 3, "new": 6, "last": 11}


def test_what_a_cap_keeps_from_one_the_others_have() -> None:
    assert three(old=Contender(name="old", most=2))["old"] == 2
    few = Contender(name="last", most=3)
    assert three(last=few) == {"old": 4, "new": 3, "last": 3}
    done = Contender(name="last", most=3, running=3)
    assert three(last=done) == {"old": 4, "new": 13, "last": 3}


def test_one_alone_has_all_the_seats_that_it_can_use() -> None:
    assert refill([Contender(name="a", most=100, weight=0.1)], workers=3, spare=17) == {"a": 20}


@pytest.mark.parametrize(
    ("work_s", "left_s", "workers"), [(3600, 1800, 2.0), (3600, None, 0.0), (3600, 0, 0.0), (3600, -5, 0.0)]
)
def test_what_is_late_or_has_no_deadline_needs_nobody(work_s: float, left_s: float | None, workers: float) -> None:
    assert needed_workers(work_s, left_s) == workers


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_each_failure_weighs_and_each_success_mends(succeeded: int, failed: int) -> None:
    weight = error_weight(succeeded, failed)
    assert 0 < error_weight(succeeded, failed + 1) < weight <= 1
    assert error_weight(succeeded + 1, failed) >= weight
    assert error_weight(succeeded, 0) == 1


@dataclass
class Mill:
    """A campaign that never runs out, as the engine sees it; its renders fail or not."""

    fails: bool
    ready: int = 0
    held: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0

    @property
    def ended(self) -> int:
        return self.succeeded + self.failed

    def fill(self) -> None:
        """Its window is filled."""
        live = self.ready + self.held + self.running
        self.held += max(0, slow_start(self.succeeded, self.failed) - live)

    def seat(self, seats: int) -> None:
        """As many wait for a worker as it has seats."""
        waiting = self.ready + self.held
        self.ready = min(waiting, max(0, seats - self.running))
        self.held = waiting - self.ready

    def contender(self, name: str) -> Contender:
        return Contender(
            name=name, most=self.ready + self.held + self.running, running=self.running,
            weight=error_weight(self.succeeded, self.failed),
        )  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.booleans(), min_size=2, max_size=4), st.integers(4, 12), st.integers(0, 12))
def test_nobody_starves_and_no_worker_idles_however_the_campaigns_began(
    fails: list[bool], workers: int, spare: int
) -> None:
    """The oldest has every worker when the others come. They are claimed in order, and one render ends at a time."""
    mills = [Mill(fails=each) for each in fails]
    mills[0].running, mills[0].held = workers, 40
    order: list[Mill] = [mills[0]] * workers
    for mill in mills[1:]:
        mill.held = 8
    before = [0] * len(mills)
    for turn in range(24 * workers):
        if turn == 12 * workers:
            before = [mill.ended for mill in mills]
        ended = order.pop(0)
        ended.running -= 1
        ended.succeeded += not ended.fails
        ended.failed += ended.fails
        for mill in mills:
            mill.fill()
        found = [mill.contender(str(place)) for place, mill in enumerate(mills)]
        seats = refill(found, workers=workers, spare=spare)
        for place, mill in enumerate(mills):
            mill.seat(seats[str(place)])
        while len(order) < workers and (first := next((mill for mill in mills if mill.ready), None)):
            first.ready -= 1
            first.running += 1
            order.append(first)
        assert len(order) == workers or not any(mill.held for mill in mills), "a worker idles while rows wait"
    had = [mill.ended - earlier for mill, earlier in zip(mills, before, strict=True)]
    assert all(had), mills
    well = [count for count, mill in zip(had, mills, strict=True) if not mill.fails]
    if well and any(fails):
        assert max(count for count, mill in zip(had, mills, strict=True) if mill.fails) <= max(well)
