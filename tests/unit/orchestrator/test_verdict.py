"""What a worker's answer calls for, decided without a worker."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.dispatch.verdict import Cancel, Death, Disown, Drain, Kill, Rest, Rules, Settle, decide
from orchestrator.domain.job import WorkerRef
from orchestrator.domain.outcome import Evicted, Lost, Released
from orchestrator.domain.protocol import HandedBack, Rendered, Stage, Stopped, WorkerState
from orchestrator.policy.watchdog import Patience
from tests.support.builders import WORKER, a_claim, a_render, a_result, a_status

RULES = Rules(
    patience=Patience(floor_s=60, factor=10, upload_s=300),
    unheld_grace_s=30,
    load_s=600,
    quarantine_after=3,
    notice_s=20,
)


def test_a_render_that_moves_is_left_alone() -> None:
    claim = a_claim()
    assert decide(a_status(a_render(claim)), 0, [claim], RULES) == []


def test_a_finished_render_ends_its_claim() -> None:
    claim, done = a_claim(), Rendered(result=a_result())
    assert decide(a_status(a_render(claim, stage=Stage.ENDED, end=done)), 0, [claim], RULES) == [Settle(claim, done)]


def test_a_cancel_request_is_passed_on_until_the_render_ends() -> None:
    claim = a_claim(cancel_requested=True)
    assert decide(a_status(a_render(claim)), 0, [claim], RULES) == [Cancel(claim.token)]


@pytest.mark.parametrize("end", [Rendered(result=a_result()), HandedBack(reason="evicted"), Stopped()])
def test_a_render_that_has_ended_is_settled_though_its_owner_cancelled_it_meanwhile(
    end: Rendered | HandedBack | Stopped,
) -> None:
    claim = a_claim(cancel_requested=True)
    assert decide(a_status(a_render(claim, stage=Stage.ENDED, end=end)), 0, [claim], RULES) == [Settle(claim, end)]


def test_a_render_that_nobody_claimed_is_asked_about() -> None:
    render = a_render()
    assert decide(a_status(render), 0, [], RULES) == [Disown(render)]


def test_a_new_incarnation_has_lost_what_the_old_one_held() -> None:
    claim = a_claim(worker=WorkerRef(name=WORKER.name, incarnation="older"))
    (action,) = decide(a_status(), 0, [claim], RULES)
    assert isinstance(action, Settle)
    assert isinstance(action.ending, Lost)
    assert action.ending.failure.code == "worker_lost"


def test_a_claim_that_its_worker_does_not_hold_is_released_after_a_grace() -> None:
    fresh, old = a_claim(age_s=29), a_claim(age_s=31)
    (action,) = decide(a_status(), 0, [fresh, old], RULES)
    assert isinstance(action, Settle)
    assert action.claim == old
    assert isinstance(action.ending, Released)


def test_a_hung_render_costs_its_worker_and_only_itself() -> None:
    hung, beside, waiting, done = (a_claim() for _ in range(4))
    status = a_status(
        a_render(hung, progress_age_s=61),
        a_render(beside, stage=Stage.UPLOADING),
        a_render(waiting, stage=Stage.ASSIGNED, progress_age_s=500),
        a_render(done, stage=Stage.ENDED, end=Rendered(result=a_result())),
    )
    *ends, kill = decide(status, 0, [hung, beside, waiting, done], RULES)
    assert isinstance(kill, Kill)
    endings = {end.claim.token: end.ending for end in ends if isinstance(end, Settle)}
    assert isinstance(endings[hung.token], Lost)
    assert endings[hung.token].failure.code == "hung"
    assert isinstance(endings[beside.token], Evicted)
    assert isinstance(endings[waiting.token], Released)
    assert isinstance(endings[done.token], Rendered)


def test_patience_grows_with_what_the_render_is_predicted_to_take() -> None:
    slow = a_claim(cost=400.0)  # 4 steps of 100 s
    status = a_status(a_render(slow, progress_age_s=900))
    assert decide(status, 0, [slow], RULES) == []
    assert decide(status, 0, [replace(slow, cost=300.0)], RULES) != []


def test_a_slow_upload_is_not_a_hang_while_it_moves() -> None:
    claim = a_claim()
    assert decide(a_status(a_render(claim, stage=Stage.UPLOADING, progress_age_s=299)), 0, [claim], RULES) == []


def test_a_worker_that_never_loads_its_model_or_cannot_load_it_is_ended_and_rests() -> None:
    loading = a_status(state=WorkerState.LOADING)
    assert decide(loading, 599, [], RULES) == []
    assert decide(loading, 601, [], RULES) == [Rest(Death.LOADING, "for 601 s")]
    broken = a_status(state=WorkerState.BROKEN, error="no such directory")
    assert decide(broken, 0, [], RULES) == [Rest(Death.BROKEN, "no such directory")]


def test_a_worker_that_breaks_later_may_finish_what_is_being_uploaded() -> None:
    claim = a_claim()
    broken = a_status(a_render(claim, stage=Stage.UPLOADING), state=WorkerState.BROKEN, error="the device is lost")
    assert decide(broken, 60, [claim], RULES) == []
    *ends, rest = decide(broken, 61, [claim], RULES)
    assert (len(ends), rest) == (1, Rest(Death.BROKEN, "the device is lost"))


def test_a_preempted_render_waits_for_as_long_as_the_one_that_displaced_it_lives() -> None:
    waiting, urgent = a_claim(), a_claim(priority=0)
    displaced = a_render(waiting, stage=Stage.PREEMPTED, progress_age_s=10**6)
    assert decide(a_status(displaced, a_render(urgent, progress_age_s=59)), 0, [waiting, urgent], RULES) == []
    *ends, kill = decide(a_status(displaced, a_render(urgent, progress_age_s=61)), 0, [waiting, urgent], RULES)
    assert isinstance(kill, Kill)
    endings = {end.claim.token: end.ending for end in ends if isinstance(end, Settle)}
    assert isinstance(endings[urgent.token], Lost)
    assert isinstance(endings[waiting.token], Evicted)


def test_restoring_a_checkpoint_may_take_as_long_as_encoding() -> None:
    claim = a_claim(cost=400.0)
    restoring = a_render(claim, stage=Stage.ENCODING, step=0, progress_age_s=3999)
    assert decide(a_status(restoring), 0, [claim], RULES) == []


def test_a_worker_on_which_job_after_job_fails_hands_back_what_it_holds_and_is_then_replaced() -> None:
    claim = a_claim()
    holding = a_status(a_render(claim))
    assert decide(holding, 0, [claim], RULES, failed=2) == []
    assert decide(holding, 0, [claim], RULES, failed=3) == [Drain()]
    draining = replace(holding, state=WorkerState.DRAINING)
    assert decide(draining, 1, [claim], RULES, failed=3) == [], "it has notice"
    back = HandedBack(reason="drain")
    over = replace(draining, renders=(a_render(claim, stage=Stage.ENDED, end=back),))
    end, kill = decide(over, 1, [claim], RULES, failed=3)
    assert end == Settle(claim, back)
    assert isinstance(kill, Kill)
    assert kill.reason is Death.QUARANTINED


def test_what_a_quarantined_worker_does_not_hand_back_in_time_is_evicted_and_not_failed() -> None:
    claim = a_claim()
    end, kill = decide(a_status(a_render(claim), state=WorkerState.DRAINING), 21, [claim], RULES, failed=3)
    assert isinstance(end, Settle)
    assert isinstance(end.ending, Evicted)
    assert isinstance(kill, Kill)


@pytest.mark.parametrize("failed", [0, 2])
def test_a_worker_that_is_drained_for_another_reason_is_left_to_end_its_renders(failed: int) -> None:
    claim = a_claim()
    draining = a_status(a_render(claim), state=WorkerState.DRAINING)
    assert decide(draining, 10**6, [claim], RULES, failed=failed) == []
