"""Which workers get a render next, and how a dispatcher's claims follow the database's."""

from __future__ import annotations

from orchestrator.domain.job import Artifact, WorkerRef
from orchestrator.domain.protocol import WorkerState, WorkerStatus
from orchestrator.fleet import LEAD_S, Fleet
from orchestrator.ports import Heartbeat
from orchestrator.rescuer import Silence
from tests.support.builders import WORKER, a_claim, a_render, a_status


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
