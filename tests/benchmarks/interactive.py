"""What an interactive job waits for its first step while every worker renders bulk, and what that costs the bulk.

    python -m tests.benchmarks.interactive [--workers 8] [--step 0.5] [--seconds 60] [--every 2]

The product's dispatcher, queue and actors, on a Ray head and a PostgreSQL of its own; only the model is not real: its
step sleeps. Two phases of `--seconds`: bulk alone, then bulk with an interactive job about every `--every` seconds
(exponential, by a seed). The wait is from the submit's commit to the beginning of the job's first step, in bulk steps.
The loss is what the second phase did less of all workers' time in steps, whoever's, than the first.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import secrets
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from orchestrator.config import Settings
from orchestrator.local import ray
from orchestrator.processes.dispatching import run_dispatcher
from orchestrator.store import Store, migrate
from tests.support.builders import a_job, a_spec
from tests.support.postgres import Server
from tests.support.sockets import free_port

MODEL = "tiny-2b"
BULK_STEPS, URGENT_STEPS = 50, 10
BULK, URGENT = 20, 0
# Seeds from here on are those of interactive jobs.
URGENT_SEEDS = 1_000_000


async def measure(settings: Settings, directory: Path, seconds: float, every: float, step_s: float) -> None:
    # Ray reads its token's place and its network when it is imported: not before its head is there.
    from tests.benchmarks.interactive_workers import TimedWorkers

    TimedWorkers.step_s, TimedWorkers.directory = step_s, str(directory)
    dispatching = asyncio.create_task(run_dispatcher(settings, TimedWorkers.connect))
    count = settings.pools[MODEL].workers
    async with Store.open(settings.database) as store:
        enough = int(count * (2.5 * seconds + 60) / (BULK_STEPS * step_s)) + 2 * count
        for seed in range(enough):
            await submit(store, seed, BULK_STEPS, BULK)
        await asyncio.to_thread(wait_until_all_step, directory, count)
        alone = await phase(store, seconds, None)
        mixed = await phase(store, seconds, every)
        await asyncio.sleep(4 * step_s)
        report(steps_of(directory), alone, mixed, count, step_s)
        dispatching.cancel()
        with suppress(asyncio.CancelledError):
            await dispatching
        pool = TimedWorkers(f"cogmill-{await store.deployment_id()}")
        for name in await pool.list_workers():
            await pool.kill(name, restart=False)
        pool.close()


def wait_until_all_step(directory: Path, count: int) -> None:
    while sum(bool(path.read_text()) for path in directory.iterdir()) < count:
        time.sleep(0.2)


async def submit(store: Store, seed: int, steps: int, priority: int) -> None:
    spec = a_spec(model=MODEL, seed=seed, num_inference_steps=steps)
    tenant = "studio" if priority == URGENT else "campaigns"
    await store.submit(a_job(spec=spec, priority=priority, pool=MODEL, tenant=tenant, cost=float(steps)))


async def phase(store: Store, seconds: float, every: float | None) -> dict[str, Any]:
    """Wait, and submit interactive jobs meanwhile if asked to; when it began and ended, and each job's submit."""
    begun, chance = time.time(), random.Random(1)
    submitted: dict[int, float] = {}
    while (left := begun + seconds - time.time()) > 0:
        await asyncio.sleep(min(left, chance.expovariate(1 / every) if every else left))
        if every and time.time() < begun + seconds:
            seed = URGENT_SEEDS + len(submitted)
            await submit(store, seed, URGENT_STEPS, URGENT)
            submitted[seed] = time.time()
    return {"begun": begun, "ended": time.time(), "submitted": submitted}


def steps_of(directory: Path) -> list[tuple[float, int, int]]:
    """Every step of every worker so far: when it began, whose seed, which one."""
    lines = (line.split() for path in directory.iterdir() for line in path.read_text().splitlines())
    return [(float(line[0]), int(line[1]), int(line[2])) for line in lines if len(line) == 3]


def report(
    steps: Sequence[tuple[float, int, int]], alone: dict[str, Any], mixed: dict[str, Any], count: int, step_s: float
) -> None:
    share = {}
    for name, one in (("bulk alone", alone), ("with interactive", mixed)):
        within = [step for step in steps if one["begun"] <= step[0] < one["ended"]]
        share[name] = len(within) * step_s / (count * (one["ended"] - one["begun"]))
        urgent = sum(seed >= URGENT_SEEDS for _, seed, _ in within)
        print(f"{name}: {share[name]:.2%} of all workers' time in steps, {urgent} of {len(within)} interactive")
    first = {seed: at for at, seed, step in sorted(steps, reverse=True) if seed >= URGENT_SEEDS and step == 0}
    waits = sorted((first[seed] - at) / step_s for seed, at in mixed["submitted"].items() if seed in first)
    p95 = waits[min(len(waits) - 1, int(0.95 * len(waits)))]
    print(f"waits of {len(waits)} of {len(mixed['submitted'])} interactive jobs for their first step, in bulk steps:")
    print(f"  p50 {statistics.median(waits):.2f}, p95 {p95:.2f} (goal: 2), most {waits[-1]:.2f}")
    print(f"bulk loss: {1 - share['with interactive'] / share['bulk alone']:.2%} (goal: under 2%)")


@contextmanager
def a_ray_head(gpus: int) -> Iterator[str]:
    temp_dir = ray.make_temp_dir()
    token, log, port = temp_dir / "token", temp_dir / "ray.log", free_port()
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    os.environ |= ray.environment(token)
    head = ray.start(port, temp_dir, log, gpus=gpus)
    try:
        ray.wait_ready(head, port, temp_dir, log=log)
        yield f"127.0.0.1:{port}"
    finally:
        ray.stop(head, temp_dir)
        shutil.rmtree(temp_dir, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--step", type=float, default=0.5)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--every", type=float, default=2)
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    server = Server.create({}, durable=True)
    try:
        migrate(server.url())
        with a_ray_head(given.workers) as address, tempfile.TemporaryDirectory() as directory:
            settings = Settings.model_validate(
                {
                    "database_url": server.url(),
                    "master_key": secrets.token_hex(32),
                    "ray": {"address": address},
                    "default_model": MODEL,
                    "models": {MODEL: {"family": MODEL, "source": "/nowhere"}},
                    "pools": {MODEL: {"model": MODEL, "workers": given.workers}},
                    "metrics": {"dispatch_port": 0},
                }
            )
            asyncio.run(measure(settings, Path(directory), given.seconds, given.every, given.step))
    finally:
        server.remove()


if __name__ == "__main__":
    main()
