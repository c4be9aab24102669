"""Two pools share one worker on real Ray: the whole dispatcher gives it each model in turn, and every job ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import asyncpg

from orchestrator.config import Settings
from orchestrator.processes.dispatching import run_dispatcher
from orchestrator.store import Store
from tests.support.builders import a_job, a_spec
from tests.support.ray import Head
from tests.support.sockets import free_port

JOBS = 3
PATIENCE_S = 240


def settings_of(url: str, address: str) -> Settings:
    return Settings.model_validate(
        {
            "database_url": url,
            "master_key": "k" * 16,
            "default_model": "one",
            "models": {name: {"family": "tiny-2b", "path": "/none"} for name in ("one", "two")},
            "pools": {"one": {"model": "one"}, "two": {"model": "two"}},
            "shared": {"main": {"pools": ["one", "two"], "workers": 1, "hold_s": 1, "pays": 1}},
            "autoscale": {"every_s": 1},
            "ray": {"address": address},
            "metrics": {"dispatch_port": free_port()},
        }
    )


async def test_one_worker_renders_for_two_models_and_changes_once(
    store: Store, database: asyncpg.Connection, database_url: str, ray_head: Head, tmp_path: Path
) -> None:
    # Ray reads its token's place and its network when it is imported: not before its head is there.
    from tests.benchmarks.interactive_workers import TimedWorkers

    TimedWorkers.step_s, TimedWorkers.directory = 0.05, str(tmp_path)
    settings = settings_of(database_url, ray_head.address)
    for n in range(2 * JOBS):
        model = ("one", "two")[n % 2]
        spec = a_spec(model=model, seed=n, num_inference_steps=4)
        # So much work that a swap pays as soon as the worker is idle.
        await store.submit(a_job(pool=model, spec=spec, cost=100.0))
    dispatching = asyncio.create_task(run_dispatcher(settings, TimedWorkers.connect))

    async def until(reached: Callable[[dict[str, int]], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                rows = await database.fetch("SELECT pool || '/' || state AS name, count(*) AS n FROM jobs GROUP BY 1")
                if reached({row["name"]: row["n"] for row in rows}):
                    return
                assert not dispatching.done(), dispatching.exception()
                await asyncio.sleep(0.2)

    try:
        await until(lambda jobs: jobs.get("one/succeeded") == JOBS)
        await until(lambda jobs: jobs.get("two/succeeded") == JOBS)
        decisions = await store.scale_decisions(limit=100)
        assert [(each.pool, each.change) for each in reversed(decisions)] == [("one", -1), ("two", 1)]
        attempts = await database.fetch("SELECT worker, outcome FROM attempts")
        assert {row["worker"] for row in attempts} == {"main-0"}
        assert [row["outcome"] for row in attempts] == ["succeeded"] * 2 * JOBS
        (held,) = [load for load in await store.worker_loads() if load.worker == "main-0"]
        assert (held.pool, held.model) == ("two", "two")
    finally:
        dispatching.cancel()
        with suppress(asyncio.CancelledError):
            await dispatching
        pool = TimedWorkers(f"cogmill-{await store.deployment_id()}")
        for name in await pool.list_workers():
            await pool.kill(name, restart=False)
        pool.close()
