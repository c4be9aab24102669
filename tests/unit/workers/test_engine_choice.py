"""What the engine does next: a table of single decisions, and what holds over whole lives whatever arrives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.builders import token_of
from workers.engine.choice import MAX_OVERTAKEN, Act, Candidate, Capacity, Choice, choose, interrupts, joinable

ONE = Capacity(park_bytes=100)
FOUR = Capacity(batch_size=4, park_bytes=100)


def a_candidate(number: int, **changes: Any) -> Candidate:
    values: dict[str, Any] = {"priority": 10, "ready": True, "begun": False, "steps_left": 4, "size": 10, **changes}
    return Candidate(token=token_of(number), **values)


def choice_of(act: Act, *numbers: int) -> Choice:
    return Choice(act, tuple(token_of(number) for number in numbers))


WAITING = a_candidate(1)
STEPPING = a_candidate(2, begun=True)
DENOISED = a_candidate(3, begun=True, steps_left=0)
GIVEN_UP = a_candidate(4, begun=True, cancelled=True)
GIVEN_UP_DENOISED = a_candidate(5, begun=True, steps_left=0, cancelled=True)
UNREADY = a_candidate(6, ready=False)
TO_SHOW = a_candidate(7, begun=True, preview_due=True, checkpoint_due=True)
TO_SAVE = a_candidate(8, begun=True, checkpoint_due=True)
URGENT = a_candidate(9, priority=0)
URGENT_UNREADY = a_candidate(9, priority=0, ready=False)
TO_LEAVE = a_candidate(10, begun=True, evicted=True)
LARGE = a_candidate(11, priority=0, size=95)
PATIENT = a_candidate(12, begun=True, overtaken=MAX_OVERTAKEN)
URGENT_DENOISED = a_candidate(13, priority=0, begun=True, steps_left=0)


@pytest.mark.parametrize(
    ("candidates", "places_free", "expected"),
    [
        pytest.param([], 2, None, id="nothing to do"),
        pytest.param([WAITING], 2, choice_of(Act.BEGIN, 1), id="begin what waits"),
        pytest.param([WAITING, a_candidate(99)], 2, choice_of(Act.BEGIN, 1), id="in order of arrival"),
        pytest.param([WAITING, STEPPING], 2, choice_of(Act.STEP, 2), id="what began goes on"),
        pytest.param([UNREADY], 2, None, id="nothing begins without its picture"),
        pytest.param([UNREADY, WAITING], 2, choice_of(Act.BEGIN, 1), id="nor holds another up"),
        pytest.param([UNREADY, STEPPING], 2, choice_of(Act.STEP, 2), id="nor stops what began"),
        pytest.param([STEPPING], 0, choice_of(Act.STEP, 2), id="stepping needs no finisher"),
        pytest.param([TO_SHOW], 0, choice_of(Act.PREVIEW, 7), id="show what is far enough"),
        pytest.param([TO_SAVE], 0, choice_of(Act.CHECKPOINT, 8), id="save what has not been for long"),
        pytest.param([replace(TO_SHOW, cancelled=True)], 2, choice_of(Act.DROP, 7), id="but not what is cancelled"),
        pytest.param([DENOISED, WAITING], 1, choice_of(Act.DECODE, 3), id="decode what is denoised"),
        pytest.param([STEPPING, DENOISED], 1, choice_of(Act.DECODE, 3), id="before another one steps"),
        pytest.param([DENOISED, WAITING], 0, choice_of(Act.BEGIN, 1), id="without a finisher the next goes on"),
        pytest.param([DENOISED], 0, None, id="or nothing does"),
        pytest.param([replace(DENOISED, size=95), WAITING], 0, None, id="as long as it fits into memory"),
        pytest.param([STEPPING, GIVEN_UP], 2, choice_of(Act.DROP, 4), id="cancelled goes first"),
        pytest.param([GIVEN_UP_DENOISED], 0, choice_of(Act.DROP, 5), id="and is not decoded"),
        pytest.param([URGENT, TO_LEAVE], 2, choice_of(Act.EVICT, 10), id="evicted leaves before all else"),
        pytest.param([replace(TO_LEAVE, cancelled=True)], 2, choice_of(Act.DROP, 10), id="cancelled saves nothing"),
        pytest.param([STEPPING, URGENT], 2, choice_of(Act.BEGIN, 9), id="urgent preempts at the next boundary"),
        pytest.param([STEPPING, replace(URGENT, begun=True)], 2, choice_of(Act.STEP, 9), id="and goes on"),
        pytest.param([STEPPING, URGENT_UNREADY], 2, choice_of(Act.STEP, 2), id="not without its picture"),
        pytest.param([STEPPING, LARGE], 2, choice_of(Act.STEP, 2), id="nor without memory"),
        pytest.param([LARGE], 2, choice_of(Act.BEGIN, 11), id="though one alone may always"),
        pytest.param([DENOISED, LARGE, WAITING], 0, None, id="nothing slips past one that waits for memory"),
        pytest.param([PATIENT, URGENT], 2, choice_of(Act.STEP, 12), id="nobody is overtaken for ever"),
        pytest.param([URGENT_DENOISED, STEPPING], 0, choice_of(Act.STEP, 2), id="less urgent steps meanwhile"),
        pytest.param([STEPPING, URGENT_DENOISED], 1, choice_of(Act.DECODE, 13), id="and then lets it be decoded"),
    ],
)
def test_the_next_move(candidates: list[Candidate], places_free: int, expected: Choice | None) -> None:
    assert choose(candidates, ONE, places_free=places_free) == expected


A1 = a_candidate(1, group=("a",), begun=True)
A2 = a_candidate(2, group=("a",), begun=True, steps_left=1)
A3_NEW = a_candidate(3, group=("a",))
B4_NEW = a_candidate(4, group=("b",))
ALONE = a_candidate(5, begun=True)


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        pytest.param([A1, A2], choice_of(Act.STEP, 1, 2), id="a group steps together"),
        pytest.param([A1, A2, A3_NEW], choice_of(Act.BEGIN, 3), id="a newcomer joins before the next step"),
        pytest.param([A1, B4_NEW, A3_NEW], choice_of(Act.STEP, 1), id="not past an earlier one of another group"),
        pytest.param([A1, A3_NEW, B4_NEW], choice_of(Act.BEGIN, 3), id="a later one of another group waits"),
        pytest.param([A1, replace(A3_NEW, priority=20)], choice_of(Act.STEP, 1), id="less urgent ones slow nobody"),
        pytest.param([A1, replace(B4_NEW, ready=False), A3_NEW], choice_of(Act.BEGIN, 3), id="unready holds none up"),
        pytest.param([A1, replace(A3_NEW, size=95)], choice_of(Act.STEP, 1), id="nobody joins without memory"),
        pytest.param([ALONE, replace(ALONE, token=token_of(6))], choice_of(Act.STEP, 5), id="without a group alone"),
        pytest.param([A1, replace(A2, steps_left=0)], choice_of(Act.DECODE, 2), id="each leaves when it is done"),
        pytest.param([A1, replace(A2, checkpoint_due=True)], choice_of(Act.CHECKPOINT, 2), id="each is saved in turn"),
        pytest.param(
            [replace(A1, token=token_of(20 + number)) for number in range(6)],
            choice_of(Act.STEP, 20, 21, 22, 23),
            id="as many as the pool allows",
        ),
    ],
)
def test_batches_join_and_leave_at_step_boundaries(candidates: list[Candidate], expected: Choice | None) -> None:
    assert choose(candidates, FOUR, places_free=1) == expected


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        pytest.param([], None, id="idle, nothing is to be interrupted"),
        pytest.param([STEPPING], 10, id="what steps can be"),
        pytest.param([STEPPING, WAITING], 10, id="whoever waits behind it"),
        pytest.param([STEPPING, URGENT], None, id="one interrupts already"),
        pytest.param([STEPPING, URGENT_UNREADY], None, id="or will in a moment"),
        pytest.param([STEPPING, replace(URGENT, begun=True)], 0, id="the most urgent counts"),
        pytest.param([replace(STEPPING, size=60)], None, id="another would not fit"),
        pytest.param([PATIENT], None, id="overtaken often enough"),
    ],
)
def test_what_a_newcomer_would_interrupt(candidates: list[Candidate], expected: int | None) -> None:
    assert interrupts(candidates, ONE) == expected


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [([], False), ([A1], True), ([A1, A2, A3_NEW], True), ([A1, B4_NEW], False), ([ALONE], False), ([A1] * 4, False)],
)
def test_a_batch_with_a_place_left_can_be_joined(candidates: list[Candidate], expected: bool) -> None:
    assert joinable(candidates, FOUR) is expected


@dataclass
class World:
    """An engine without an engine: does what `choose` says, and counts."""

    capacity: Capacity
    held: list[Candidate]
    stepped: dict[object, int]
    ended: list[object]

    def index(self, token: object) -> int:
        return next(number for number, one in enumerate(self.held) if one.token == token)

    def do(self, choice: Choice) -> None:
        for token in choice.tokens:
            number = self.index(token)
            one = self.held[number]
            match choice.act:
                case Act.BEGIN:
                    assert not one.begun
                    self.held = [
                        replace(other, overtaken=other.overtaken + (other.begun and other.priority > one.priority))
                        for other in self.held
                    ]
                    self.held[number] = replace(one, begun=True)
                case Act.STEP:
                    assert one.begun
                    assert one.steps_left
                    self.held[number] = replace(one, steps_left=one.steps_left - 1, preview_due=False)
                    self.stepped[token] = self.stepped.get(token, 0) + 1
                case Act.PREVIEW:
                    self.held[number] = replace(one, preview_due=False)
                case Act.DECODE | Act.DROP | Act.EVICT:
                    assert one.begun
                    if choice.act is Act.DECODE:
                        assert not one.steps_left
                    del self.held[number]
                    self.ended.append(token)


RENDERS = st.lists(
    st.tuples(
        st.integers(0, 3),  # priority
        st.integers(1, 5),  # steps
        st.sampled_from([10, 30, 60, 200]),  # size
        st.sampled_from([None, ("a",), ("b",)]),  # group
        st.integers(0, 12),  # arrives after so many moves
        st.booleans(),  # to be previewed
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(RENDERS, st.integers(1, 3), st.lists(st.integers(0, 2), min_size=200, max_size=200))
def test_whatever_arrives_memory_holds_the_urgent_go_first_and_everyone_ends(
    renders: list[tuple[int, int, int, Any, int, bool]], batch_size: int, finishers: list[int]
) -> None:
    world = World(Capacity(batch_size=batch_size, park_bytes=100), [], {}, [])
    coming = sorted(enumerate(renders), key=lambda one: one[1][4])
    for moment in range(400):
        while coming and coming[0][1][4] <= moment:
            number, (priority, steps, size, group, _, preview) = coming.pop(0)
            world.held.append(
                a_candidate(number, priority=priority, steps_left=steps, size=size, group=group, preview_due=preview)
            )
        free = finishers[moment] if moment < len(finishers) else 2
        before = list(world.held)
        choice = choose(world.held, world.capacity, places_free=free)
        if choice is None:
            assert not any(one.begun and one.steps_left for one in world.held), "nothing that could step is left idle"
            assert free == 0 or not world.held
            continue
        world.do(choice)
        begun = [one for one in world.held if one.begun]
        assert len(begun) <= 1 or sum(one.size for one in begun) <= 100
        assert all(one.overtaken <= MAX_OVERTAKEN for one in begun)
        chosen = [one for one in before if one.token in choice.tokens]
        more_urgent = [one for one in before if one.priority < chosen[0].priority and one.begun]
        assert not any(one.steps_left for one in more_urgent), "nobody goes past a more urgent one that could step"
        if choice.act is Act.STEP and len(chosen) > 1:
            assert len({(one.group, one.priority) for one in chosen}) == 1
            assert chosen[0].group is not None
            assert len(chosen) <= batch_size
        if not coming and not world.held:
            break
    assert not world.held
    assert world.stepped == {token_of(number): render[1] for number, render in enumerate(renders)}, "each step once"


@pytest.mark.parametrize("arrives", [10, 5, 0])
def test_a_render_ends_although_others_never_stop_coming(arrives: int) -> None:
    """However urgent they are: of the more urgent ones a few go first, of its equals none that came later."""
    world = World(ONE, [a_candidate(0)], {}, [])
    for number in range(1, 200):
        if token_of(0) in world.ended:
            break
        if number > 1:
            world.held.append(a_candidate(number, priority=arrives, steps_left=1))
        for _ in range(3):
            choice = choose(world.held, ONE, places_free=1)
            assert choice is not None
            world.do(choice)
    assert token_of(0) in world.ended
    assert len(world.ended) - 1 <= (MAX_OVERTAKEN if arrives < 10 else 0)


def test_another_group_has_its_turn_although_a_batch_could_always_be_refilled() -> None:
    world = World(Capacity(batch_size=2, park_bytes=1000), [A1, B4_NEW], {}, [])
    for number in range(10, 40):
        world.held.append(a_candidate(number, group=("a",)))
        choice = choose(world.held, world.capacity, places_free=1)
        assert choice is not None
        world.do(choice)
        if world.stepped.get(B4_NEW.token):
            break
    assert world.ended == [A1.token], "only what had begun went before it"
