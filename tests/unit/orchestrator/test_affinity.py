"""Workers that several models share change hands where it pays or somebody waits too long, and never to and fro."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.policy.affinity import Cause, Holder, Line, Memory, Swap, Swapping, at_once_of, decide

POOLS = ("five", "two", "new")
URGENT, USUAL, BULK = 0, 10, 20
RULES = Swapping(cold_wait_s=600, hold_s=100, pays=4, at_once=1)
LOAD_S = 30.0
PAYS_S = RULES.pays * LOAD_S


def holders(**held: str) -> list[Holder]:
    """`five="i 40 b"`: one that is idle, one with 40 s to go, one of bulk with 100 s to go."""
    made = []
    for pool, said in held.items():
        for n, each in enumerate(said.split()):
            left_s = {"i": 0.0, "b": 100.0}.get(each)
            priority = {"i": None, "b": BULK}.get(each, USUAL)
            left_s = float(each) if left_s is None else left_s
            made.append(Holder(name=f"{pool}-{n}", pool=pool, left_s=left_s, priority=priority))
    return made


def line(pool: str, seconds: float = 0.0, *, priority: int = USUAL, oldest_s: float = 0.0) -> Line:
    return Line(pool=pool, waiting={priority: seconds} if seconds else {}, oldest_s=oldest_s, load_s=LOAD_S)


def swaps(workers: Sequence[Holder], *lines: Line, rules: Swapping = RULES, memory: Memory | None = None) -> list[Swap]:
    return decide(workers, lines, rules, Memory() if memory is None else memory, 10_000.0)[0]


# ------------------------------------------------------------ what pays
def test_nobody_changes_hands_while_nothing_waits() -> None:
    assert swaps(holders(five="i i i"), line("five"), line("two")) == []


def test_an_idle_worker_goes_where_enough_waits_and_not_for_less() -> None:
    assert swaps(holders(five="i i"), line("five"), line("two", PAYS_S - 1)) == []
    (swap,) = swaps(holders(five="i i"), line("five"), line("two", PAYS_S))
    assert (swap.worker, swap.left, swap.to, swap.cause) == ("five-0", "five", "two", Cause.SPARE)
    assert swap.why == (
        "120 s of work wait without a worker; it has nothing as urgent to do for five, five-0 is idle,"
        " and loading takes 30 s"
    )


def test_workers_of_its_own_are_counted_before_another_is_taken() -> None:
    assert swaps(holders(five="i i", two="50 50"), line("five"), line("two", 2 * PAYS_S - 101)) == []
    assert len(swaps(holders(five="i i", two="50 50"), line("five"), line("two", 2 * PAYS_S - 100))) == 1


def test_the_last_worker_of_a_model_is_kept_longer_than_others() -> None:
    assert swaps(holders(five="i"), line("five"), line("two", 2 * PAYS_S - 1)) == []
    (swap,) = swaps(holders(five="i", new="i i"), line("two", PAYS_S))
    assert swap.left == "new"
    assert len(swaps(holders(five="i"), line("five"), line("two", 5 * PAYS_S))) == 1


def test_idle_workers_go_before_busy_ones_and_those_with_little_left_before_the_rest() -> None:
    waits = line("two", 5000, priority=URGENT)
    assert swaps(holders(five="70 i 20"), waits)[0].worker == "five-1"
    assert swaps(holders(five="70 90 20"), waits)[0].worker == "five-2"


def test_a_longer_queue_takes_a_worker_from_a_shorter_one_where_that_pays() -> None:
    workers = holders(five="50 50 50", two="50")
    (swap,) = swaps(workers, line("five", 450), line("two", 2000))
    assert (swap.left, swap.to, swap.cause) == ("five", "two", Cause.BACKLOG)
    assert "2050 s of work wait for each of its workers, 200 s of five" in swap.why
    assert swap.why.endswith("with it 1065 s, and 300 s; five-0 is free in 50 s")
    assert swaps(workers, line("five", 450), line("two", 700)) == []


def test_of_many_workers_one_more_is_little_and_is_moved_all_the_same() -> None:
    workers = holders(five="50 " * 100, two="50 " * 100)
    (swap,) = swaps(workers, line("five", 10), line("two", 1e6))
    assert (swap.left, swap.to, swap.cause) == ("five", "two", Cause.BACKLOG)


def test_the_last_worker_of_a_model_with_work_as_urgent_is_not_taken() -> None:
    assert swaps(holders(five="50", two="50"), line("five", 10), line("two", 1e6)) == []


def test_what_is_more_urgent_takes_even_the_last_worker_and_bulk_does_not_hold_it() -> None:
    (swap,) = swaps(holders(five="b"), line("five", 1e6, priority=BULK), line("two", 2000, priority=USUAL))
    assert (swap.to, swap.cause) == ("two", Cause.SPARE)
    assert swaps(holders(five="50"), line("five", 1e6), line("two", 2000, priority=BULK)) == []


def test_a_worker_that_was_given_a_model_keeps_it_for_a_while() -> None:
    (worker,) = holders(five="i")
    waits = line("two", 1e6)
    assert swaps([replace(worker, held_s=99)], line("five"), waits) == []
    assert len(swaps([replace(worker, held_s=100)], line("five"), waits)) == 1


def test_only_so_many_are_on_their_way_at_once_and_one_that_never_comes_holds_up_nobody() -> None:
    workers = holders(five="i i i i", two="i")
    coming = replace(workers[4], ready=False, held_s=20)
    waits = line("two", 1e6)
    assert swaps([*workers[:4], coming], line("five"), waits) == []
    assert len(swaps([*workers[:4], replace(coming, held_s=10 * LOAD_S)], line("five"), waits)) == 1
    assert len(swaps([*workers[:4], coming], line("five"), waits, rules=replace(RULES, at_once=3))) == 2


def test_pinned_workers_stay_and_are_counted() -> None:
    pinned = [replace(each, pinned=True) for each in holders(five="i i")]
    assert swaps(pinned, line("two", 1e6, oldest_s=1e6)) == []


# ------------------------------------------------------------ nobody waits for ever
def test_a_cold_model_gets_a_worker_in_time_for_its_bound() -> None:
    workers = holders(five="200 90", new="150")
    full = [line("five", 1e5), line("new", 1e5)]
    assert swaps(workers, *full, line("two", 5, oldest_s=479)) == []  # 90 s of a render and 30 s of loading fit in
    (swap,) = swaps(workers, *full, line("two", 5, oldest_s=480))
    assert (swap.worker, swap.to, swap.cause) == ("five-1", "two", Cause.BOUND)
    assert swap.why == (
        "no worker holds its model, and its jobs have waited 480 of at most 600 s; five-1 is free in 90 s,"
        " and loading takes 30 s"
    )


def test_a_wait_beyond_the_bound_is_told_as_long_as_it_was() -> None:
    (swap,) = swaps(holders(five="200 90"), line("five", 1e5), line("two", 5, oldest_s=4000))
    assert "its jobs have waited 4000 of at most 600 s" in swap.why


def test_a_wait_without_a_worker_begins_when_the_last_one_has_left() -> None:
    workers, old = holders(five="10"), line("two", 5, oldest_s=1e5)
    memory = Memory().after(holders(two="10"), [old], 9_000.0)
    found, memory = decide(workers, [line("five", 50), old], RULES, memory, 10_000.0)
    assert found == []
    assert memory.due_in_s("two", RULES, 10_100.0) == 500.0
    assert memory.due_in_s("five", RULES, 10_100.0) is None
    (swap,), memory = decide(workers, [line("five", 50), old], RULES, memory, 10_570.0)
    assert swap.cause is Cause.BOUND
    assert memory.due_in_s("two", RULES, 10_570.0) is None


# ------------------------------------------------------------ over any course of things
@st.composite
def fleets(draw: st.DrawFn) -> list[Holder]:
    homes = draw(st.lists(st.sampled_from(POOLS), min_size=1, max_size=8))
    return [
        Holder(
            name=f"w{n}", pool=pool, left_s=(left_s := draw(st.sampled_from([0.0, 5.0, 60.0, 300.0]))),
            priority=draw(st.sampled_from([URGENT, USUAL, BULK])) if left_s else None,
            held_s=draw(st.sampled_from([0.0, 50.0, 100.0, math.inf])), ready=draw(st.booleans()),
            pinned=draw(st.sampled_from([False, False, True])),
        )
        for n, pool in enumerate(homes)
    ]  # fmt: skip


@st.composite
def queues(draw: st.DrawFn, priorities: tuple[int, ...] = (URGENT, USUAL, BULK)) -> list[Line]:
    seconds = st.sampled_from([0.0, 10.0, 120.0, 500.0, 5000.0])
    found = []
    for pool in POOLS:
        waiting = {priority: draw(seconds) for priority in priorities}
        waiting = {priority: its for priority, its in waiting.items() if its}
        oldest_s = draw(st.sampled_from([0.0, 300.0, 599.0, 601.0])) if waiting else 0.0
        found.append(Line(pool=pool, waiting=waiting, oldest_s=oldest_s, load_s=LOAD_S))
    return found


@given(fleets(), queues(), st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_a_swap_serves_jobs_that_wait_and_never_takes_who_may_not_go(
    workers: list[Holder], lines: list[Line], at_once: int
) -> None:
    known, waiting = {each.name: each for each in workers}, {each.pool: each for each in lines}
    found = swaps(workers, *lines, rules=replace(RULES, at_once=at_once))
    assert len(found) <= at_once
    assert len({swap.worker for swap in found}) == len(found)
    for swap in found:
        worker = known[swap.worker]
        assert worker.pool == swap.left != swap.to
        assert worker.ready
        assert not worker.pinned
        assert worker.held_s >= RULES.hold_s
        assert waiting[swap.to].waiting
        if swap.cause is not Cause.BOUND and swap.left in waiting:
            # The last one of a model goes only to what is more urgent than all that its model has to do.
            mine = [each for each in workers if each.pool == swap.left]
            theirs = min(waiting[swap.to].waiting)
            urgent = [*waiting[swap.left].waiting, *(each.priority for each in mine if each.priority is not None)]
            assert len(mine) > 1 or all(priority > theirs for priority in urgent)


@given(fleets(), queues())
@settings(max_examples=150, deadline=None)
def test_no_idle_worker_stays_idle_while_another_model_has_more_to_do_than_a_swap_costs(
    workers: list[Holder], lines: list[Line]
) -> None:
    """Beyond the last idle one of a model, which is kept longer; and unless swaps are under way already."""
    workers = [replace(each, ready=True, held_s=math.inf, pinned=False) for each in workers]
    homes = Counter(each.pool for each in workers)
    idle = {
        each.pool
        for each in workers
        if not each.left_s and homes[each.pool] > 1 and not next(it for it in lines if it.pool == each.pool).waiting
    }
    wanting = [
        each
        for each in lines
        if each.waiting and sum(each.waiting.values()) / max(1, homes[each.pool]) >= PAYS_S and idle - {each.pool}
    ]
    if wanting:
        assert swaps(workers, *lines)


@given(st.lists(st.sampled_from(POOLS), min_size=3, max_size=8), queues((USUAL,)))
@settings(max_examples=40, deadline=None)
def test_where_what_is_wanted_stays_the_same_workers_settle_and_stay(homes: list[str], lines: list[Line]) -> None:
    workers = [Holder(name=f"w{n}", pool=pool, left_s=20.0, priority=USUAL) for n, pool in enumerate(homes)]
    memory, now, last = Memory(), 0.0, 0.0
    while now < 8_000:
        found, memory = decide(workers, lines, RULES, memory, now)
        for swap in found:
            last = now
            workers = [
                replace(each, pool=swap.to, held_s=0.0) if each.name == swap.worker else each for each in workers
            ]
        now += 40.0
        workers = [replace(each, held_s=each.held_s + 40.0) for each in workers]
    # At most each worker once or twice, one after the other, and each cold model once after its bound.
    assert last <= RULES.cold_wait_s * len(POOLS) + RULES.hold_s * 2 * len(workers)


@given(queues(), st.integers(1, 4), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_no_cold_model_waits_beyond_the_bound_and_the_holds_of_those_before_it(
    lines: list[Line], count: int, seed: int
) -> None:
    """Renders take a minute; with fewer workers than models each cold one may come after one hold of another."""
    workers = [Holder(name=f"w{n}", pool=POOLS[(n + seed) % len(POOLS)]) for n in range(count)]
    memory, now, cold = Memory(), 0.0, dict[str, float]()
    bound = RULES.cold_wait_s + (len(POOLS) - 1) * (RULES.hold_s + 60 + LOAD_S) + 30
    while now < 3_000:
        found, memory = decide(workers, lines, RULES, memory, now)
        for swap in found:
            workers = [
                replace(each, pool=swap.to, held_s=0.0) if each.name == swap.worker else each for each in workers
            ]
        held = {each.pool for each in workers}
        for each in lines:
            if each.waiting and each.pool not in held:
                cold.setdefault(each.pool, now)
                assert now - cold[each.pool] <= bound
            else:
                cold.pop(each.pool, None)
        now += 15.0
        workers = [replace(each, held_s=each.held_s + 15.0, left_s=60 - now % 60, priority=USUAL) for each in workers]


@pytest.mark.parametrize("workers", [1, 7, 8, 100])
def test_more_workers_may_be_without_a_model_at_once(workers: int) -> None:
    assert at_once_of(workers) == 1 + workers // 8
