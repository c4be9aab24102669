"""A room: bounded in all and for each tenant, refused by name, waited for, given back."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import Crowded, LimitExceeded
from orchestrator.tenants.room import Room


def test_a_tenant_that_has_its_share_is_refused_by_name_value_and_use() -> None:
    room = Room("downloads", most=10, of_tenant=3)
    room.take("a", 2)
    with pytest.raises(LimitExceeded, match="3 of downloads") as refused:
        room.take("a", 2)
    assert (refused.value.limit, refused.value.most, refused.value.used) == ("downloads", 3, 2)
    room.take("b", 3)


def test_when_all_together_have_everything_it_is_nobodys_own_doing() -> None:
    room = Room("downloads", most=4, of_tenant=3)
    room.take("a", 3)
    with pytest.raises(Crowded, match="all 4 of downloads"):
        room.take("b", 2)


async def test_who_waits_gets_what_is_given_back_and_passes_those_whose_tenant_has_its_share() -> None:
    room = Room("body_bytes", most=10, of_tenant=6)
    room.take("a", 6)
    room.take("c", 3)
    mine = asyncio.ensure_future(room.wait("a", 6, within_s=5))
    other = asyncio.ensure_future(room.wait("b", 4, within_s=5))
    await asyncio.sleep(0)
    room.give_back("c", 3)
    assert await other == 4
    assert not mine.done()
    room.give_back("a", 6)
    assert await mine == 6


async def test_more_than_a_share_is_the_whole_share_and_waiting_ends() -> None:
    room = Room("body_bytes", most=10, of_tenant=6)
    assert await room.wait("a", 100, within_s=0.01) == 6
    with pytest.raises(LimitExceeded):
        await room.wait("a", 1, within_s=0.01)
    room.give_back("a", 6)
    assert room.of("a") == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.booleans()), max_size=40))
def test_whatever_comes_nobody_has_more_than_its_share_nor_all_more_than_there_is(
    asks: list[tuple[str, int, bool]],
) -> None:
    room = Room("downloads", most=8, of_tenant=5)
    held: list[tuple[str, int]] = []
    for tenant, amount, back in asks:
        if back and held:
            room.give_back(*held.pop())
        try:
            room.take(tenant, amount)
            held.append((tenant, amount))
        except LimitExceeded:
            assert room.of(tenant) + amount > 5
        except Crowded:
            assert sum(each for _, each in held) + amount > 8
        assert all(room.of(each) == sum(n for of, n in held if of == each) <= 5 for each in "abc")
        assert sum(n for _, n in held) <= 8
