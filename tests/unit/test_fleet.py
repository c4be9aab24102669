"""Which workers get a render next, and how a dispatcher's claims follow the database's."""

from __future__ import annotations

from typing import Any

from orchestrator.dispatch.fleet import LEAD_S, Fleet
from orchestrator.dispatch.rescuer import Silence
from orchestrator.domain.job import Artifact, Failure, Incident, WorkerRef
from orchestrator.domain.protocol import Broke, HandedBack, Rendered, Stage, WorkerState, WorkerStatus
from orchestrator.ports import Heartbeat
from tests.support.builders import WORKER, a_checkpoint, a_claim, a_render, a_result, a_status


def fleet_with(*statuses: WorkerStatus) -> Fleet:
    fleet = Fleet()
    for status in statuses:
        worker = fleet.worker(status.worker.name, status.pool, 0.0)
        worker.registered = status.worker
        fleet.heard(worker, status, 0.0)
    return fleet


def test_an_idle_worker_gets_one_render_and_no_second_before_it_is_seen_to_hold_the_first() -> None:
    fleet = fleet_with(a_status(room=2))
    assert fleet.slots("small") == [WORKER]
    fleet.hold([a_claim()], 0.0)
    assert fleet.slots("small") == []


def test_a_worker_deep_in_a_long_render_gets_nothing_and_one_about_to_be_free_does() -> None:
    claim = a_claim()
    for free_in, slots in ((44.0, []), (LEAD_S, [WORKER])):
        fleet = fleet_with(a_status(a_render(claim), free_in_s=free_in, step_s=0.1))
        fleet.hold([claim], 0.0)
        assert fleet.slots("small") == slots


def test_a_worker_that_steps_slowly_gets_its_next_render_one_step_ahead() -> None:
    assert fleet_with(a_status(free_in_s=5.5, step_s=6.0)).slots("small") == [WORKER]


def test_who_is_not_ready_full_draining_or_without_a_row_gets_nothing() -> None:
    assert fleet_with(a_status(state=WorkerState.LOADING)).slots("small") == []
    assert fleet_with(a_status(room=0)).slots("small") == []
    assert fleet_with(a_status()).slots("another-pool") == []
    fleet = fleet_with(a_status())
    fleet.workers[WORKER.name].draining = True
    assert fleet.slots("small") == []
    fleet = fleet_with(a_status())
    fleet.workers[WORKER.name].registered = None
    assert fleet.slots("small") == []


def test_the_soonest_free_comes_first() -> None:
    late = WorkerRef(name="small-1", incarnation="x")
    fleet = fleet_with(a_status(worker=late, free_in_s=0.4), a_status(free_in_s=0.1))
    assert fleet.slots("small") == [WORKER, late]


def test_reconciling_drops_what_others_settled_and_keeps_what_was_claimed_meanwhile() -> None:
    fleet = Fleet()
    settled, kept, meanwhile, adopted = (a_claim() for _ in range(4))
    fleet.hold([settled, kept], 0.0)
    with fleet.reading() as reading:
        fleet.hold([meanwhile], 1.0)
        reading.reconcile([kept, adopted], 2.0)
    assert set(fleet.claims) == {kept.token, meanwhile.token, adopted.token}


def test_a_claim_that_was_settled_while_the_database_was_read_is_not_adopted_again() -> None:
    fleet = Fleet()
    claim = a_claim()
    fleet.hold([claim], 0.0)
    with fleet.reading() as reading:
        fleet.drop(claim.token)
        reading.reconcile([claim], 1.0)
    assert fleet.claims == {}
    assert fleet.held_by(WORKER.name) == []


def test_a_claim_of_a_worker_s_earlier_life_does_not_keep_its_new_life_idle() -> None:
    fleet = fleet_with(a_status())
    fleet.hold([a_claim(worker=WorkerRef(name=WORKER.name, incarnation="earlier"))], 0.0)
    assert fleet.slots("small") == [WORKER]


def test_an_adopted_claim_keeps_its_age() -> None:
    fleet = Fleet()
    with fleet.reading() as reading:
        reading.reconcile([a_claim(age_s=100)], 50.0)
    assert fleet.aged(fleet.held_by(WORKER.name), 60.0)[0].age_s == 110


def test_progress_is_written_once_per_place() -> None:
    claim = a_claim()
    fleet = fleet_with(a_status(a_render(claim, step=2)))
    fleet.hold([claim], 0.0)
    (moved,) = fleet.unwritten_progress()
    assert (moved.stage, moved.step) == ("denoising", 2)
    fleet.wrote([moved])
    assert fleet.unwritten_progress() == []


def test_a_preview_is_written_as_soon_as_it_is_there() -> None:
    claim = a_claim()
    fleet = fleet_with(a_status(a_render(claim, step=2)))
    fleet.hold([claim], 0.0)
    fleet.wrote(fleet.unwritten_progress())
    preview = Artifact(key="videos/x/1/preview.webp", size=1, sha256="2" * 64, content_type="image/webp")
    fleet.heard(fleet.workers[WORKER.name], a_status(a_render(claim, step=2, preview=preview)), 1.0)
    assert [moved.preview for moved in fleet.unwritten_progress()] == [preview]


def another(name: str) -> WorkerRef:
    return WorkerRef(name=name, incarnation="first")


def busy(priority: int | None, worker: WorkerRef = WORKER, **changes: Any) -> WorkerStatus:
    """A worker deep in a long render that a priority number below this one would interrupt."""
    return a_status(**{"worker": worker, "free_in_s": 40.0, "interrupts": priority, **changes})


