"""Who has a finisher, and whose room what waits for one takes."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.policy.charge import FINISHERS
from tests.support.builders import a_status
from tests.support.engine import a_roster
from tests.support.workers import an_assignment
from workers.engine.choice import Act, Candidate, Capacity, Choice, choose
from workers.engine.finishers import PLACES, Finishing, at_work
from workers.engine.held import Held
from workers.engine.roster import Roster


def finishing(number: int, tenant: str, had_s: float = 0.0, priority: int = 10) -> Finishing:
    return Finishing(token=UUID(int=number), tenant=tenant, priority=priority, had_s=had_s)


def numbers(*found: Finishing) -> set[int]:
    return {token.int for token in at_work(found)}


def test_a_tenant_alone_has_all_finishers_and_one_that_comes_takes_one_of_them() -> None:
    one, two, other = finishing(1, "hog", 30.0), finishing(2, "hog", 20.0), finishing(3, "other")
    assert numbers(one, two) == {1, 2}
    assert numbers(one, two, other) == {1, 3}
    assert numbers(one, two, finishing(3, "other", 99.0)) == {1, 3}, "however long it has had one"


def test_of_several_tenants_those_go_on_that_have_had_least_and_of_ones_own_the_most_urgent() -> None:
    assert numbers(finishing(1, "a", 9.0), finishing(2, "b", 4.0), finishing(3, "c", 2.0)) == {2, 3}
    assert numbers(finishing(1, "a", 2.9), finishing(2, "b", 2.1), finishing(3, "c", 2.5)) == {1, 2}, "in turns"
    assert numbers(finishing(1, "a"), finishing(2, "a", priority=0), finishing(3, "b")) == {2, 3}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100), st.integers(0, 20)), max_size=PLACES))
def test_no_finisher_idles_and_nobody_has_a_second_before_each_has_one(found: list[tuple[str, float, int]]) -> None:
    them = [finishing(i, tenant, had_s, priority) for i, (tenant, had_s, priority) in enumerate(found)]
    chosen = [each for each in them if each.token in at_work(them)]
    assert len(chosen) == min(FINISHERS, len(them))
    counts, tenants = Counter(each.tenant for each in chosen), {each.tenant for each in them}
    assert max(counts.values(), default=0) <= 1 or set(counts) == tenants


# ---------------------------------------------------------------- what waits for one
def denoised(number: int, *, finishing: int) -> Candidate:
    return Candidate(token=UUID(int=number), priority=10, ready=True, begun=True, steps_left=0, finishing=finishing)


@pytest.mark.parametrize(
    ("candidates", "decoded"),
    [
        pytest.param([denoised(1, finishing=2)], None, id="the last place is another tenant's"),
        pytest.param([denoised(1, finishing=2), denoised(2, finishing=0)], 2, id="who takes it at once"),
        pytest.param([denoised(1, finishing=1), denoised(2, finishing=0)], 2, id="the one with least comes first"),
        pytest.param([denoised(1, finishing=1)], 1, id="alone it has two"),
    ],
)
def test_a_place_for_frames_goes_by_tenant(candidates: list[Candidate], decoded: int | None) -> None:
    expected = None if decoded is None else Choice(Act.DECODE, (UUID(int=decoded),))
    assert choose(candidates, Capacity(), places_free=1) == expected


def a_worker_with(*, finishing: int, waiting: int, tenant: str = "hog") -> Roster:
    """So many renders of a tenant are being finished, and so many wait for that, each assigned as it was."""
    roster = a_roster()
    for number in range(finishing + waiting):
        held = _assigned(roster, tenant)
        held.begun, held.step = True, held.assignment.spec.num_inference_steps
        if number < finishing:
            roster.renders.decoded(held, 0.0)
    return roster


def _assigned(roster: Roster, tenant: str) -> Held:
    assignment = an_assignment(tenant=tenant)
    assert roster.assign(assignment)
    return roster.renders.by_token[assignment.token]


def test_what_waits_for_its_own_tenants_finishing_takes_room_from_that_tenant_alone() -> None:
    roster = a_worker_with(finishing=2, waiting=1)
    assert (roster.schedule.room, roster.schedule.crowded) == (2, ())
    assert roster.schedule.room_for("hog") == 1
    roster = a_worker_with(finishing=2, waiting=2)
    assert (roster.schedule.room, roster.schedule.crowded) == (2, ("hog",))
    assert roster.schedule.free_in_s == 0.0, "the GPU has nothing to do"
    assert not roster.assign(an_assignment(tenant="hog"))
    assert roster.assign(an_assignment(tenant="other"))


def test_a_worker_that_is_full_for_everybody_is_crowded_by_nobody() -> None:
    roster = a_worker_with(finishing=1, waiting=2)
    assert (roster.schedule.room, roster.schedule.crowded) == (0, ())


# ---------------------------------------------------------------- beside the release before
TRAVELLING: list[tuple[Any, str, object]] = [
    (an_assignment(tenant="acme"), "tenant", ""),
    (a_status(crowded=("acme",)), "crowded", ()),
]


@pytest.mark.parametrize(("value", "name", "said"), TRAVELLING, ids=["assignment", "status"])
def test_what_the_release_before_pickled_names_no_tenant(value: Any, name: str, said: object) -> None:
    names = [item.name for item in fields(value)]
    before = object.__new__(type(value))
    before.__setstate__([getattr(value, each) for each in names[: names.index(name)]])
    assert before == replace(value, **{name: said})


def test_renders_that_no_tenant_is_named_of_take_room_from_all_as_they_did() -> None:
    """A dispatcher of the release before does not ask who is crowded: its next render would be refused for ever."""
    roster = a_worker_with(finishing=2, waiting=2, tenant="")
    assert (roster.schedule.room, roster.schedule.crowded) == (0, ())
