"""Which worker gets a render next, which may be interrupted, and which renders leave their worker."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.job import Claim, WorkerRef
from orchestrator.domain.protocol import Stage, Stopped, WorkerState, WorkerStatus
from orchestrator.policy.placement import LEAD_S, interruptible, misplaced, slots, unfinished
from tests.support.builders import WORKER, a_claim, a_render, a_status


def another(name: str) -> WorkerRef:
    return WorkerRef(name=name, incarnation="first")


def busy(priority: int | None, worker: WorkerRef = WORKER, **changes: Any) -> WorkerStatus:
    """A worker deep in a long render that a priority number below this one would interrupt."""
    return a_status(**{"worker": worker, "free_in_s": 40.0, "interrupts": priority, **changes})


# ------------------------------------------------------------ the next render
def test_an_idle_worker_gets_one_render_and_no_second_before_it_is_seen_to_hold_the_first() -> None:
    claim = a_claim()
    assert slots([a_status(room=2)], []) == [WORKER]
    assert slots([a_status(room=2)], [claim]) == []
    assert slots([a_status(a_render(claim))], [claim]) == [WORKER]


def test_a_worker_deep_in_a_long_render_gets_nothing_and_one_about_to_be_free_does() -> None:
    claim = a_claim()
    for free_in, expected in ((44.0, []), (LEAD_S, [WORKER])):
        assert slots([a_status(a_render(claim), free_in_s=free_in, step_s=0.1)], [claim]) == expected


def test_a_worker_that_steps_slowly_gets_its_next_render_one_step_ahead() -> None:
    assert slots([a_status(free_in_s=5.5, step_s=6.0)], []) == [WORKER]


def test_who_is_not_ready_or_full_gets_nothing() -> None:
    for state in set(WorkerState) - {WorkerState.READY}:
        assert slots([a_status(state=state)], []) == []
    assert slots([a_status(room=0)], []) == []


def test_the_soonest_free_comes_first() -> None:
    late = another("small-1")
    assert slots([a_status(worker=late, free_in_s=0.4), a_status(free_in_s=0.1)], []) == [WORKER, late]


def test_a_claim_of_a_worker_s_earlier_life_does_not_keep_its_new_life_idle() -> None:
    assert slots([a_status()], [a_claim(worker=WorkerRef(name=WORKER.name, incarnation="earlier"))]) == [WORKER]


# ------------------------------------------------------------ what interrupts
def test_whoever_renders_the_least_urgent_is_interrupted_first() -> None:
    urgent, bulk, as_bulk = another("small-1"), another("small-2"), another("small-3")
    takers = [busy(10), busy(1, urgent), busy(20, bulk), busy(20, as_bulk), busy(None, another("small-4"))]
    assert interruptible(takers, []) == [(20, [bulk, as_bulk]), (10, [WORKER]), (1, [urgent])]


def test_a_worker_that_is_free_soon_is_a_slot_and_nothing_to_interrupt() -> None:
    takers = [busy(20, free_in_s=0.1)]
    assert (slots(takers, []), interruptible(takers, [])) == ([WORKER], [])


def test_nobody_is_interrupted_twice_at_once() -> None:
    assert interruptible([busy(20)], [a_claim(priority=0)]) == []


def test_who_is_full_is_interrupted_all_the_same() -> None:
    takers = [busy(20, room=0)]
    assert (slots(takers, []), interruptible(takers, [])) == ([], [(20, [WORKER])])
    takers = [busy(20, room=0, free_in_s=0.1)]
    assert (slots(takers, []), interruptible(takers, [])) == ([], []), "in a moment it has room"


def test_who_is_leaving_is_not_interrupted() -> None:
    assert interruptible([busy(20, state=WorkerState.DRAINING)], []) == []


# ------------------------------------------------------------ what leaves
def test_a_preempted_render_goes_to_an_idle_worker_and_no_more_renders_go_than_workers_are_idle() -> None:
    urgent, older = a_claim(priority=0, age_s=2.0), a_claim(age_s=2.0)
    younger = a_claim(worker=another("small-1"), age_s=1.0)
    claims = [younger, older, urgent]
    rendering = [
        busy(None, renders=(a_render(urgent), a_render(older, stage=Stage.PREEMPTED))),
        busy(None, another("small-1"), renders=(a_render(younger, stage=Stage.PREEMPTED),)),
    ]
    idle = a_status(worker=another("small-2"))
    assert misplaced(rendering, rendering, claims, set()) == [], "nobody is idle"
    takers = [*rendering, idle]
    assert misplaced(takers, takers, claims, set()) == [older]
    assert misplaced(takers, takers, claims, {older.token}) == [], "one is on its way to the idle worker"
    takers = [*rendering, a_status(worker=idle.worker, numerics="another kind")]
    assert misplaced(takers, takers, claims, set()) == [], "it would start over there"


def test_a_preempted_render_goes_even_when_its_worker_takes_nothing_more() -> None:
    claim = a_claim()
    drained = busy(None, state=WorkerState.DRAINING, renders=(a_render(claim, stage=Stage.PREEMPTED),))
    idle = a_status(worker=another("small-1"))
    assert misplaced([idle], [drained, idle], [claim], set()) == [claim]


def test_what_is_not_predicted_to_end_in_time_leaves_a_worker_that_stops() -> None:
    nearly, barely, finishing, unseen = claims = [a_claim(cost=40.0) for _ in range(4)]
    statuses = [
        a_status(
            a_render(nearly, step=3),
            a_render(barely, step=1),
            a_render(finishing, step=4, stage=Stage.FINISHING),
        )
    ]
    assert unfinished(statuses, claims, set(), {}, 20.0) == [barely, unseen]
    assert unfinished(statuses, claims, {barely.token}, {}, 20.0) == [unseen]
    expected_s = {claim.token: 4.0 for claim in claims}
    assert unfinished(statuses, claims, set(), expected_s, 20.0) == [], "the pool is ten times faster"


# ------------------------------------------------------------ whatever the workers say
SECONDS = st.sampled_from([0.0, 0.1, LEAD_S, 1.0, 40.0, math.inf])
PRIORITIES = st.sampled_from([0, 10, 20])


@st.composite
def pools(draw: st.DrawFn) -> tuple[list[WorkerStatus], list[Claim]]:
    """The last answers of the workers of one pool, and the claims that they hold, shown in them or not."""
    statuses, claims = [], []
    for number in range(draw(st.integers(0, 4))):
        worker = another(f"small-{number}")
        held = [
            a_claim(worker=worker, priority=draw(PRIORITIES), age_s=draw(st.sampled_from([0.0, 5.0, 60.0])))
            for _ in range(draw(st.integers(0, 3)))
        ]
        claims += held
        renders = []
        for claim in held[draw(st.integers(0, 1)) :]:
            stage = draw(st.sampled_from(Stage))
            end = Stopped() if stage is Stage.ENDED else None
            renders.append(a_render(claim, stage=stage, end=end, step=draw(st.integers(0, 4))))
        statuses.append(
            a_status(
                *renders,
                worker=worker,
                state=draw(st.sampled_from([WorkerState.READY, WorkerState.READY, *WorkerState])),
                free_in_s=draw(SECONDS),
                step_s=draw(st.sampled_from([0.0, 0.1, 6.0])),
                room=draw(st.integers(0, 2)),
                interrupts=draw(st.none() | PRIORITIES),
                numerics=draw(st.sampled_from(["", "a", "a"])),
            )
        )
    return statuses, claims


@given(pools())
def test_nobody_is_given_two_renders_at_once_or_one_before_the_last_is_seen(
    pool: tuple[list[WorkerStatus], list[Claim]],
) -> None:
    statuses, claims = pool
    interrupted = [worker for _, workers in interruptible(statuses, claims) for worker in workers]
    chosen = [*slots(statuses, claims), *interrupted]
    assert len(chosen) == len(set(chosen))
    shown = {render.token for status in statuses for render in status.renders}
    assert not {claim.worker for claim in claims if claim.token not in shown}.intersection(chosen)


@given(pools())
def test_one_more_claim_on_its_way_takes_its_worker_out_and_moves_no_other(
    pool: tuple[list[WorkerStatus], list[Claim]],
) -> None:
    statuses, claims = pool
    before = slots(statuses, claims)
    for worker in before:
        after = slots(statuses, [*claims, a_claim(worker=worker)])
        assert after == [other for other in before if other != worker]


@given(pools(), st.randoms(use_true_random=False))
def test_handing_misplaced_renders_back_comes_to_an_end(
    pool: tuple[list[WorkerStatus], list[Claim]], random: Any
) -> None:
    """Asked again and again, each time with those that were told: no render twice, no more than workers are idle."""
    statuses, claims = pool
    shown = {render.token: render for status in statuses for render in status.renders}
    takers = [status for status in statuses if random.random() < 0.8]
    leaving = {claim.token for claim in misplaced(takers, statuses, claims, set())}
    assert len(leaving) <= len(slots(takers, claims))
    assert all(shown[token].stage is Stage.PREEMPTED for token in leaving)
    assert misplaced(takers, statuses, claims, leaving) == []


@given(pools(), st.lists(SECONDS, min_size=2, max_size=2))
def test_the_more_time_is_left_the_fewer_renders_leave(
    pool: tuple[list[WorkerStatus], list[Claim]], times: list[float]
) -> None:
    statuses, claims = pool
    short, long = ({claim.token for claim in unfinished(statuses, claims, set(), {}, time)} for time in sorted(times))
    assert long <= short
    assert unfinished(statuses, claims, short, {}, min(times)) == []