def test_whoever_renders_the_least_urgent_is_interrupted_first() -> None:
    urgent, bulk, as_bulk = another("small-1"), another("small-2"), another("small-3")
    fleet = fleet_with(busy(10), busy(1, urgent), busy(20, bulk), busy(20, as_bulk), busy(None, another("small-4")))
    assert fleet.interruptible("small") == [(20, [bulk, as_bulk]), (10, [WORKER]), (1, [urgent])]
    assert fleet.interruptible("another-pool") == []


def test_a_worker_that_is_free_soon_is_a_slot_and_nothing_to_interrupt() -> None:
    fleet = fleet_with(busy(20, free_in_s=0.1))
    assert (fleet.slots("small"), fleet.interruptible("small")) == ([WORKER], [])


def test_nobody_is_interrupted_twice_at_once() -> None:
    fleet = fleet_with(busy(20))
    fleet.hold([a_claim(priority=0)], 0.0)
    assert fleet.interruptible("small") == []


def test_who_is_full_is_interrupted_all_the_same() -> None:
    fleet = fleet_with(busy(20, room=0))
    assert (fleet.slots("small"), fleet.interruptible("small")) == ([], [(20, [WORKER])])
    fleet = fleet_with(busy(20, room=0, free_in_s=0.1))
    assert (fleet.slots("small"), fleet.interruptible("small")) == ([], []), "in a moment it has room"


def test_who_is_leaving_or_condemned_is_not_interrupted() -> None:
    assert fleet_with(busy(20, state=WorkerState.DRAINING)).interruptible("small") == []
    fleet = fleet_with(busy(20))
    fleet.workers[WORKER.name].condemned = True
    assert fleet.interruptible("small") == []


def test_the_dispatcher_looks_when_a_worker_can_be_interrupted_and_not_at_each_of_its_steps() -> None:
    fleet = fleet_with(busy(None))
    for interrupts, looks in ((None, False), (20, True), (20, False), (10, True)):
        fleet.changed.clear()
        fleet.heard(fleet.workers[WORKER.name], busy(interrupts), 1.0)
        assert fleet.changed.is_set() is looks


def test_a_preempted_render_goes_to_an_idle_worker_and_no_more_renders_go_than_workers_are_idle() -> None:
    urgent, older, younger = a_claim(priority=0), a_claim(), a_claim(worker=another("small-1"))
    fleet = fleet_with(
        busy(None, renders=(a_render(urgent), a_render(older, stage=Stage.PREEMPTED))),
        busy(None, another("small-1"), renders=(a_render(younger, stage=Stage.PREEMPTED),)),
    )
    fleet.hold([older, urgent], 0.0)
    fleet.hold([younger], 1.0)
    assert fleet.misplaced("small") == [], "nobody is idle"
    idle = another("small-2")
    fleet.worker(idle.name, "small", 0.0).registered = idle
    fleet.heard(fleet.workers[idle.name], a_status(worker=idle), 2.0)
    assert fleet.misplaced("small") == [older]
    fleet.told_to_leave(older.token)
    assert fleet.misplaced("small") == [], "one is on its way to the idle worker"
    fleet.may_stay(older.token)
    assert fleet.misplaced("small") == [older], "it had not heard"
    fleet.heard(fleet.workers[idle.name], a_status(worker=idle, numerics="another kind"), 3.0)
    assert fleet.misplaced("small") == [], "it would start over there"


def test_what_is_not_predicted_to_end_in_time_leaves_a_worker_that_stops() -> None:
    nearly, barely, finishing, unseen = (a_claim(cost=40.0) for _ in range(4))
    fleet = fleet_with(
        a_status(
            a_render(nearly, step=3),
            a_render(barely, step=1),
            a_render(finishing, step=4, stage=Stage.FINISHING),
        )
    )
    fleet.hold([nearly, barely, finishing, unseen], 0.0)
    assert fleet.unfinished(20.0) == [barely, unseen]
    fleet.told_to_leave(barely.token)
    assert fleet.unfinished(20.0) == [unseen]


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
        fleet.judge(worker, claim, ending)
    assert len(worker.failed) == 2
    fleet.judge(worker, a_claim(), Rendered(result=a_result()))
    assert worker.failed == frozenset(), "a success resets"


def test_failures_while_a_worker_is_drained_do_not_count() -> None:
    fleet = fleet_with(a_status(state=WorkerState.DRAINING))
    fleet.judge(fleet.workers[WORKER.name], a_claim(), Broke(failure=Failure(code="render_error", message="")))
    assert fleet.workers[WORKER.name].failed == frozenset()


def test_a_new_life_of_a_worker_begins_without_blame() -> None:
    fleet = fleet_with(a_status())
    worker = fleet.workers[WORKER.name]
    fleet.judge(worker, a_claim(), Broke(failure=Failure(code="render_error", message="")))
    worker.condemned = True
    fleet.heard(worker, a_status(worker=WorkerRef(name=WORKER.name, incarnation="second")), 1.0)
    assert (worker.failed, worker.condemned) == (frozenset(), False)


def test_what_a_render_stored_last_is_written_before_its_claim_ends() -> None:
    claim, silent = a_claim(), a_claim()
    done = Rendered(result=a_result())
    status = a_status(
        a_render(claim, stage=Stage.ENDED, end=done, checkpoint=a_checkpoint(2), incidents=(Incident.PREEMPTED,)),
        a_render(silent, stage=Stage.ENDED, end=done),
    )
    fleet = fleet_with(status)
    fleet.hold([claim, silent], 0.0)
    (words,) = fleet.last_words(status)
    assert (words.token, words.checkpoint, words.incidents) == (
        claim.token, a_checkpoint(2), (Incident.PREEMPTED,),
    )  # fmt: skip
    fleet.wrote([words])
    assert fleet.last_words(status) == []


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
