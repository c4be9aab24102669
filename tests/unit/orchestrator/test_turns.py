"""Turns: each tenant waits for its own, and none is remembered for longer than it takes."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from orchestrator.tenants.turns import Turns


async def test_a_tenant_waits_for_its_own_turns_and_for_nobody_elses() -> None:
    turns = Turns(2, wait_s=0.05)
    async with AsyncExitStack() as held:
        for _ in range(2):
            await held.enter_async_context(turns.of("greedy"))
        with pytest.raises(TimeoutError):
            await held.enter_async_context(turns.of("greedy"))
        await held.enter_async_context(turns.of("other"))
    async with turns.of("greedy"), turns.of("greedy"):
        pass


async def test_a_turn_comes_back_from_whoever_breaks_off() -> None:
    turns = Turns(1, wait_s=5)
    with pytest.raises(KeyError):
        async with turns.of("acme"):
            raise KeyError
    async with turns.of("acme"):
        pass
