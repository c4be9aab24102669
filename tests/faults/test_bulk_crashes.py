"""Kill -9 of whoever carries an action on many jobs on: it goes on where it was, and nothing is done twice."""

from __future__ import annotations

import asyncio
import signal
import sys

import asyncpg
import pytest

from orchestrator.config import Settings
from orchestrator.config.logins import Login
from orchestrator.domain.audit import Actor
from orchestrator.domain.bulk import BulkState, Verb
from orchestrator.domain.job import Failure
from orchestrator.domain.job_filter import JobFilter
from orchestrator.domain.protocol import Broke
from orchestrator.domain.states import JobState
from orchestrator.intake.bulk import BulkCarrier, Bulks
from orchestrator.processes.frontdoor import open_front_door
from orchestrator.store import Store
from orchestrator.telemetry import acting
from orchestrator.tenants.rates import TenantLimits
from tests.support.api import api_settings
from tests.support.builders import a_spec
from tests.support.jobs import AT_ONCE, CLUSTER, ending, new_job, workers
from tests.support.logins import url_of

COUNT = 90
POOL = "small"

# One maintainer's loop, that says a line after each step; its steps are small, so that it is killed among them.
CARRIER = """
import asyncio, sys
from orchestrator.intake import bulk
from orchestrator.processes.frontdoor import open_front_door
from orchestrator.store import Store
from tests.support.api import api_settings

bulk._STEP = bulk._RETRIES = 5
bulk._STEPS = 1

async def main():
    settings = api_settings(sys.argv[1])
    async with Store.open(settings.database) as store:
        carrier = bulk.BulkCarrier(store, open_front_door(settings, store, None).jobs)
        while True:
            print(await carrier.run_once(), flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("verb", [Verb.CANCEL, Verb.RETRY])
async def test_nothing_is_lost_or_done_twice_over_kills(store: Store, database_url: str, verb: Verb) -> None:
    await _seed(store, failed=verb is Verb.RETRY)
    asked = acting.acting(Actor(name="key:cgm_0", key="cgm_0"))
    with asked:
        wanted = JobFilter(tenant="acme")
        bulk = await Bulks(store, TenantLimits(store, cache_s=0)).ask(
            "acme", verb, wanted, priority=None, asked_by="me"
        )
    settings = api_settings(url_of(Login.MAINTAIN, database_url))
    for steps in (1, 4):
        await _carry_and_kill(settings, steps)
        stands = await store.get_bulk(bulk.id, "acme")
        assert stands is not None
        assert stands.state is BulkState.RUNNING
    await _expire_lease(database_url)
    carrier = BulkCarrier(store, open_front_door(settings, store, None).jobs)  # type: ignore[arg-type]
    while await carrier.run_once():
        pass
    ended = await store.get_bulk(bulk.id, "acme")
    assert ended is not None
    assert (ended.state, ended.matched, ended.done) == (BulkState.COMPLETED, COUNT, COUNT)
    assert (dict(ended.skipped), dict(ended.failed)) == ({}, {})
    counts = await store.count_jobs(wanted)
    if verb is Verb.CANCEL:
        assert counts[JobState.CANCELLED].count == COUNT
    else:
        assert (counts[JobState.FAILED].count, counts[JobState.QUEUED].count) == (COUNT, COUNT)
        assert await _distinct_successors(database_url) == COUNT


async def _seed(store: Store, *, failed: bool) -> None:
    spec = a_spec(model="tiny-2b")
    jobs = [new_job(pool=POOL, priority=10, spec=spec, max_attempts=1) for _ in range(COUNT)]
    await asyncio.gather(*(store.submit(job) for job in jobs))
    if failed:
        slots = workers(COUNT)
        await store.beat(CLUSTER, dict.fromkeys(slots, POOL))
        claims = await store.claim(POOL, CLUSTER, slots)
        broke = Broke(failure=Failure(code="boom", message="it broke"))
        await store.settle([ending(claim, broke, AT_ONCE) for claim in claims])


async def _carry_and_kill(settings: Settings, steps: int) -> None:
    """Let a process of its own carry actions on until it has said so many steps, and kill it in the next one."""
    await _expire_lease(settings.database_url)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CARRIER, settings.database_url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    said = 0
    while said < steps:
        line = await process.stdout.readline()
        assert line, "it ended by itself"
        said += line.strip().isdigit()
    process.send_signal(signal.SIGKILL)
    await process.wait()


async def _expire_lease(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("UPDATE bulk_actions SET leased_until = NULL WHERE lease IS NOT NULL")
    finally:
        await connection.close()


async def _distinct_successors(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        query = "SELECT count(DISTINCT request ->> 'retry_of') FROM jobs WHERE state = 'queued'"
        return int(await connection.fetchval(query))
    finally:
        await connection.close()
