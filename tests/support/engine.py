"""A real engine on a roster, with a scripted model, and how to wait for what it does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.job import RenderSpec
from orchestrator.domain.protocol import End, RenderStatus
from orchestrator.telemetry import logs
from tests.support.workers import PATIENCE_S, Gate, ScriptedModel, an_assignment, finish_at_once, parts
from workers.engine.changes import Changes
from workers.engine.choice import Act, Capacity
from workers.engine.loop import Engine
from workers.engine.meter import Meter
from workers.engine.parts import Finish
from workers.engine.roster import Roster


def a_roster(*, batch_size: int = 1, park_bytes: int = 1 << 40, **changes: Any) -> Roster:
    capacity = Capacity(batch_size=batch_size, park_bytes=park_bytes)
    return Roster(Meter(FAMILIES["tiny-2b"]), Changes(), capacity=capacity, **changes)


@contextmanager
def running(
    model: ScriptedModel, finish: Finish = finish_at_once, *, roster: Roster | None = None, **others: Any
) -> Iterator[Roster]:
    """An engine at work; when it has stopped, nothing that the model began is left, or was dropped twice."""
    roster = roster or a_roster()
    engine = Engine(roster, parts(model, finish, **others), logs.get("test"))
    thread = threading.Thread(target=engine.run)
    thread.start()
    try:
        yield roster
    finally:
        roster.close()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert sorted(map(id, model.dropped)) == sorted(map(id, model.begun)), "every begun render is dropped, once"


def give(roster: Roster, **changes: Any) -> UUID:
    assignment = an_assignment(**changes)
    assert roster.assign(assignment)
    return assignment.token


def status(roster: Roster, token: UUID) -> RenderStatus:
    return next(render for render in roster.statuses() if render.token == token)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.002)


def the_end(roster: Roster, token: UUID) -> End:
    until(lambda: status(roster, token).end is not None)
    end = status(roster, token).end
    assert end is not None
    return end


def stop_at(act: Act, seed: int, step: int = 0) -> tuple[Gate, Callable[[Act, RenderSpec, int], None]]:
    gate = Gate()

    def before(now: Act, spec: RenderSpec, at: int) -> None:
        if (now, spec.seed, at) == (act, seed, step):
            gate.stop_here()

    return gate, before


def all_of(*befores: Callable[[Act, RenderSpec, int], None]) -> Callable[[Act, RenderSpec, int], None]:
    """Every one of these, before each move."""

    def before(act: Act, spec: RenderSpec, step: int) -> None:
        for one in befores:
            one(act, spec, step)

    return before
