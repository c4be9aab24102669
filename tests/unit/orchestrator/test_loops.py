"""Loops stop when they are told to, at whatever moment that is."""

from __future__ import annotations

import asyncio
from uuid import UUID

from orchestrator.kit.loops import Loop, running
from orchestrator.notify.feed import Watch
from orchestrator.telemetry.health import Pulse


async def test_a_loop_that_is_stopped_just_as_its_wait_ends_does_not_go_on() -> None:
    watch, waiting = Watch(UUID(int=1)), asyncio.Event()

    async def nothing() -> None:
        pass

    async def pause() -> None:
        waiting.set()
        await watch.changed(60)

    async with asyncio.timeout(5), running(Pulse(60)) as loops:
        loops.start(Loop("loop", pause, nothing))
        await waiting.wait()
        await asyncio.sleep(0)
        watch.show(None)  # and in the same breath the block ends, which cancels the loop
