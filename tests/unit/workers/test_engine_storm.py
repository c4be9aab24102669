"""Everything at once: renders of every urgency come, fail, are cancelled, evicted and released while others step."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from orchestrator.domain.catalog import Profile
from orchestrator.domain.errors import ObjectsUnavailable, RenderFailed
from orchestrator.domain.job import Checkpoint, RenderSpec
from orchestrator.domain.protocol import Assignment, Rendered, RenderStatus
from tests.support.engine import a_roster, running, until
from tests.support.workers import ScriptedModel, an_assignment, save_nowhere
from workers.engine.choice import Act
from workers.engine.parts import Snapshot
from workers.engine.roster import Roster

CODES = ("out_of_memory", "nan_frames", "device_error")


class Trouble:
    """Fails a share of all moves, batches and checkpoints, by the same dice for the same seed."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    def move(self, act: Act, spec: RenderSpec, step: int) -> None:
        if self._dice.random() < 0.03:
            raise RenderFailed(self._dice.choice(CODES), "it went wrong")

    def batch(self, specs: Sequence[RenderSpec]) -> None:
        if len(specs) > 1 and self._dice.random() < 0.05:
            raise RuntimeError("an illegal address")

    def save(self, assignment: Assignment, snapshot: Snapshot) -> Checkpoint:
        if self._dice.random() < 0.3:
            raise ObjectsUnavailable("S3 is away")
        return save_nowhere(assignment, snapshot)


def meddle(roster: Roster, dice: random.Random, token: UUID) -> None:
    """Do to a render what a dispatcher may at any moment, or nothing."""
    match dice.randrange(4):
        case 0:
            roster.cancel(token)
        case 1:
            roster.evict(token, "evicted", within_s=0.05)


@pytest.mark.seeds(3)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_every_render_ends_once_and_leaves_nothing_behind(seed: int, batch_size: int) -> None:
    dice = random.Random(seed)
    trouble = Trouble(random.Random(seed))
    model = ScriptedModel(trouble.move, trouble.batch)
    roster = a_roster(batch_size=batch_size, preview_at=0.5, checkpoint_every_s=1e-9)
    ends: dict[UUID, RenderStatus] = {}
    tokens: list[UUID] = []

    def collect() -> None:
        for render in roster.statuses():
            if render.end is not None:
                assert ends.setdefault(render.token, render).end == render.end, "an end stays as it is"

    # `running` holds every begun render to one drop. The tracebacks are not written: that takes longer than the storm.
    with (
        capture_logs(),
        running(model, roster=roster, save=trouble.save),
    ):
        for number in range(1, 40):
            changes: dict[str, Any] = {"seed": number, "priority": dice.choice([0, 10, 10, 20])}
            assignment = an_assignment(**changes, profile=dice.choice(list(Profile)))
            until(lambda assignment=assignment: roster.assign(assignment))  # type: ignore[misc]
            tokens.append(assignment.token)
            meddle(roster, dice, dice.choice(tokens))
        until(lambda: all(render.end is not None for render in roster.statuses()))
        collect()
        assert set(ends) == set(tokens)
        assert (roster.schedule.room, roster.schedule.free_in_s) == (batch_size + 1, 0.0)
    assert any(isinstance(render.end, Rendered) for render in ends.values())
    for render in ends.values():
        assert not isinstance(render.end, Rendered) or render.step == render.steps
