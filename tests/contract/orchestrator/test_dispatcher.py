"""What a dispatcher promises to the jobs of its cluster, on real PostgreSQL and S3 with simulated workers and time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest

from orchestrator.domain.errors import ObjectsUnavailable, ProtocolMismatch, StaleEpoch
from orchestrator.domain.job import Incident
from orchestrator.domain.loading import LoadState
from orchestrator.domain.protocol import Stage
from orchestrator.domain.states import JobState
from orchestrator.policy.prediction import Key, Lesson
from orchestrator.telemetry import metrics
from tests.support.builders import a_job, a_spec
from tests.support.control import GRACE_S, MODELS, RULES, a_plan, publisher
from tests.support.postgres import Clock
from tests.support.simulated_workers import SimulatedWorker
from tests.support.site import Site


async def test_a_render_of_an_hour_survives_any_number_of_dispatchers(site: Site, clock: Clock) -> None:
    await site.begins()
    job = await site.runs_a_job()
    for _ in range(3):
        await clock.advance(1200)
        await site.begins()
        assert await site.state(job) is JobState.RUNNING
    await site.finishes(job)
    assert await site.outcomes(job) == ["succeeded"]


async def test_a_claim_whose_worker_was_configured_away_and_is_gone_is_tried_elsewhere(
    site: Site, clock: Clock
) -> None:
    await site.begins()
    job = await site.runs_a_job()
    site.pool.vanish("small-0")
    await clock.advance(GRACE_S + 1)
    await site.begins({"small-1": a_plan("small-1")})
    await site.control.round()
    await clock.advance(1)  # the backoff of a lost attempt
    await site.finishes(job)
    assert await site.outcomes(job) == ["lost", "succeeded"]


async def test_a_worker_too_many_is_ended_once_it_holds_nothing(site: Site) -> None:
    await site.begins()
    job = await site.runs_a_job()
    await site.begins({})
    await site.control.round()
    assert await site.state(job) is JobState.RUNNING
    await site.finishes(job)
    for _ in range(2):
        await site.control.round()
    assert site.pool.workers == {}


async def test_a_worker_started_from_another_plan_ends_its_render_and_is_started_anew(site: Site) -> None:
    await site.begins()
    job = await site.runs_a_job()
    before = site.pool.workers["small-0"]
    await site.begins({"small-0": a_plan(model="tiny-5b")})
    await site.finishes(job)
    for _ in range(3):
        await site.control.round()
    after = site.pool.workers["small-0"]
    assert after is not before
    assert after.plan.model == "tiny-5b"


async def test_a_worker_that_was_told_to_go_and_is_wanted_again_is_started_anew(site: Site) -> None:
    await site.begins()
    job = await site.runs_a_job()
    before = site.pool.workers["small-0"]
    await site.begins({})
    for _ in range(2):
        await site.control.round()
    await site.begins()
    await site.finishes(job)
    for _ in range(3):
        await site.control.round()
    assert site.pool.workers["small-0"] is not before
    another = await site.runs_a_job()
    await site.finishes(another)
    assert await site.state(another) is JobState.SUCCEEDED


async def test_a_job_that_its_worker_refuses_is_not_claimed_for_it_again_at_once(site: Site) -> None:
    await site.begins()
    site.pool.workers["small-0"].plan = a_plan(model="tiny-5b")
    job = a_job()
    await site.store.submit(job)
    for _ in range(10):
        await site.control.dispatch()
    assert await site.outcomes(job) == ["released"]


async def test_a_drained_stack_evicts_what_does_not_end_in_time(site: Site) -> None:
    await site.begins()
    job = await site.runs_a_job()
    assert await site.control.dispatcher.drain(within_s=5) == 1
    assert await site.outcomes(job) == ["evicted"]
    assert await site.state(job) is JobState.QUEUED


async def test_only_the_hung_render_pays_for_its_worker(site: Site, clock: Clock) -> None:
    await site.begins()
    hung = await site.runs_a_job()
    site.pool.advance("small-0")
    await site.control.round()
    waiting = a_job()
    await site.store.submit(waiting)
    await site.control.round()
    site.pool.workers["small-0"].hung = True
    await site.pool.clock.sleep(RULES.patience.floor_s + 1)
    await site.control.round()
    await site.control.round()
    assert await site.outcomes(hung) == ["lost"]
    assert await site.outcomes(waiting) == ["released"]
    row = await site.database.fetchrow("SELECT failure FROM attempts WHERE job_id = $1", hung.id)
    assert '"hung"' in row["failure"]


async def test_storage_that_does_not_answer_delays_lost_claims_and_no_worker(
    site: Site, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    def unavailable(*_: object, **__: object) -> bytes:
        raise ObjectsUnavailable("S3 is away")

    await site.begins()
    lost = await site.runs_a_job()
    with monkeypatch.context() as patch:
        patch.setattr(type(site.objects), "get", unavailable)
        site.pool.crash("small-0")
        other = await site.runs_a_job()
        await site.finishes(other)
        assert await site.state(lost) is JobState.RUNNING
    await site.control.round()
    assert await site.outcomes(lost) == ["lost"]


async def test_a_finished_video_of_a_crashed_worker_is_published_and_not_rendered_again(site: Site) -> None:
    site.pool.publish = publisher(site.objects)
    await site.begins()
    job = await site.runs_a_job()
    site.pool.upload_unseen("small-0")
    for _ in range(3):
        await site.control.round()
    assert await site.outcomes(job) == ["succeeded"]


async def test_an_older_dispatcher_ends_when_it_hears_of_a_newer_one(site: Site) -> None:
    await site.begins()
    older = site.control
    await site.begins()
    with pytest.raises(StaleEpoch):
        await older.watchers["small-0"].run_once()


async def test_a_worker_of_another_release_is_replaced(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.begins()

    async def another_language(*_: object, **__: object) -> None:
        raise ProtocolMismatch("it speaks protocol 0")

    with monkeypatch.context() as patch:
        patch.setattr(site.pool, "poll", another_language)
        await site.control.watchers["small-0"].run_once()
    assert site.pool.workers == {}
    job = await site.runs_a_job()
    assert site.pool.workers["small-0"].renders
    status = site.pool.workers["small-0"].status()
    assert [render.stage for render in status.renders] == [Stage.ASSIGNED]
    await site.finishes(job)


async def test_an_urgent_job_interrupts_a_long_bulk_render_which_goes_on_afterwards(site: Site) -> None:
    await site.begins()
    site.pool.workers["small-0"].step_s = 30.0
    bulk = await site.runs_a_job()
    site.pool.advance("small-0")
    await site.control.round()
    another_bulk, urgent = a_job(), a_job(priority=0)
    await site.store.submit(another_bulk)
    await site.control.round()
    assert await site.state(another_bulk) is JobState.QUEUED, "the worker is deep in a render as urgent"
    await site.store.submit(urgent)
    await site.control.round()
    assert await site.state(urgent) is JobState.RUNNING
    site.pool.advance("small-0")
    worker = site.pool.workers["small-0"]
    stages = {assignment.job_id: status.stage for assignment, status in worker.renders.values()}
    assert stages == {bulk.id: Stage.PREEMPTED, urgent.id: Stage.DENOISING}, "one step later"
    await site.finishes(urgent)
    assert await site.state(bulk) is JobState.RUNNING
    await site.finishes(bulk)
    assert await site.outcomes(bulk) == ["succeeded"]
    found = await site.store.get(bulk.id, bulk.tenant)
    assert found is not None
    assert found.incidents == (Incident.PREEMPTED,)


async def test_of_two_busy_workers_the_one_with_the_less_urgent_render_is_interrupted(site: Site) -> None:
    await site.begins({"small-0": a_plan(), "small-1": a_plan("small-1")})
    for worker in site.pool.workers.values():
        worker.step_s = 30.0
    for priority in (20, 10):
        await site.store.submit(a_job(priority=priority))
        await site.control.round()
    for name in site.pool.workers:
        site.pool.advance(name)
    await site.control.round()
    urgent = a_job(priority=0)
    await site.store.submit(urgent)
    await site.control.round()
    (interrupted,) = [
        worker for worker in site.pool.workers.values() if urgent.id in {a.job_id for a, _ in worker.renders.values()}
    ]
    assert {assignment.priority for assignment, _ in interrupted.renders.values()} == {0, 20}


async def test_a_free_worker_taken_for_dead_does_not_make_the_queue_look_empty(site: Site) -> None:
    await site.begins({"small-0": a_plan(), "small-1": a_plan("small-1")})
    site.pool.workers["small-0"].step_s = 30.0
    bulk = await site.runs_a_job(priority=20)
    busy = next(worker for worker in site.pool.workers.values() if worker.renders)
    busy.step_s = 30.0
    site.pool.advance(busy.plan.name)
    await site.control.round()
    idle = next(known for name, known in site.control.cluster.fleet.workers.items() if name != busy.plan.name)
    assert idle.registered is not None
    await site.store.declare_dead("default", idle.registered)
    urgent = a_job(priority=0)
    await site.store.submit(urgent)
    await site.control.dispatch()
    assert await site.state(urgent) is JobState.QUEUED, "it was looked for in the name of the dead one"
    await site.control.watchers[idle.name].run_once()
    await site.control.dispatcher.beat()
    await site.control.dispatcher.run_once()
    await site.control.dispatcher.assigned()
    assert {a.job_id for a, _ in busy.renders.values()} == {bulk.id, urgent.id}


async def test_a_preempted_render_goes_on_at_an_idle_worker_where_it_was(site: Site) -> None:
    await site.begins()
    site.pool.workers["small-0"].step_s = 30.0
    bulk = await site.runs_a_job()
    for _ in range(2):
        site.pool.advance("small-0")
    await site.control.round()
    urgent = a_job(priority=0)
    await site.store.submit(urgent)
    await site.control.round()
    site.pool.advance("small-0")
    await site.begins({"small-0": a_plan(), "small-1": a_plan("small-1")})
    for _ in range(3):
        await site.control.round()
    assert await site.outcomes(bulk) == ["evicted"]
    ((assignment, _),) = site.pool.workers["small-1"].renders.values()
    assert assignment.job_id == bulk.id
    assert assignment.checkpoint is not None
    assert assignment.checkpoint.step == 2
    await site.finishes(bulk)
    found = await site.store.get(bulk.id, bulk.tenant)
    assert found is not None
    assert found.result is not None
    assert (found.evictions, found.result.resumed_at) == (0, 2)


async def test_a_stack_that_stops_has_long_renders_handed_back_with_their_checkpoints(site: Site) -> None:
    lesson = Lesson(key=Key.of(a_spec(), kind="small", revision=MODELS.revisions["tiny-2b"]), ratio=1e9)
    await site.store.learn([lesson], keep=31)
    await site.begins()
    job = await site.runs_a_job()  # whatever was predicted when it was submitted
    site.pool.advance("small-0")
    await site.control.round()

    async def watch() -> None:
        while site.control.cluster.claims.by_token:
            await site.control.watchers["small-0"].run_once()

    gone, _ = await asyncio.gather(site.control.dispatcher.drain(within_s=1e6), watch())
    assert gone == 1
    assert await site.outcomes(job) == ["evicted"]
    found = await site.store.get(job.id, job.tenant)
    assert found is not None
    assert found.checkpoint is not None
    assert (found.checkpoint.step, found.evictions) == (1, 0)


async def test_what_a_worker_too_many_renders_goes_on_at_another_of_its_pool(site: Site) -> None:
    two = {"small-0": a_plan(), "small-1": a_plan("small-1")}
    await site.begins({"small-1": two["small-1"]})
    job = await site.runs_a_job()
    for _ in range(2):
        site.pool.advance("small-1")
    await site.begins({"small-0": two["small-0"]})
    await site.finishes(job)
    assert await site.outcomes(job) == ["evicted", "succeeded"]
    found = await site.store.get(job.id, job.tenant)
    assert found is not None
    assert found.result is not None
    assert found.result.resumed_at == 3
    assert list(site.pool.workers) == ["small-0"]


async def test_a_worker_on_which_one_job_after_the_other_fails_is_replaced_and_the_jobs_go_on(
    site: Site, clock: Clock, database: asyncpg.Connection
) -> None:
    await site.begins()
    quarantined = metrics.workers_quarantined.labels("small")
    before = quarantined._value.get()
    site.pool.workers["small-0"].sick = True
    life = site.pool.workers["small-0"].incarnation
    jobs = [a_job() for _ in range(RULES.quarantine_after)]
    for job in jobs:
        await site.store.submit(job)
    for _ in range(20):
        site.pool.advance("small-0")
        await site.control.round()
        if site.pool.workers["small-0"].incarnation != life:
            break
    else:
        pytest.fail("it still renders")
    await clock.advance(1)  # the backoff of the failed attempts
    assert quarantined._value.get() == before + 1
    evidence = await database.fetch("SELECT worker, incarnation, job_id FROM quarantines")
    assert {tuple(row) for row in evidence} == {("small-0", life, job.id) for job in jobs}
    for job in jobs:
        await site.finishes(job)
        assert (await site.outcomes(job))[-1] == "succeeded"


async def test_what_befalls_renders_is_counted_once_however_often_the_worker_is_asked(site: Site) -> None:
    def counted() -> tuple[float, ...]:
        return (
            metrics.preemptions.labels("small")._value.get(),
            metrics.incidents.labels("small", Incident.PREEMPTED)._value.get(),
            metrics.checkpoints.labels("small")._value.get(),
            metrics.steps.labels("small")._value.get(),
        )

    await site.begins()
    site.pool.workers["small-0"].step_s = 30.0
    await site.runs_a_job()
    before = counted()
    for _ in range(2):
        site.pool.advance("small-0")
        await site.control.round()
    await site.store.submit(a_job(priority=0))
    await site.control.round()
    site.pool.advance("small-0")
    for _ in range(3):
        await site.control.round()
    assert tuple(now - then for now, then in zip(counted(), before, strict=True)) == (1, 1, 1, 3)


async def test_a_worker_that_cannot_load_rests_longer_each_time_and_says_why(site: Site) -> None:
    def breaks(worker: SimulatedWorker) -> None:
        worker.error = "ConfigError: /models/x is not whole: vae has no safetensors"

    site.pool.born = breaks
    await site.begins()
    job = a_job()
    await site.store.submit(job)
    await site.turns(until_s=700)
    rests = [round(later - before) for before, later in pairwise(site.pool.starts)]
    assert [abs(rest - wanted) <= 2 for rest, wanted in zip(rests, (5, 10, 20, 40, 80, 160, 320), strict=False)]
    assert len(rests) <= 8  # not one each minute
    [load] = await site.store.worker_loads()
    assert (load.state, load.reason) == (LoadState.BROKEN, "its files are not whole, or do not fit its configuration")
    assert (load.failures, load.detail) == (
        len(site.pool.starts),
        "ConfigError: /models/x is not whole: vae has no safetensors",
    )
    assert await site.state(job) is JobState.QUEUED

    site.pool.born = lambda _: None
    await site.turns(until_s=700)
    await site.finishes(job)
    [load] = await site.store.worker_loads()
    assert (load.state, load.failures, load.reason) == (LoadState.LOADED, 0, "")


async def test_a_worker_whose_process_dies_while_loading_is_not_started_again_at_once_for_ever(site: Site) -> None:
    """What Ray sees: the process is killed, by the kernel say, and started anew under another incarnation."""

    def loads(worker: SimulatedWorker) -> None:
        worker.loading = True

    site.pool.born = loads
    await site.begins()
    for _ in range(4):
        lives = len(site.pool.starts)
        await site.control.round()
        site.pool.crash("small-0")
        await site.control.round()
        assert "small-0" not in site.pool.workers, "Ray's own next life must not go on loading"
        await site.turns(until_s=100, stop=lambda lives=lives: len(site.pool.starts) > lives)
    rests = [round(later - before) for before, later in pairwise(site.pool.starts)]
    assert rests == sorted(rests)
    assert rests[-1] >= 40
    [load] = await site.store.worker_loads()
    assert (load.state, load.failures) == (LoadState.BROKEN, 4)
    assert load.reason.startswith("its process died while loading it, 4 times in a row; often")

    site.pool.vanish("small-0")  # and so it is where Ray gives up
    await site.control.round()
    [load] = await site.store.worker_loads()
    assert (load.state, load.failures) == (LoadState.BROKEN, 5)


async def test_a_worker_rests_no_longer_once_its_files_have_changed(site: Site, tmp_path: Path) -> None:
    def breaks(worker: SimulatedWorker) -> None:
        worker.error = "ConfigError: it is not whole"

    site.pool.born = breaks
    await site.begins({"small-0": replace(a_plan(), source=str(tmp_path))})
    await site.turns(until_s=200)
    before = len(site.pool.starts)
    (tmp_path / "model_index.json").write_text("{}")
    await site.control.scale()
    assert len(site.pool.starts) == before, "they may still be on their way"
    await site.control.scale()
    await site.control.scale()
    assert len(site.pool.starts) == before + 1
    await site.control.round()
    await site.control.round()
    [load] = await site.store.worker_loads()
    assert load.failures == 1


async def test_a_worker_that_has_rendered_and_dies_is_back_at_once(site: Site) -> None:
    await site.begins()
    site.pool.vanish("small-0")
    for _ in range(2):
        await site.control.round()
    assert "small-0" in site.pool.workers
