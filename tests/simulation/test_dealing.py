"""A claim deals its workers as `policy/dealing.py` says; and that changes nothing of which jobs it takes.

The function in the database is held to the policy on many tables, and the whole claim on a few queues, where some of
the jobs are not for the worker that failed them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import asyncpg
import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrator.domain.job import WorkerRef
from orchestrator.domain.warmth import Warmth, shape_of
from orchestrator.policy.dealing import Wish, deal
from orchestrator.store import Store
from tests.support.builders import a_spec
from tests.support.jobs import CLUSTER, POOL, new_job, workers

WIDTHS = (720, 480)
ADAPTERS = ("ink", "clay", "lace")

adapters = st.none() | st.sampled_from(ADAPTERS)
specs = st.builds(lambda width, adapter: a_spec(width=width, adapter=adapter), st.sampled_from(WIDTHS), adapters)
warmths = st.builds(
    lambda spec, known, loaded: Warmth(shape=shape_of(spec) if known else None, adapters=tuple(loaded)),
    specs, st.booleans(), st.lists(st.sampled_from(ADAPTERS), max_size=2, unique=True),
)  # fmt: skip
tables = st.lists(warmths, min_size=1, max_size=7).flatmap(
    lambda seats: st.tuples(st.lists(specs, max_size=len(seats)), st.just(seats))
)
# Which of its workers a job has failed on, if on any.
avoided = st.lists(st.none() | st.integers(0, 4), min_size=10, max_size=10)
_EMPTY = "".join(f"DELETE FROM {table};" for table in ("outbox", "usage", "attempts", "jobs", "lanes", "workers"))
_AGAIN = """
    UPDATE jobs SET state = 'queued', ready = true, worker = NULL, cluster = NULL, incarnation = NULL, token = NULL,
                    stage = NULL, claimed_at = NULL, started_at = NULL;
    UPDATE lanes SET vtime = 0, served = 0, active = false, cursor_at = '-infinity'
"""


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def quick(examples: int) -> Any:
    return settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


@pytest.mark.seeds(1)
def test_the_function_deals_as_the_policy_does(loop: asyncio.AbstractEventLoop, database_url: str, seed: int) -> None:
    session = loop.run_until_complete(asyncpg.connect(database_url))

    @hypothesis.seed(seed)
    @quick(300)
    @given(tables)
    def holds(table: tuple[list[Any], list[Warmth]]) -> None:
        jobs, seats = table
        found = loop.run_until_complete(
            session.fetchval(
                "SELECT cogmill_deal($1, $2, $3, $4)",
                [shape_of(spec) for spec in jobs], [spec.adapter for spec in jobs],
                [seat.shape for seat in seats], [json.dumps(seat.adapters) for seat in seats],
            )
        )  # fmt: skip
        wishes = [Wish(shape=shape_of(spec), adapter=spec.adapter) for spec in jobs]
        assert [place - 1 for place in found] == deal(wishes, seats)

    holds()
    loop.run_until_complete(session.close())


@pytest.mark.seeds(1)
def test_a_claim_takes_the_same_jobs_and_gives_them_to_the_warm(
    loop: asyncio.AbstractEventLoop, database_url: str, seed: int
) -> None:
    session = loop.run_until_complete(asyncpg.connect(database_url))

    async def claimed(store: Store, slots: list[WorkerRef], warm: dict[WorkerRef, Warmth]) -> dict[UUID, WorkerRef]:
        await session.execute(_AGAIN)
        return {claim.job_id: claim.worker for claim in await store.claim(POOL, CLUSTER, slots, warm=warm)}

    async def plays(jobs: list[Any], avoids: list[int | None], seats: list[Warmth]) -> None:
        await session.execute(_EMPTY)
        slots = workers(len(seats))
        warm = dict(zip(slots, seats, strict=True))
        async with Store.open(database_url, connections=1) as store:
            await store.beat(CLUSTER, dict.fromkeys(slots, POOL))
            made = [await store.submit(new_job(spec=spec)) for spec in jobs]
            for job, which in zip(made, avoids, strict=False):
                if which is not None:
                    change = "UPDATE jobs SET avoid = $2, avoid_until = 'infinity' WHERE id = $1"
                    await session.execute(change, job.id, f"w{which}")
            cold = await claimed(store, slots, {})
            dealt = await claimed(store, slots, warm)
        # What a job was too shy for may be another's at once, so the worker that is left may be another one.
        shy = {job.id: f"w{which}" for job, which in zip(made, avoids, strict=False) if which is not None}
        assert len(dealt) == len(cold)
        assert all(shy.get(job) != who.name for job, who in dealt.items())
        assert len(set(dealt.values())) == len(dealt)
        if not shy:
            assert set(dealt) == set(cold)
            wishes = [Wish(shape=shape_of(job.spec), adapter=job.spec.adapter) for job in made if job.id in dealt]
            assert [dealt[job.id] for job in made if job.id in dealt] == [slots[i] for i in deal(wishes, seats)]
        elif len(cold) == len(seats):
            assert set(dealt) == set(cold)

    @hypothesis.seed(seed)
    @quick(20)
    @given(
        st.lists(specs, min_size=1, max_size=9),
        st.just([None] * 9) | avoided,
        st.lists(warmths, min_size=1, max_size=5),
    )
    def holds(jobs: list[Any], avoids: list[int | None], seats: list[Warmth]) -> None:
        loop.run_until_complete(plays(jobs, avoids, seats))

    holds()
    loop.run_until_complete(session.close())
