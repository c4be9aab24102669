"""The worker's side of the protocol, on a scripted model: who is heard, what is accepted, when a poll returns."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.domain.errors import ConfigError, StaleEpoch, WorkerError
from orchestrator.domain.job import RenderSpec
from orchestrator.domain.protocol import (
    PROTOCOL_VERSION,
    Answer,
    Caller,
    HandedBack,
    Rendered,
    Stopped,
    WorkerState,
)
from orchestrator.ports import WorkerPlan
from tests.support.workers import (
    CALLER,
    PATIENCE_S,
    Gate,
    ScriptedModel,
    a_plan,
    an_actor,
    an_assignment,
    assigned,
    ended,
    parts,
    ready,
    render_of,
    until,
)
from workers.actor import Assemble, RenderActor
from workers.engine.choice import Act
from workers.engine.parts import Parts


def scripted(model: ScriptedModel) -> Assemble:
    return lambda plan, scratch: parts(model)


@pytest.fixture
def actor() -> Iterator[RenderActor]:
    with an_actor(a_plan(), scripted(ScriptedModel())) as actor:
        yield actor


@pytest.fixture
def held_at_a_step() -> Iterator[tuple[RenderActor, Gate]]:
    """An actor whose renders stop before their second step until the gate is opened."""
    gate = Gate()

    def before(act: Act, spec: RenderSpec, step: int) -> None:
        if act is Act.STEP and step == 1:
            gate.stop_here()

    with an_actor(a_plan(), scripted(ScriptedModel(before))) as actor:
        yield actor, gate
        gate.opened.set()


async def test_an_older_dispatcher_is_refused_in_every_call(actor: RenderActor) -> None:
    await actor.poll(Caller(epoch=5), 0, 0)
    old = Caller(epoch=4)
    token = uuid4()
    for call in (
        actor.poll(old, 0, 0),
        actor.assign(old, an_assignment()),
        actor.cancel(old, token),
        actor.evict(old, token),
        actor.forget(old, token),
        actor.drain(old),
    ):
        with pytest.raises(StaleEpoch):
            await call
    assert (await actor.poll(Caller(epoch=5), 0, 0)).state is not WorkerState.DRAINING


async def test_a_long_poll_of_a_dispatcher_that_was_superseded_is_refused_when_it_returns(actor: RenderActor) -> None:
    status = await ready(actor)
    poll = asyncio.create_task(actor.poll(CALLER, status.version, 60))
    await asyncio.sleep(0)
    await actor.drain(Caller(epoch=2))
    with pytest.raises(StaleEpoch):
        await asyncio.wait_for(poll, PATIENCE_S)


async def test_another_protocol_is_refused_by_name(actor: RenderActor) -> None:
    with pytest.raises(WorkerError, match=f"protocol {PROTOCOL_VERSION}, its caller {PROTOCOL_VERSION + 1}"):
        await actor.poll(Caller(epoch=1, protocol=PROTOCOL_VERSION + 1), 0, 0)


async def test_every_life_has_its_own_incarnation_and_takes_no_other_ones_renders(actor: RenderActor) -> None:
    with an_actor(a_plan(), scripted(ScriptedModel())) as other:
        mine, others = await ready(actor), await ready(other)
    assert mine.worker.name == others.worker.name
    assert mine.worker.incarnation != others.worker.incarnation
    answer = await actor.assign(CALLER, an_assignment(others.worker.incarnation))
    assert answer is Answer.WRONG_INCARNATION
    assert (await actor.poll(CALLER, 0, 0)).renders == ()


async def test_a_model_that_loads_is_announced_and_takes_no_renders_meanwhile() -> None:
    gate = Gate()

    def slow(plan: WorkerPlan, scratch: Path) -> Parts[Any]:
        gate.stop_here()
        return parts(ScriptedModel())

    with an_actor(a_plan(), slow) as actor:
        loading = await actor.poll(CALLER, 0, 0)
        assert (loading.state, loading.room, loading.free_in_s) == (WorkerState.LOADING, 0, float("inf"))
        assert await actor.assign(CALLER, an_assignment(loading.worker.incarnation)) is Answer.NOT_READY
        poll = asyncio.create_task(actor.poll(CALLER, loading.version, 60))
        await asyncio.sleep(0)
        gate.opened.set()
        status = await asyncio.wait_for(poll, PATIENCE_S)
        assert (status.state, status.room, status.free_in_s) == (WorkerState.READY, 2, 0.0)


async def test_a_model_that_does_not_load_says_why_in_every_poll() -> None:
    def fail(plan: WorkerPlan, scratch: Path) -> Parts[Any]:
        raise ConfigError("no diffusers checkpoint at /models/x")

    with an_actor(a_plan(), fail) as actor:
        status = await ready(actor)
        assert (status.state, status.room) == (WorkerState.BROKEN, 0)
        assert status.error == "ConfigError: no diffusers checkpoint at /models/x"
        assert await actor.assign(CALLER, an_assignment(status.worker.incarnation)) is Answer.NOT_READY
        assert (await actor.poll(CALLER, 0, 0)).error == status.error


async def test_an_assignment_that_arrives_twice_is_rendered_once() -> None:
    model = ScriptedModel()
    with an_actor(a_plan(), scripted(model)) as actor:
        assignment = await assigned(actor)
        assert await actor.assign(CALLER, assignment) is Answer.ACCEPTED
        await ended(actor, assignment.token)
        assert await actor.assign(CALLER, assignment) is Answer.ACCEPTED, "it ended and is not forgotten"
        status = await actor.poll(CALLER, 0, 0)
        assert len(status.renders) == 1
        assert isinstance(render_of(status, assignment.token).end, Rendered)
        assert [act for act, _ in model.moves].count(Act.BEGIN) == 1


async def test_an_end_stays_until_it_is_forgotten(actor: RenderActor) -> None:
    assignment = await assigned(actor)
    render = await ended(actor, assignment.token)
    await actor.cancel(CALLER, assignment.token)
    again = render_of(await actor.poll(CALLER, 0, 0), assignment.token)
    assert again.end == render.end
    await actor.forget(CALLER, assignment.token)
    await actor.forget(CALLER, assignment.token)
    assert (await actor.poll(CALLER, 0, 0)).renders == ()


async def test_refusals_leave_nothing_behind(held_at_a_step: tuple[RenderActor, Gate]) -> None:
    actor, gate = held_at_a_step
    await assigned(actor)
    gate.wait_reached()
    await assigned(actor)
    incarnation = (await actor.poll(CALLER, 0, 0)).worker.incarnation
    assert await actor.assign(CALLER, an_assignment(incarnation)) is Answer.FULL
    other = an_assignment(incarnation, model="cogvideox-5b")
    assert await actor.assign(CALLER, other) is Answer.WRONG_MODEL
    status = await actor.poll(CALLER, 0, 0)
    assert (len(status.renders), status.room) == (2, 0)


async def test_a_draining_worker_finishes_what_it_holds_and_takes_nothing_new(
    held_at_a_step: tuple[RenderActor, Gate],
) -> None:
    actor, gate = held_at_a_step
    assignment = await assigned(actor)
    await actor.drain(CALLER)
    status = await actor.poll(CALLER, 0, 0)
    assert (status.state, status.room) == (WorkerState.DRAINING, 0)
    assert await actor.assign(CALLER, an_assignment(status.worker.incarnation)) is Answer.DRAINING
    assert await actor.assign(CALLER, assignment) is Answer.ACCEPTED, "it is held already"
    gate.opened.set()
    assert isinstance((await ended(actor, assignment.token)).end, Rendered)


async def test_a_drain_with_a_deadline_hands_back_what_is_left_when_it_is_over(
    held_at_a_step: tuple[RenderActor, Gate],
) -> None:
    actor, gate = held_at_a_step
    stepping = await assigned(actor, num_inference_steps=50)
    gate.wait_reached()
    waiting = await assigned(actor)
    await actor.drain(CALLER, within_s=0.05)
    assert (await ended(actor, waiting.token)).end == Stopped(), "what had not begun goes first"
    gate.opened.set()
    end = (await ended(actor, stepping.token)).end
    assert isinstance(end, HandedBack)
    assert end.reason == "the worker was drained"
    assert end.checkpoint is not None
    assert end.checkpoint.step == 2


async def test_a_drain_gives_what_can_end_in_time_the_time(actor: RenderActor) -> None:
    assignment = await assigned(actor)
    await actor.drain(CALLER, within_s=60)
    assert isinstance((await ended(actor, assignment.token)).end, Rendered)


async def test_a_worker_that_has_to_go_hands_back_everything_and_waits_until_it_was_heard(
    held_at_a_step: tuple[RenderActor, Gate],
) -> None:
    actor, gate = held_at_a_step
    assignment = await assigned(actor, num_inference_steps=50)
    gate.wait_reached()
    leaving = asyncio.create_task(asyncio.to_thread(actor.leave, PATIENCE_S))
    await until(actor, lambda status: status.state is WorkerState.DRAINING)
    gate.opened.set()
    end = (await ended(actor, assignment.token)).end
    assert isinstance(end, HandedBack)
    assert end.checkpoint is not None
    assert not leaving.done(), "the dispatcher has not said yet that it knows"
    await actor.forget(CALLER, assignment.token)
    assert await asyncio.wait_for(leaving, PATIENCE_S)


async def test_a_worker_that_has_to_go_does_not_wait_for_a_step_that_hangs(
    held_at_a_step: tuple[RenderActor, Gate],
) -> None:
    actor, gate = held_at_a_step
    await assigned(actor)
    gate.wait_reached()
    assert not await asyncio.to_thread(actor.leave, 0.1)


async def test_an_evicted_render_is_handed_back(held_at_a_step: tuple[RenderActor, Gate]) -> None:
    actor, gate = held_at_a_step
    assignment = await assigned(actor)
    gate.wait_reached()
    await actor.evict(CALLER, assignment.token)
    gate.opened.set()
    assert isinstance((await ended(actor, assignment.token)).end, HandedBack)
    assert (await actor.poll(CALLER, 0, 0)).state is WorkerState.READY


async def test_a_status_says_what_would_be_interrupted_and_how_it_renders() -> None:
    gate = Gate()

    def before(act: Act, spec: RenderSpec, step: int) -> None:
        if act is Act.STEP:
            gate.stop_here()

    model = ScriptedModel(before, adapters=("style",))
    with an_actor(a_plan(), scripted(model)) as actor:
        idle = await ready(actor)
        assert (idle.interrupts, idle.adapters, idle.numerics) == (None, ("style",), "here-exact")
        await assigned(actor, priority=20)
        gate.wait_reached()
        busy = await actor.poll(CALLER, 0, 0)
        assert (busy.interrupts, busy.room) == (20, 1)
        await actor.drain(CALLER)
        assert (await actor.poll(CALLER, 0, 0)).interrupts is None
        gate.opened.set()


async def test_unknown_tokens_are_ignored(actor: RenderActor) -> None:
    await ready(actor)
    await actor.cancel(CALLER, uuid4())
    await actor.evict(CALLER, uuid4())
    await actor.forget(CALLER, uuid4())


async def test_what_leaves_before_it_begins_is_reported_as_stopped(
    held_at_a_step: tuple[RenderActor, Gate],
) -> None:
    actor, gate = held_at_a_step
    await assigned(actor)
    gate.wait_reached()
    waiting = await assigned(actor)
    await actor.evict(CALLER, waiting.token)
    assert render_of(await actor.poll(CALLER, 0, 0), waiting.token).end == Stopped()


async def test_steps_wake_a_poll_a_few_times_a_second_and_an_end_at_once() -> None:
    """About a thousand steps in over a second: far fewer polls return, yet the end is among them."""

    def before(act: Act, spec: RenderSpec, step: int) -> None:
        threading.Event().wait(0.001)

    with an_actor(a_plan(), scripted(ScriptedModel(before))) as actor:
        started = time.monotonic()
        assignment = await assigned(actor, num_inference_steps=1000)
        polls, steps = 0, []
        status = await actor.poll(CALLER, 0, 0)
        while render_of(status, assignment.token).end is None:
            status = await actor.poll(CALLER, status.version, PATIENCE_S)
            steps.append(render_of(status, assignment.token).step)
            polls += 1
        seconds = time.monotonic() - started
        assert steps == sorted(steps)
        assert len(set(steps)) >= 3, "progress is seen on the way"
        assert polls <= seconds / 0.25 + 8, "and does not flood"


async def test_progress_grows_old_while_a_step_hangs(held_at_a_step: tuple[RenderActor, Gate]) -> None:
    actor, gate = held_at_a_step
    assignment = await assigned(actor)
    await until(actor, lambda status: render_of(status, assignment.token).step == 1)
    gate.wait_reached()
    first, second = [render_of(await actor.poll(CALLER, 0, 0), assignment.token).progress_age_s for _ in range(2)]
    assert second > first >= 0


def test_the_scratch_directory_goes_with_the_actor() -> None:
    places: list[Path] = []

    def assemble(plan: WorkerPlan, scratch: Path) -> Parts[Any]:
        places.append(scratch)
        assert scratch.is_dir()
        return parts(ScriptedModel())

    with an_actor(a_plan(), assemble):
        pass
    assert not places[0].exists()
