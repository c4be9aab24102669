"""A real engine on a roster, with a scripted model, and how to wait for what it does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from orchestrator import logs
from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.job import RenderSpec
from orchestrator.domain.protocol import Broke, Rendered, RenderStatus, Stopped
from tests.support.workers import PATIENCE_S, Gate, ScriptedModel, an_assignment, finish_at_once, parts
from workers.changes import Changes
from workers.choice import Act
from workers.engine import Engine, Finish
from workers.meter import Meter
from workers.roster import Roster


@contextmanager
def running(
    model: ScriptedModel, finish: Finish = finish_at_once, *, preview_at: float = 0.0, **others: Any
) -> Iterator[Roster]:
    roster = Roster(Meter(FAMILIES["tiny-2b"]), Changes(), preview_at=preview_at)
    engine = Engine(roster, parts(model, finish, **others), logs.get("test"))
    thread = threading.Thread(target=engine.run)
    thread.start()
    try:
        yield roster
    finally:
        roster.close()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


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


def the_end(roster: Roster, token: UUID) -> Rendered | Broke | Stopped:
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
