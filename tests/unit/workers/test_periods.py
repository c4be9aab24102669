"""The stages that a worker tells of: when each began and how long it took, on no other clock than its own."""

from __future__ import annotations

from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.protocol import Assignment, Stage, Stopped
from tests.support.builders import a_claim
from workers.engine.held import Held


def a_held(now: float = 100.0) -> Held:
    return Held.of(Assignment.of(a_claim()), FAMILIES["tiny-2b"], now, preview_at=0.0, batches=False)


def test_stages_follow_each_other_and_the_present_one_goes_on() -> None:
    held = a_held()
    held.enter(Stage.ENCODING, 101.0)
    held.enter(Stage.DENOISING, 103.0)
    held.wait(104.0, parked=True)
    held.move(106.0)
    told = held.status(107.5)
    assert told.age_s == 7.5
    assert told.periods == (
        ("assigned", 0.0, 1.0), ("encoding", 1.0, 2.0), ("denoising", 3.0, 1.0), ("preempted", 4.0, 2.0),
        ("denoising", 6.0, 1.5),
    )  # fmt: skip


def test_waiting_for_a_finisher_is_no_stages_time() -> None:
    held = a_held()
    held.enter(Stage.FINISHING, 101.0)
    held.rest(102.0)
    assert held.status(104.0).periods == (("assigned", 0.0, 1.0), ("finishing", 1.0, 1.0))
    held.resume(105.0)
    held.enter(Stage.UPLOADING, 106.0)
    held.end = Stopped()
    held.enter(Stage.ENDED, 107.0)
    ended = (
        ("assigned", 0.0, 1.0), ("finishing", 1.0, 1.0), ("finishing", 5.0, 1.0), ("uploading", 6.0, 1.0),
    )  # fmt: skip
    assert held.status(107.0).periods == ended
    # However long it is held after its end.
    assert held.status(500.0).periods == ended


def test_an_assignments_trace_is_on_every_line_about_its_render() -> None:
    trace = "a" * 32
    held = Held.of(
        Assignment.of(a_claim(trace=f"00-{trace}-{'b' * 16}-01")), FAMILIES["tiny-2b"], 0.0, preview_at=0.0,
        batches=False,
    )  # fmt: skip
    assert held.names["trace_id"] == trace
    assert "trace_id" not in a_held().names
