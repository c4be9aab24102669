"""What is decided is carried out: each act of dispatcher, watcher, scaler and rescuer shows where it must have arrived.

Every test here fails when its act is left out, or happens before its time or after it.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from orchestrator.capacity.scaler import Scaler
from orchestrator.config.logins import Login
from orchestrator.dispatch.recovery import Recovery
from orchestrator.dispatch.rescuer import Rescuer
from orchestrator.domain.errors import ProtocolMismatch, StoreUnavailable, WorkerUnreachable
from orchestrator.domain.job import Claim, Failure, WorkerRef
from orchestrator.domain.protocol import (
    Assignment,
    Broke,
    Caller,
    End,
    HandedBack,
    Rendered,
    RenderStatus,
    Stage,
    Stopped,
)
from orchestrator.domain.states import JobState
from orchestrator.kit.loops import Loops
from orchestrator.policy import placement
from orchestrator.ports import Heartbeat
from orchestrator.processes.dispatching import Watchers, dispatching
from tests.support.api import api_settings
from tests.support.builders import a_claim, a_job, a_result, a_spec
from tests.support.control import GRACE_S, RULES, TTL_S, a_plan
from tests.support.jobs import ending, lost
from tests.support.logins import acting
from tests.support.site import Site

NAME = "small-0"
ENDS = (
    Rendered(result=a_result()),
    Broke(failure=Failure(code="render_error", message="it broke"), gpu_seconds=0.1),
    HandedBack(reason="evicted"),
    Stopped(),
)
TWO = {NAME: a_plan(), "small-1": a_plan("small-1")}


def the_render(site: Site) -> RenderStatus:
    """The one render that the one worker holds."""
    ((_, status),) = site.pool.workers[NAME].renders.values()
    return status


def life(site: Site, name: str = NAME) -> WorkerRef:
    """The worker as it lives now."""
    return WorkerRef(name=name, incarnation=site.pool.workers[name].incarnation)


async def beats(site: Site) -> dict[WorkerRef, int]:
    """The heartbeats of the workers that count as alive."""
    return {beat.worker: beat.beat for beat in await site.store.heartbeats()}


# ---------------------------------------------------------------- cancelling
async def test_a_cancel_request_reaches_the_worker_without_waiting_for_its_next_answer(site: Site) -> None:
    await site.begins()
    job = await site.runs_a_job()
    await site.store.request_cancel(job.id, job.tenant)
    assert await site.control.dispatcher.cancel() == 1
    assert isinstance(the_render(site).end, Stopped)
    assert await site.control.dispatcher.cancel() == 0, "it was asked for once"


async def test_a_cancel_that_did_not_reach_its_worker_is_sent_again_with_its_next_answer(site: Site) -> None:
    await site.begins()
    job = await site.runs_a_job()
    worker = site.pool.workers[NAME]
    await site.store.request_cancel(job.id, job.tenant)
    worker.reachable = False
    await site.control.dispatcher.cancel()
    assert the_render(site).end is None
    worker.reachable = True
    await site.control.watchers[NAME].run_once()
    assert isinstance(the_render(site).end, Stopped)
    await site.control.round()
    assert await site.state(job) is JobState.CANCELLED


@pytest.mark.parametrize("end", ENDS, ids=lambda end: type(end).__name__)
async def test_a_render_that_ended_after_its_owner_had_cancelled_it_ends_as_cancelled(site: Site, end: End) -> None:
    await site.begins()
    job = await site.runs_a_job()
    await site.store.request_cancel(job.id, job.tenant)
    worker, token = site.pool.workers[NAME], the_render(site).token
    worker.update(token, stage=Stage.ENDED, end=end)
    site.control.cluster.claims.request_cancel([token])
    await site.control.watchers[NAME].run_once()
    assert await site.state(job) is JobState.CANCELLED
    assert worker.renders == {}, "and is forgotten"


# ---------------------------------------------------------------- learning
@pytest.mark.parametrize("resumed_at", [0, 3])
async def test_a_whole_render_teaches_how_long_its_pool_takes_and_the_rest_of_one_does_not(
    site: Site, resumed_at: int
) -> None:
    await site.begins()
    site.pool.publish = lambda _: a_result(gpu_seconds=1000.0, resumed_at=resumed_at)
    await site.finishes(await site.runs_a_job())
    await site.control.cluster.lessons.write()
    assert len(await site.store.learned()) == (resumed_at == 0)


async def test_what_renders_have_taught_outlives_the_dispatcher_and_sets_what_is_expected(site: Site) -> None:
    await site.begins()
    site.pool.publish = lambda _: a_result(gpu_seconds=1000.0)
    await site.finishes(await site.runs_a_job())
    await site.control.cluster.lessons.write()
    await site.begins()
    await site.control.cluster.lessons.read()
    claim = a_claim()
    assert site.control.cluster.expected_s([claim]) == {claim.token: pytest.approx(1000.0)}
    foreign = a_claim(spec=a_spec(model="not configured any more"), cost=7.0)
    assert site.control.cluster.expected_s([foreign]) == {foreign.token: 7.0}


# ---------------------------------------------------------------- leases
async def test_only_the_leases_of_workers_that_answered_are_renewed(site: Site) -> None:
    await site.begins(TWO)
    await site.pool.clock.sleep(1)
    site.pool.workers["small-1"].reachable = False
    before = await beats(site)
    for watcher in site.control.watchers.values():
        await watcher.run_once()
    assert await site.control.dispatcher.beat() == 1
    after = await beats(site)
    assert {worker.name for worker in after if after[worker] > before[worker]} == {NAME}
    assert await site.control.dispatcher.beat() == 0, "and once for an answer"


async def test_a_worker_that_somebody_declared_dead_gets_no_work_and_comes_back_as_another(site: Site) -> None:
    await site.begins()
    dead = life(site)
    await site.pool.clock.sleep(1)
    await site.control.watchers[NAME].run_once()
    await site.store.declare_dead("default", dead)
    await site.control.dispatcher.beat()
    assert placement.slots(site.control.cluster.fleet.takers("small"), ()) == []
    await site.control.watchers[NAME].run_once()
    assert life(site) != dead
    await site.finishes(await site.runs_a_job())


async def test_a_dispatcher_that_starts_uses_no_life_that_was_declared_dead_in_its_absence(site: Site) -> None:
    await site.begins()
    dead = life(site)
    await site.store.declare_dead("default", dead)
    await site.begins()
    assert life(site) != dead
    assert dead not in await beats(site)


async def test_a_beat_that_comes_between_the_look_and_the_sentence_saves_a_worker(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.begins()
    worker, clock = life(site), site.pool.clock
    rescuer = Rescuer(
        site.store, Recovery(site.control.cluster.settler, site.objects, ended=lambda _: None), clock, TTL_S
    )
    for _ in range(3):
        assert await rescuer.expire() == 0
        await clock.sleep(TTL_S / 3)
    look = site.store.heartbeats

    async def look_just_before_a_beat() -> list[Heartbeat]:
        seen = await look()
        await site.store.beat("default", {worker: "small"})
        return seen

    with monkeypatch.context() as patch:
        patch.setattr(site.store, "heartbeats", look_just_before_a_beat)
        assert await rescuer.expire() == 0
    assert worker in await beats(site)
    for _ in range(4):
        await rescuer.expire()
        await clock.sleep(TTL_S / 3)
    assert worker not in await beats(site), "silent from then on"


# ---------------------------------------------------------------- killing
async def test_a_life_is_void_in_the_database_before_its_process_is_killed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.begins()
    await site.runs_a_job()
    site.pool.advance(NAME)
    await site.control.round()
    site.pool.workers[NAME].hung = True
    doomed, kill, killed = life(site), site.pool.kill, []

    async def void_first(name: str, *, restart: bool) -> None:
        killed.append(doomed in await beats(site))
        await kill(name, restart=restart)

    monkeypatch.setattr(site.pool, "kill", void_first)
    await site.pool.clock.sleep(RULES.patience.floor_s + 1)
    await site.control.round()
    assert killed == [False]


async def test_a_worker_too_many_is_void_in_the_database_before_its_process_is_killed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.begins()
    doomed, kill, killed = life(site), site.pool.kill, []

    async def void_first(name: str, *, restart: bool) -> None:
        killed.append(doomed in await beats(site))
        await kill(name, restart=restart)

    monkeypatch.setattr(site.pool, "kill", void_first)
    await site.begins({})
    for _ in range(2):
        await site.control.round()
    assert (killed, site.pool.workers) == ([False], {})


async def test_no_worker_is_killed_whose_row_could_not_be_ended(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.begins()
    await site.runs_a_job()
    site.pool.advance(NAME)
    await site.control.round()
    site.pool.workers[NAME].hung = True
    before = life(site)

    async def away(*_: Any, **__: Any) -> bool:
        raise StoreUnavailable("PostgreSQL is away")

    await site.pool.clock.sleep(RULES.patience.floor_s + 1)
    with monkeypatch.context() as patch:
        patch.setattr(acting(site.store, Login.DISPATCH), "declare_dead", away)
        with pytest.raises(StoreUnavailable):
            await site.control.watchers[NAME].run_once()
    assert life(site) == before
    asked_at = site.pool.clock.now
    await site.control.watchers[NAME].run_once()
    assert life(site) != before, "decided anew with the next answer"
    assert site.pool.clock.now == asked_at, "for which it was asked at once"


async def test_a_worker_that_stays_silent_for_a_time_to_live_is_killed_and_what_it_held_is_tried_again(
    site: Site,
) -> None:
    await site.begins()
    job = await site.runs_a_job()
    before = life(site)
    site.pool.workers[NAME].reachable = False
    while site.pool.clock.now - site.control.cluster.fleet.workers[NAME].heard_at <= TTL_S:
        await site.control.watchers[NAME].run_once()
        assert life(site) == before, "not before its time"
        assert await site.outcomes(job) == []
        await site.pool.clock.sleep(TTL_S / 10)
    await site.control.watchers[NAME].run_once()
    assert life(site) != before
    assert before not in await beats(site)
    await site.control.cluster.recovery.run_once()
    assert await site.outcomes(job) == ["lost"]


async def test_a_life_that_vanished_is_void_at_once_and_what_it_held_is_tried_again(site: Site) -> None:
    await site.begins()
    job = await site.runs_a_job()
    gone = life(site)
    site.pool.vanish(NAME)
    await site.control.watchers[NAME].run_once()
    assert gone not in await beats(site)
    await site.control.cluster.recovery.run_once()
    assert await site.outcomes(job) == ["lost"]


async def test_the_life_before_is_void_as_soon_as_a_worker_answers_with_another(site: Site) -> None:
    await site.begins()
    gone = life(site)
    site.pool.crash(NAME)
    await site.control.watchers[NAME].run_once()
    assert life(site) in await beats(site)
    assert gone not in await beats(site)


async def test_a_worker_that_was_killed_for_its_silence_has_another_time_to_live_to_come_back(site: Site) -> None:
    await site.begins()
    silenced = life(site)
    site.pool.workers[NAME].reachable = False
    while life(site) == silenced:
        await site.control.watchers[NAME].run_once()
    site.pool.workers[NAME].reachable = False
    reborn, killed_at = life(site), site.pool.clock.now
    while site.pool.clock.now - killed_at < TTL_S - 1:
        await site.control.watchers[NAME].run_once()
        assert life(site) == reborn


async def test_what_a_worker_of_another_release_holds_is_tried_again_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.begins()
    job = await site.runs_a_job()

    async def another_language(*_: object, **__: object) -> None:
        raise ProtocolMismatch("it speaks protocol 0")

    monkeypatch.setattr(site.pool, "poll", another_language)
    await site.control.watchers[NAME].run_once()
    await site.control.cluster.recovery.run_once()
    assert await site.outcomes(job) == ["lost"]


# ---------------------------------------------------------------- handing back
async def test_a_worker_that_did_not_hear_that_it_should_hand_a_render_back_is_asked_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.begins()
    site.pool.workers[NAME].step_s = 30.0
    bulk = await site.runs_a_job()
    site.pool.advance(NAME)
    await site.control.round()
    await site.store.submit(a_job(priority=0))
    await site.control.round()
    site.pool.advance(NAME)
    asked = []

    async def unheard(name: str, caller: Caller, token: UUID) -> bool:
        asked.append(token)
        raise WorkerUnreachable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(site.pool, "evict", unheard)
        await site.begins(TWO)
        for _ in range(3):
            await site.control.round()
    assert len(asked) > 1
    assert await site.outcomes(bulk) == []
    for _ in range(3):
        await site.control.round()
    assert await site.outcomes(bulk) == ["evicted"]


# ---------------------------------------------------------------- disowning
async def test_a_render_whose_claim_somebody_else_ended_is_stopped_and_then_forgotten(site: Site) -> None:
    await site.begins()
    job = await site.runs_a_job()
    (claim,) = await site.store.running("default")
    await site.store.settle([ending(claim, lost())])
    await site.control.cluster.reconcile()
    await site.control.watchers[NAME].run_once()
    assert isinstance(the_render(site).end, Stopped)
    await site.control.watchers[NAME].run_once()
    assert site.pool.workers[NAME].renders == {}
    assert await site.outcomes(job) == ["lost"]


async def test_a_render_that_was_claimed_in_our_absence_is_adopted_and_goes_on(site: Site) -> None:
    await site.begins()
    cluster, job = site.control.cluster, a_job()
    await site.store.submit(job)
    (claim,) = await site.store.claim("small", "default", [life(site)])
    await site.pool.assign(NAME, cluster.caller, Assignment.of(claim))
    await site.control.watchers[NAME].run_once()
    assert the_render(site).end is None
    assert claim.token in cluster.claims.by_token
    await site.finishes(job)
    assert await site.outcomes(job) == ["succeeded"]


# ---------------------------------------------------------------- scaling
async def test_a_worker_too_many_is_not_ended_while_a_claim_is_on_its_way_to_it(site: Site) -> None:
    await site.begins()
    await site.store.submit(a_job())
    site.pool.lose_replies.add(NAME)
    await site.control.dispatch()
    assert not site.control.cluster.fleet.workers[NAME].status.renders, "its last answer is older than the claim"
    await Scaler(site.control.cluster, {}).run_once()
    assert NAME in site.pool.workers
    assert the_render(site).end is None


async def test_a_claim_without_a_worker_is_given_the_grace_of_one_that_nobody_holds(site: Site) -> None:
    await site.begins()
    job = await site.runs_a_job()
    site.pool.vanish(NAME)
    elsewhere = {"small-1": a_plan("small-1")}
    await site.begins(elsewhere)
    await site.pool.clock.sleep(GRACE_S - 1)
    await site.control.round()
    assert await site.outcomes(job) == []
    await site.pool.clock.sleep(2)
    await site.control.round()
    await site.control.round()
    assert await site.outcomes(job) == ["lost"]


# ---------------------------------------------------------------- claiming
async def test_work_that_is_announced_while_the_queue_is_read_is_looked_for_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.begins()
    store = acting(site.store, Login.DISPATCH)
    look, late = store.claim, a_job()

    async def look_just_too_early(*args: Any, **kwargs: Any) -> list[Claim]:
        seen = await look(*args, **kwargs)
        await site.store.submit(late)
        site.control.dispatcher.announce()
        return seen

    dispatcher = site.control.dispatcher
    dispatcher.announce()
    with monkeypatch.context() as patch:
        patch.setattr(store, "claim", look_just_too_early)
        assert await dispatcher.run_once() == 0
    assert await dispatcher.run_once() == 1, "no second announcement was needed"


async def test_a_queue_that_was_found_empty_is_not_read_again_until_something_is_announced(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.begins()
    store = acting(site.store, Login.DISPATCH)
    look, looks = store.claim, 0

    async def counted(*args: Any, **kwargs: Any) -> list[Claim]:
        nonlocal looks
        looks += 1
        return await look(*args, **kwargs)

    monkeypatch.setattr(store, "claim", counted)
    dispatcher = site.control.dispatcher
    dispatcher.announce()
    for _ in range(3):
        await dispatcher.run_once()
    assert looks == 1
    dispatcher.announce()
    await dispatcher.run_once()
    assert looks == 2


async def test_an_announcement_that_is_lost_is_made_up_for_although_the_workers_report_all_the_time(
    site: Site, database_url: str
) -> None:
    await site.begins()
    dispatcher, cluster = site.control.dispatcher, site.control.cluster
    watchers = Watchers(cluster, Loops(None, None))  # type: ignore[arg-type]
    table = dispatching(api_settings(database_url), cluster, dispatcher, watchers, None)  # type: ignore[arg-type]
    (look,) = [loop for loop in table if loop.name == "look"]
    assert look.pause == 1.0
    dispatcher.announce()
    await dispatcher.run_once()
    await site.store.submit(a_job())
    cluster.fleet.changed.set()
    assert await dispatcher.run_once() == 0, "nobody said that there is something"
    await look.run_once()
    assert await dispatcher.run_once() == 1
    await dispatcher.assigned()
