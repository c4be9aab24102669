"""What guarantees, caps and warm workers cost a claim: this tree's statement beside another tree's, on one server.

    python -m tests.benchmarks.claims --old DIR             all of it (minutes); DIR is a checkout of another release
    python -m tests.benchmarks.claims --old DIR --small     the same with small numbers, to see that it runs

Each tree runs in a process of its own, on databases that its own migrations made; both are asked in turns, so that what
else the machine does meets both. Without `--old` only this tree is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import text

from orchestrator.domain.job import WorkerRef
from orchestrator.store.engine import dumps
from tests.benchmarks.store import DURABLE, finished, percentile, settle_down
from tests.support.jobs import CLUSTER, POOL, SPEC, workers
from tests.support.postgres import Server

TENANTS = 200
POOLS = (POOL, "second", "third", "fourth")


async def measure(url: str, batch: int, samples: int, warm: bool) -> list[tuple[float, float]]:
    """Seconds of each claim, and of them those that the server's process computed; settlements are not in either."""
    from orchestrator.store import Store

    taken = []
    async with Store.open(url, connections=1) as store:
        slots = workers(batch)
        known = _warmth(slots) if warm else {}
        await store.beat(CLUSTER, dict.fromkeys(slots, POOL))
        ((backend,),) = await store._database.fetch(text("SELECT pg_backend_pid()"))
        for _ in range(samples):
            started, computed = time.perf_counter(), _computed_s(backend)
            claims = await store.claim(POOL, CLUSTER, slots, **known)
            taken.append((time.perf_counter() - started, _computed_s(backend) - computed))
            await store.settle([finished(claim) for claim in claims])
    return taken[samples // 5 :]  # the first ones connect and plan


def _computed_s(process: int) -> float:
    """Seconds that a process of this machine has run on a processor: Linux tells, and no neighbour changes it."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9


def _warmth(slots: Sequence[WorkerRef]) -> dict[str, Any]:
    """Half of the workers rendered this shape last; where the tree knows of no warmth, nothing."""
    try:
        from orchestrator.domain.warmth import Warmth, shape_of
    except ImportError:
        return {}
    shapes = (shape_of(SPEC), "8x8x1")
    return {"warm": {slot: Warmth(shape=shapes[i % 2], adapters=("ink",)) for i, slot in enumerate(slots)}}


async def together(url: str, batch: int, seconds: float) -> float:
    """Claims a second of four pools at once, each with a dispatcher of its own; settled as they come."""
    from orchestrator.store import Store

    done = 0

    async def burn(pool: str, until: float) -> None:
        nonlocal done
        async with Store.open(url, connections=2) as store:
            slots = workers(batch)
            await store.beat(pool, dict.fromkeys(slots, pool))
            while time.perf_counter() < until:
                claims = await store.claim(pool, pool, slots)
                done += len(claims)
                await store.settle([finished(claim) for claim in claims])

    until = time.perf_counter() + seconds
    await asyncio.gather(*(burn(pool, until) for pool in POOLS))
    return done / seconds


async def change(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


# In one statement, as a million by way of Python takes minutes. Bulk: nobody is guaranteed what is more urgent.
LOAD = """
    INSERT INTO jobs (id, tenant, pool, priority, state, ready, cost, max_attempts, spec, request)
    SELECT lpad(to_hex(n), 32, '0')::uuid, 'tenant' || lpad((n % $2)::text, 4, '0'), $3, 20, 'queued', true, 90, 3,
           $4::text::jsonb, '{}' FROM generate_series(1, $1::int) AS n
"""
LANES = """
    INSERT INTO lanes (pool, priority, tenant, weight) SELECT DISTINCT pool, priority, tenant, 1 FROM jobs
    ON CONFLICT DO NOTHING
"""


async def prepare(url: str, waiting: int) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(LOAD, waiting, TENANTS, POOL, dumps(SPEC))
    await connection.execute(LANES)
    await connection.close()
    await settle_down(url)


class Tree:
    """One checkout's code, in a process of its own that is asked one question after another."""

    def __init__(self, name: str, path: Path, server: Server) -> None:
        self.name, self.path, self._server = name, path, server
        # This file, whatever tree it measures: an older one need not have it.
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--answer"],
            cwd=path, env=os.environ | {"PYTHONPATH": str(path)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        server.execute(f"CREATE DATABASE {name}")
        self._ask("migrate", server.url(name))
        self.loaded: dict[int, str] = {}
        # Whether it knows of guarantees.
        self.shares = (path / "orchestrator" / "store" / "shares.py").exists()

    def database(self, waiting: int, *statements: str) -> str:
        """The URL of a fresh database with so many ready jobs, after these statements."""
        if waiting not in self.loaded:
            self.loaded[waiting] = self._server.new_database(self.name)
            asyncio.run(prepare(self._server.url(self.loaded[waiting]), waiting))
        url = self._server.url(self._server.new_database(self.loaded[waiting]))
        for statement in statements:
            asyncio.run(change(url, statement))
        self._server.execute("CHECKPOINT")
        return url

    def measure(self, url: str, batch: int, samples: int, warm: bool) -> list[tuple[float, float]]:
        return list(self._ask("measure", url, batch, samples, warm))

    def together(self, url: str, batch: int, seconds: float) -> float:
        return float(self._ask("together", url, batch, seconds))

    def _ask(self, what: str, *arguments: object) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([what, *arguments]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End its process."""
        self._process.terminate()
        self._process.wait()


def answer(what: str, *arguments: Any) -> object:
    from orchestrator.store import migrate

    if what == "migrate":
        return migrate(*arguments)
    return asyncio.run({"measure": measure, "together": together}[what](*arguments))


CAPPED = "INSERT INTO tenants (name, running) VALUES ('tenant0000', 4) ON CONFLICT (name) DO UPDATE SET running = 4"
SHARED = (
    f"INSERT INTO shares (tenant, pool, guaranteed) VALUES ('tenant0000', '{POOL}', 2), ('tenant0001', '{POOL}', 2)"
)
SPREAD = (
    f"UPDATE jobs SET pool = (ARRAY{list(POOLS)})[1 + (hashtext(id::text) & 3)]",
    LANES,
    "VACUUM ANALYZE jobs",
)


def _times(taken: Sequence[tuple[float, float]]) -> str:
    """In milliseconds."""
    seconds, computed = zip(*taken, strict=True)
    p50, p99, cpu = (percentile(of, at) * 1e3 for of, at in ((seconds, 0.5), (seconds, 0.99), (computed, 0.5)))
    return f"p50 {p50:5.2f} p99 {p99:6.2f} computed p50 {cpu:5.2f} ms"


def report(trees: Sequence[Tree], waiting: Sequence[int], samples: int, seconds: float) -> None:
    scenes = (
        ("nobody capped", (), False), ("workers warm", (), True), ("one tenant capped", (CAPPED,), False),
        ("two guaranteed", (SHARED,), False),
    )  # fmt: skip
    for name, statements, warm in scenes:
        for backlog in waiting:
            able = [tree for tree in trees if statements != (SHARED,) or tree.shares]
            urls = {tree.name: tree.database(backlog, *statements) for tree in able}
            for batch in (1, 32):
                taken: dict[str, list[tuple[float, float]]] = {tree.name: [] for tree in able}
                for _ in range(4):
                    for tree in able:
                        taken[tree.name] += tree.measure(urls[tree.name], batch, samples, warm)
                told = "  ".join(f"{which} {_times(each)}" for which, each in taken.items())
                print(f"{name:18} {backlog:8d} waiting, claim of {batch:2d}: {told}", flush=True)
    for name, statements in (("nobody capped", SPREAD), ("one tenant capped", (*SPREAD, CAPPED))):
        urls = {tree.name: tree.database(waiting[0], *statements) for tree in trees}
        rates: dict[str, list[float]] = {tree.name: [] for tree in trees}
        for _ in range(3):
            for tree in trees:
                rates[tree.name].append(tree.together(urls[tree.name], 8, seconds))
        told = "  ".join(f"{which} {sorted(each)[1]:6.0f}/s" for which, each in rates.items())
        print(f"{name:18} four pools at once, claims of 8, with their settlements: {told}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=Path, help="a checkout to compare with")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--waiting", type=int, nargs="+", default=[20_000, 200_000], help="sizes of the backlog")
    parser.add_argument("--samples", type=int, default=60, help="claims of each kind in each of four rounds")
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.answer:
        for line in sys.stdin:
            print(json.dumps(answer(*json.loads(line))), flush=True)
        return
    server = Server.create(DURABLE, durable=True)
    trees: list[Tree] = []
    try:
        trees += [Tree("new", Path(__file__).parents[2], server)]
        if arguments.old:
            trees.append(Tree("old", arguments.old.resolve(), server))
        if arguments.small:
            report(trees, (2_000, 4_000), 20, 0.5)
        else:
            report(trees, arguments.waiting, arguments.samples, 3.0)
    finally:
        for tree in trees:
            tree.close()
        server.remove()


if __name__ == "__main__":
    main()
