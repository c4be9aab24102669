"""A worker on which a tenant's renders wait to be finished gets others' jobs, and none of that tenant's."""

from __future__ import annotations

from orchestrator.domain.states import JobState
from tests.support.builders import a_job
from tests.support.control import a_plan
from tests.support.site import Site


async def test_what_a_tenant_has_too_much_of_on_a_worker_waits_in_the_queue_and_others_do_not(site: Site) -> None:
    await site.begins()
    worker = site.pool.workers["small-0"]
    worker.crowded, worker.version = ("hog",), worker.version + 1
    await site.control.round()
    queued = a_job(tenant="hog")
    await site.store.submit(queued)
    await site.control.round()
    assert await site.state(queued) is JobState.QUEUED
    other = await site.runs_a_job(tenant="other")
    assert await site.state(queued) is JobState.QUEUED
    await site.finishes(other)
    # Nothing new is announced: that the worker has room again is enough.
    worker.crowded, worker.version = (), worker.version + 1
    await site.finishes(queued)
    assert await site.outcomes(queued) == ["succeeded"], "it was never refused"


async def test_a_tenant_that_crowds_one_worker_has_the_others(site: Site) -> None:
    await site.begins({name: a_plan(name) for name in ("small-0", "small-1")})
    worker = site.pool.workers["small-0"]
    worker.crowded, worker.version = ("hog",), worker.version + 1
    await site.control.round()
    jobs = [a_job(tenant="hog"), a_job(tenant="other")]
    for job in jobs:
        await site.store.submit(job)
    await site.control.round()
    held = {name: {each.job_id for each, _ in worker.renders.values()} for name, worker in site.pool.workers.items()}
    assert held == {"small-0": {jobs[1].id}, "small-1": {jobs[0].id}}
