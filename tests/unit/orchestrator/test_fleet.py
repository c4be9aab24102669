"""What a dispatcher makes of its workers' answers, and of their silence."""

from __future__ import annotations

from typing import Any

from orchestrator.dispatch.fleet import Fleet
from orchestrator.dispatch.rescuer import Silence
from orchestrator.domain.job import Failure, WorkerRef
from orchestrator.domain.protocol import Broke, HandedBack, Rendered, WorkerState, WorkerStatus
from orchestrator.domain.warmth import COLD, Warmth
from orchestrator.ports import Heartbeat
from tests.support.builders import WORKER, a_claim, a_result, a_spec, a_status
from tests.support.control import hears


def fleet_with(*statuses: WorkerStatus) -> Fleet:
    fleet = Fleet()
    for status in statuses:
        hears(fleet, status)
    return fleet


def test_who_drains_or_has_no_row_or_is_condemned_or_of_another_pool_may_be_given_no_work() -> None:
    assert [status.worker for status in fleet_with(a_status()).takers("small")] == [WORKER]
    assert fleet_with(a_status()).takers("another-pool") == []
    for unfit in ({"draining": True}, {"condemned": True}, {"registered": None}, {"status": None}):
        fleet = fleet_with(a_status())
        for field, value in unfit.items():
            setattr(fleet.workers[WORKER.name], field, value)
        assert fleet.takers("small") == []


def test_every_worker_that_has_answered_is_asked_after_its_renders_whether_or_not_it_takes_more() -> None:
    fleet = fleet_with(a_status(), a_status(worker=another("large-0"), pool="large"))
    fleet.worker("small-1", "small", 0.0)
    fleet.workers[WORKER.name].draining = True
    assert [status.worker for status in fleet.statuses("small")] == [WORKER]
    assert [status.worker for status in fleet.statuses()] == [WORKER, another("large-0")]


def another(name: str) -> WorkerRef:
    return WorkerRef(name=name, incarnation="first")


def busy(priority: int | None, worker: WorkerRef = WORKER, **changes: Any) -> WorkerStatus:
    """A worker deep in a long render that a priority number below this one would interrupt."""
    return a_status(**{"worker": worker, "free_in_s": 40.0, "interrupts": priority, **changes})


def test_the_dispatcher_looks_when_a_worker_can_be_interrupted_and_not_at_each_of_its_steps() -> None:
    fleet = fleet_with(busy(None))
    for interrupts, looks in ((None, False), (20, True), (20, False), (10, True)):
        fleet.changed.clear()
        fleet.heard(fleet.workers[WORKER.name], busy(interrupts), 1.0)
        assert fleet.changed.is_set() is looks


def test_a_worker_is_warm_for_the_adapters_that_it_tells_of_and_the_shape_that_its_life_was_given_last() -> None:
    fleet = fleet_with(a_status(adapters=("ink", "clay")))
    assert fleet.warmth([WORKER, another("unknown")]) == {WORKER: Warmth(adapters=("ink", "clay"))}
    first, second = a_spec(width=720, height=480, num_frames=49), a_spec(width=480, height=720, num_frames=9)
    fleet.given([a_claim(spec=first), a_claim(spec=second), a_claim(worker=another("unknown"))])
    assert fleet.warmth([WORKER])[WORKER].shape == "480x720x9"
    hears(fleet, a_status())
    assert fleet.warmth([WORKER])[WORKER].shape == "480x720x9"
    fleet.heard(fleet.workers[WORKER.name], a_status(worker=WorkerRef(name=WORKER.name, incarnation="next")), 1.0)
    assert fleet.warmth([WORKER])[WORKER] == COLD


def test_different_jobs_that_fail_in_a_row_speak_against_their_worker() -> None:
    fleet = fleet_with(a_status())
    worker, same = fleet.workers[WORKER.name], a_claim()
    broke = Broke(failure=Failure(code="nan_frames", message=""))
    for claim, ending in (
        (same, broke),
        (same, broke),
        (a_claim(), broke),
        (a_claim(), HandedBack(reason="drain")),
        (a_claim(failures=1), broke),  # it may be the job
        (a_claim(), Broke(failure=Failure(code="image_unreadable", message="", retryable=False))),
    ):
        worker.judge(claim, ending)
    assert len(worker.failed) == 2
    worker.judge(a_claim(), Rendered(result=a_result()))
    assert worker.failed == frozenset(), "a success resets"


def test_failures_while_a_worker_is_drained_do_not_count() -> None:
    fleet = fleet_with(a_status(state=WorkerState.DRAINING))
    fleet.workers[WORKER.name].judge(a_claim(), Broke(failure=Failure(code="render_error", message="")))
    assert fleet.workers[WORKER.name].failed == frozenset()


def test_a_new_life_of_a_worker_begins_without_blame() -> None:
    fleet = fleet_with(a_status())
    worker = fleet.workers[WORKER.name]
    worker.judge(a_claim(), Broke(failure=Failure(code="render_error", message="")))
    worker.condemned = True
    fleet.heard(worker, a_status(worker=WorkerRef(name=WORKER.name, incarnation="second")), 1.0)
    assert (worker.failed, worker.condemned) == (frozenset(), False)


def beat(number: int) -> Heartbeat:
    return Heartbeat(cluster="default", worker=WORKER, pool="small", beat=number, alive=True)


def test_a_heart_that_stands_still_for_a_ttl_has_stopped() -> None:
    silence = Silence()
    seen = [bool(silence.expired([beat(1)], now, 30)) for now in (0, 10, 20, 29, 30)]
    assert seen == [False, False, False, False, True]


def test_a_beat_starts_the_count_anew() -> None:
    silence = Silence()
    for now, number in ((0, 1), (14, 1), (28, 2), (42, 2), (56, 2)):
        assert silence.expired([beat(number)], now, 30) == []
    assert silence.expired([beat(2)], 58, 30) == [beat(2)]


def test_a_rescuer_that_was_away_itself_expires_nobody() -> None:
    silence = Silence()
    assert silence.expired([beat(1)], 0, 30) == []
    assert silence.expired([beat(1)], 1000, 30) == []
    assert silence.expired([beat(1)], 1014, 30) == []
    assert silence.expired([beat(1)], 1028, 30) == []
    assert silence.expired([beat(1)], 1030, 30) == [beat(1)]
