"""Where the time goes: a flame graph of each process of a stack under load, and the plans of the queue's statements.

    python tests/benchmarks/profiling.py [--seconds 20] [--out profile]     a stack of its own, under load
    python tests/benchmarks/profiling.py --pid 4711 [--seconds 20]          a process that is there already

Writes OUT/{api,dispatch,maintain,worker}.svg, which a browser opens, and OUT/plans.txt: `EXPLAIN (ANALYZE, BUFFERS)` of
each statement as the product says it, with the parameters that it had, over 20,000 waiting jobs. py-spy needs the right
to look into a process: that of its own user, where `kernel.yama.ptrace_scope` allows it, or root's.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import Executable
from sqlalchemy.sql.elements import ClauseElement

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from orchestrator.ports import Progress
from orchestrator.store import Store, migrate
from orchestrator.store.engine import Database
from tests.benchmarks.store import load, settle_down
from tests.support.jobs import CLUSTER, POOL, new_job, success, workers
from tests.support.postgres import Server
from tests.support.stack import Up, data_dirs, wait_for

T = TypeVar("T")

BODY = {"prompt": "a mill", "size": "96x64", "num_frames": 9, "num_inference_steps": 4}
WAITING, TENANTS, SLOTS = 20_000, 50, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=int, default=20, help="how long py-spy looks")
    parser.add_argument("--out", type=Path, default=Path("profile"), help="directory of what it writes")
    parser.add_argument("--pid", type=int, help="record this process alone")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.pid is not None:
        record({f"pid-{options.pid}": options.pid}, options.out, options.seconds)
        return
    with data_dirs() as parent:
        flames(parent, options.out, options.seconds)
        explain_all(options.out / "plans.txt")


# ------------------------------------------------------------ flame graphs
def flames(parent: Path, out: Path, seconds: int) -> None:
    """Record the processes of a stack that is kept busy: requests, claims, renders, answers."""
    running = Up.start(parent / "stack", "--port", "0")
    try:
        with running.client() as client:
            wait_for(client, client.post("/v1/videos", json=BODY).raise_for_status().json()["id"], within_s=120)
        with under_load(running):
            record(processes(running), out, seconds)
    finally:
        running.stop()


def processes(running: Up) -> dict[str, int]:
    """The pid of each part of the control plane, and of one worker."""
    found = {name: running.state.parts[name].pid for name in ("api", "dispatch", "maintain")}
    actors = [process for process in running.family() if "RenderActor" in " ".join(process.cmdline())]
    return found | ({"worker": actors[0].pid} if actors else {})


@contextmanager
def under_load(running: Up) -> Iterator[None]:
    """Jobs enough for the worker, and somebody who asks for them as a console would."""
    ended = threading.Event()

    def ask() -> None:
        with running.client() as client:
            while not ended.is_set():
                if client.get("/v1/videos", params={"limit": 1}).json()["data"][0]["status"] != "queued":
                    client.post("/v1/videos", json=BODY)
                client.get("/v1/videos")

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        ended.set()
        asking.join()


def record(pids: Mapping[str, int], out: Path, seconds: int) -> None:
    """Have py-spy look at these processes, all at once."""
    looking = {
        name: subprocess.Popen(
            ["py-spy", "record", "--pid", str(pid), "--duration", str(seconds), "--output", str(out / f"{name}.svg")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, pid in pids.items()
    }
    for name, spy in looking.items():
        _, said = spy.communicate()
        print(f"{name}: {out / f'{name}.svg'}" if spy.returncode == 0 else f"{name}: {said.strip()}")


# ------------------------------------------------------------ plans
class Explain(Executable, ClauseElement):
    """A statement, carried out and explained."""

    inherit_cache = False

    def __init__(self, statement: Any) -> None:
        self.statement = statement


@compiles(Explain)
def _compile(element: Explain, compiler: Any, **options: Any) -> str:
    return "EXPLAIN (ANALYZE, BUFFERS) " + str(compiler.process(element.statement, **options))


class Explaining:
    """A connection whose statements are explained before they are carried out: a savepoint takes the first one back."""

    def __init__(self, connection: AsyncConnection, found: dict[str, str], what: str) -> None:
        self._connection, self._found, self._what = connection, found, what

    async def execute(self, statement: Executable, parameters: Any = None) -> Any:
        savepoint = await self._connection.begin_nested()
        lines = (await self._connection.execute(Explain(statement), parameters)).scalars().all()
        await savepoint.rollback()
        self._found[f"{self._what} ({len(self._found) + 1})"] = "\n".join(lines)
        return await self._connection.execute(statement, parameters)


@contextmanager
def explained(found: dict[str, str], what: str) -> Iterator[None]:
    """Within it, `found` gets the plan of every statement that the store carries out."""
    transact = Database.transact

    async def explaining(self: Database, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        return await transact(self, lambda connection: work(Explaining(connection, found, what)))  # type: ignore[arg-type]

    async def fetch(self: Database, statement: Executable, parameters: Any = None) -> Any:
        async def one(connection: AsyncConnection) -> Any:
            result = await connection.execute(statement, parameters)
            return result.all() if result.returns_rows else []

        return await self.transact(one)

    before = Database.fetch
    Database.transact, Database.fetch = explaining, fetch  # type: ignore[method-assign]
    try:
        yield
    finally:
        Database.transact, Database.fetch = transact, before  # type: ignore[method-assign]


def explain_all(out: Path) -> None:
    """Write down the plans of a job's statements, on a server of its own."""
    server = Server.create(durable=True)
    try:
        url = server.url(server.new_database())
        migrate(url)
        found = asyncio.run(plans(url))
    finally:
        server.remove()
    out.write_text("\n\n".join(f"== {what}\n{plan}" for what, plan in found.items()) + "\n")
    for what, plan in found.items():
        print(f"{what}: {plan.splitlines()[-1].strip()}")
    print(f"plans: {out}")


async def plans(url: str) -> dict[str, str]:
    """The plan of each statement in a job's life, over a queue with a backlog."""
    await load(url, WAITING, TENANTS)
    await settle_down(url)
    found: dict[str, str] = {}
    async with Store.open(url, connections=1) as store:
        with explained(found, "submit"):
            await store.submit(job := new_job())
        with explained(found, "beat"):
            await store.beat(CLUSTER, dict.fromkeys(workers(SLOTS), POOL))
        with explained(found, "claim"):
            claims = await store.claim(POOL, CLUSTER, workers(SLOTS))
        moved = [Progress(job_id=c.job_id, token=c.token, stage="denoising", step=1) for c in claims]
        with explained(found, "progress"):
            await store.record_progress(moved)
        with explained(found, "settle"):
            await store.settle([success(claim) for claim in claims])
        with explained(found, "get"):
            await store.get(job.id, job.tenant)
        with explained(found, "wake_due"):
            await store.wake_due()
        with explained(found, "running"):
            await store.running(CLUSTER)
    return found


if __name__ == "__main__":
    main()
