"""Transactions that really overlap: paused before their commit, cut off after it, and over a database that restarts."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import Executable, Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.errors import StoreUnavailable
from orchestrator.domain.job import Claim
from orchestrator.domain.states import JobState
from orchestrator.ports import Settled, SettleResult
from orchestrator.store import Store, claiming, migrate
from orchestrator.store.engine import Database, Parameters
from tests.support.jobs import CLUSTER, POOL, ending, evicted, lost, new_job, released, success, worker, workers
from tests.support.postgres import Server

T = TypeVar("T")


class PausedDatabase(Database):
    """Does everything that a transaction does, then waits at the gate before it commits."""

    def __init__(self, database_url: str) -> None:
        super().__init__(database_url, connections=2)
        self.arrived, self.gate = asyncio.Event(), asyncio.Event()

    async def fetch(self, statement: Executable, parameters: Parameters | None = None) -> Sequence[Row[Any]]:
        async def run(connection: AsyncConnection) -> Sequence[Row[Any]]:
            return (await connection.execute(statement, parameters)).all()

        return await self.transact(run)

    async def transact(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        async def run(connection: AsyncConnection) -> T:
            done = await work(connection)
            self.arrived.set()
            await self.gate.wait()
            return done

        return await super().transact(run)


@asynccontextmanager
async def paused(database_url: str, call: Callable[[Store], Awaitable[T]]) -> AsyncIterator[Callable[[], Awaitable[T]]]:
    """`call` with its transaction held open just before the commit; the yielded function lets it commit."""
    store = Store(database_url)
    real, gated = store._database, PausedDatabase(database_url)
    store._database = gated
    task = asyncio.ensure_future(call(store))
    await asyncio.wait_for(gated.arrived.wait(), 10)

    async def commit() -> T:
        gated.gate.set()
        return await asyncio.wait_for(task, 10)

    try:
        yield commit
    finally:
        gated.gate.set()
        await asyncio.wait([task], timeout=10)
        await real.close()
        await store.close()


async def until(database: asyncpg.Connection, count: str) -> None:
    """Poll until the query counts something."""
    async with asyncio.timeout(10):
        found = 0
        while not found:
            found = await database.fetchval(count)


async def blocked(database: asyncpg.Connection, task: asyncio.Future[Any]) -> None:
    """Wait until some session of this database waits for a lock, so that the order is the one we mean."""
    await until(
        database,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    assert not task.done()


async def claim_one(store: Store, **changes: object) -> Claim:
    await store.submit(new_job(**changes))
    [claim] = await store.claim(POOL, CLUSTER, [worker()])
    return claim


def applied(state: JobState) -> list[SettleResult]:
    return [SettleResult(settled=Settled.APPLIED, state=state)]


async def test_a_claim_waits_for_the_claim_before_it_and_takes_other_jobs(
    store: Store, database: asyncpg.Connection, database_url: str
) -> None:
    for _ in range(4):
        await store.submit(new_job())
    async with paused(database_url, lambda s: s.claim(POOL, "blue", workers(3))) as commit:
        second = asyncio.ensure_future(store.claim(POOL, "green", workers(3)))
        await blocked(database, second)
        first = await commit()
    assert len(first) == 3
    assert len(await second) == 1
    assert not {c.job_id for c in first} & {c.job_id for c in await second}


async def test_row_locks_alone_keep_two_claimers_apart(
    store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the advisory lock a claim is only less fair: it is the row locks that make it safe."""
    nobodys = text(claiming.CLAIM.text.replace("'cogmill:claim:'", "random()::text"))
    monkeypatch.setattr(claiming, "CLAIM", nobodys.bindparams(*claiming.CLAIM._bindparams.values()))
    for i in range(4):
        await store.submit(new_job(f"t{i}"))
    async with paused(database_url, lambda s: s.claim(POOL, "blue", workers(2))) as commit:
        # It blocks on the lanes at most, and must then find that the jobs are gone.
        second = asyncio.ensure_future(store.claim(POOL, "green", workers(2)))
        await asyncio.sleep(0.05)
        first = await commit()
    both = [*first, *await second]
    assert len({c.job_id for c in both}) == len(both)
    assert len(first) == 2


async def test_many_claimers_at_once_never_share_a_job(database_url: str, store: Store) -> None:
    await asyncio.gather(*(store.submit(new_job(f"t{i % 9}")) for i in range(300)))

    async def drain(cluster: str) -> list[Claim]:
        got: list[Claim] = []
        async with Store.open(database_url, connections=2) as own:
            while claims := await own.claim(POOL, cluster, workers(7)):
                got += claims
                await own.settle([success(claim) for claim in claims])
        return got

    claims = [claim for got in await asyncio.gather(*(drain(f"c{i}") for i in range(4))) for claim in got]
    assert len(claims) == len({claim.job_id for claim in claims}) == 300


async def test_a_cancel_that_commits_first_beats_the_finish_that_waits_for_it(
    store: Store, database: asyncpg.Connection, database_url: str
) -> None:
    claim = await claim_one(store)
    async with paused(database_url, lambda s: s.request_cancel(claim.job_id, "acme")) as commit:
        finish = asyncio.ensure_future(store.settle([success(claim)]))
        await blocked(database, finish)
        await commit()
    assert await finish == applied(JobState.CANCELLED)


async def test_a_finish_that_commits_first_stays_a_success_for_the_cancel_that_waits(
    store: Store, database: asyncpg.Connection, database_url: str
) -> None:
    claim = await claim_one(store)
    async with paused(database_url, lambda s: s.settle([success(claim)])) as commit:
        cancel = asyncio.ensure_future(store.request_cancel(claim.job_id, "acme"))
        await blocked(database, cancel)
        assert await commit() == applied(JobState.SUCCEEDED)
    job = await cancel
    assert job is not None
    assert (job.state, job.cancel_requested) == (JobState.SUCCEEDED, False)


@pytest.mark.parametrize("delete", [False, True])
async def test_a_requeue_that_commits_first_is_caught_by_the_cancel_that_waits(
    store: Store, database: asyncpg.Connection, database_url: str, delete: bool
) -> None:
    claim = await claim_one(store)
    async with paused(database_url, lambda s: s.settle([ending(claim, evicted())])) as commit:
        call = store.delete if delete else store.request_cancel
        cancel = asyncio.ensure_future(call(claim.job_id, "acme"))
        await blocked(database, cancel)
        assert await commit() == applied(JobState.QUEUED)
    assert await cancel
    assert await database.fetchval("SELECT state FROM jobs") == "cancelled"
    assert await store.claim(POOL, CLUSTER, [worker()]) == []


async def test_a_delete_waits_for_the_finish_and_buries_it(
    store: Store, database: asyncpg.Connection, database_url: str
) -> None:
    claim = await claim_one(store)
    async with paused(database_url, lambda s: s.settle([success(claim)])) as commit:
        delete = asyncio.ensure_future(store.delete(claim.job_id, "acme"))
        await blocked(database, delete)
        await commit()
    assert await delete is True
    assert await store.get(claim.job_id, "acme") is None


async def test_a_claim_does_not_wait_for_a_job_that_is_being_cancelled(store: Store, database_url: str) -> None:
    doomed = await store.submit(new_job())
    await store.submit(new_job())
    async with paused(database_url, lambda s: s.request_cancel(doomed.id, "acme")) as commit:
        assert doomed.id not in {c.job_id for c in await asyncio.wait_for(store.claim(POOL, CLUSTER, workers(2)), 5)}
        cancelled = await commit()
    assert cancelled is not None
    assert cancelled.state is JobState.CANCELLED


async def test_a_cancel_waits_for_the_claim_and_becomes_a_request(
    store: Store, database: asyncpg.Connection, database_url: str
) -> None:
    job = await store.submit(new_job())
    async with paused(database_url, lambda s: s.claim(POOL, CLUSTER, [worker()])) as commit:
        cancel = asyncio.ensure_future(store.request_cancel(job.id, "acme"))
        await blocked(database, cancel)
        [claim] = await commit()
    asked = await cancel
    assert asked is not None
    assert (asked.state, asked.cancel_requested) == (JobState.RUNNING, True)
    assert await store.cancel_requests(CLUSTER) == {claim.token}


@pytest.mark.parametrize("rescuer_first", [True, False])
async def test_of_a_rescue_and_a_finish_the_first_to_commit_counts(
    store: Store, database: asyncpg.Connection, database_url: str, rescuer_first: bool
) -> None:
    claim = await claim_one(store)
    await store.declare_dead(CLUSTER, claim.worker)
    [orphan] = await store.orphaned()
    rescue, finish = ending(orphan, lost()), success(claim)
    first, second = (rescue, finish) if rescuer_first else (finish, rescue)
    async with paused(database_url, lambda s: s.settle([first])) as commit:
        later = asyncio.ensure_future(store.settle([second]))
        await blocked(database, later)
        assert await commit() == applied(first.state)
    assert await later == [SettleResult(settled=Settled.ALREADY, state=first.state)]
    assert await database.fetchval("SELECT count(*) FROM attempts") == 1


async def test_a_submit_that_commits_late_is_claimed_all_the_same(store: Store, database_url: str) -> None:
    """Its id is older than that of a job which was claimed meanwhile, and its lane was seen empty."""
    late = new_job()
    await claim_one(store)

    def submit(other: Store) -> Awaitable[object]:
        other._submissions._database = other._database
        return other.submit(late)

    async with paused(database_url, submit) as commit:
        await claim_one(store)
        assert await store.claim(POOL, CLUSTER, workers(2)) == []
        await commit()
    assert [c.job_id for c in await store.claim(POOL, CLUSTER, workers(2))] == [late.id]


async def test_settlements_that_cross_each_other_all_count_once(store: Store, database_url: str) -> None:
    await asyncio.gather(*(store.submit(new_job(f"t{i % 5}")) for i in range(100)))
    claims = await store.claim(POOL, CLUSTER, workers(100))
    chance = random.Random(7)
    batches = [chance.sample([success(claim) for claim in claims], 60) for _ in range(8)]
    async with Store.open(database_url, connections=8) as other:
        results = await asyncio.gather(*(other.settle(batch) for batch in batches))
    outcomes = [result.settled for batch in results for result in batch]
    settled = {s.token for batch in batches for s in batch}
    assert outcomes.count(Settled.APPLIED) == len(settled)
    assert outcomes.count(Settled.ALREADY) == len(outcomes) - len(settled)


class DeafProxy:
    """Forwards to PostgreSQL, and on demand keeps its answers to itself: the request arrives, the reply is lost."""

    def __init__(self) -> None:
        self.deaf = False
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def before(self, database_url: str) -> AsyncIterator[str]:
        self._target = urlsplit(database_url).port
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        yield database_url.replace(f":{self._target}/", f":{port}/")
        self.cut()
        server.close()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [writer, up_writer]
        await asyncio.gather(
            self._pump(reader, up_writer), self._pump(up_reader, writer, muffled=True), return_exceptions=True
        )

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, muffled: bool = False) -> None:
        while data := await reader.read(65536):
            if not (muffled and self.deaf):
                writer.write(data)
        writer.close()


async def test_a_finish_whose_reply_is_lost_is_recognised(
    store: Store, database: asyncpg.Connection, database_url: str
) -> None:
    claim = await claim_one(store)
    proxy = DeafProxy()
    async with proxy.before(database_url) as url, Store.open(url, connections=1) as remote:
        assert len(await remote.running(CLUSTER)) == 1
        await remote.settle([replace(success(claim), token=uuid4())])  # prepared, so that only one reply is missing
        proxy.deaf = True
        finish = asyncio.ensure_future(remote.settle([success(claim)]))
        await until(database, "SELECT count(*) FROM attempts")
        proxy.cut()
        with pytest.raises(StoreUnavailable):
            await finish
        proxy.deaf = False
        assert await remote.settle([success(claim)]) == [
            SettleResult(settled=Settled.ALREADY, state=JobState.SUCCEEDED)
        ]
    assert await database.fetchval("SELECT count(*) FROM usage") == 1


@pytest.fixture
def own_server() -> Iterator[Server]:
    server = Server.create()
    migrate(server.url())
    yield server
    server.remove()


async def test_settling_goes_on_when_the_database_comes_back(own_server: Server) -> None:
    """PostgreSQL is killed with -9 while finishes stream in; each is tried until it gets an answer, and counts once."""
    async with Store.open(own_server.url()) as store:
        await asyncio.gather(*(store.submit(new_job(f"t{i % 5}")) for i in range(120)))
        claims = await store.claim(POOL, CLUSTER, workers(120))
        failed = asyncio.Event()

        async def finish(claim: Claim) -> SettleResult:
            while True:
                try:
                    [result] = await store.settle([success(claim)])
                    return result
                except StoreUnavailable:
                    failed.set()
                    await asyncio.sleep(0.02)

        running = [asyncio.ensure_future(finish(claim)) for claim in claims]
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        process = own_server.process.process()
        assert process is not None
        process.send_signal(signal.SIGKILL)
        await asyncio.wait_for(failed.wait(), 30)
        with pytest.raises(StoreUnavailable):
            await store.submit(new_job())
        await asyncio.to_thread(own_server.start)
        results = await asyncio.wait_for(asyncio.gather(*running), 30)
        assert {result.state for result in results} == {JobState.SUCCEEDED}
        assert len((await store.list_jobs("t0", limit=100)).jobs) == 24
        assert await store.running(CLUSTER) == []
    attempts = "SELECT count(*), count(DISTINCT job_id), (SELECT count(*) FROM usage) FROM attempts"
    assert own_server.execute(attempts, "cogmill") == "120|120|120"


async def test_an_unreachable_database_is_named_as_such(own_server: Server) -> None:
    own_server.stop()
    async with Store.open(own_server.url()) as store:
        with pytest.raises(StoreUnavailable):
            await store.heartbeats()
        with pytest.raises(StoreUnavailable):
            await store.claim(POOL, CLUSTER, [worker()])
        own_server.start()
        assert await store.heartbeats() == []
        wrong = own_server.url().replace("tests-only", "wrong")
        async with Store.open(wrong) as stranger:
            with pytest.raises(StoreUnavailable, match="password"):
                await stranger.heartbeats()


async def test_a_released_and_reclaimed_job_is_safe_from_its_first_owner(
    store: Store, database: asyncpg.Connection, database_url: str
) -> None:
    claim = await claim_one(store)
    async with paused(database_url, lambda s: s.settle([ending(claim, released())])) as commit:
        late = asyncio.ensure_future(store.settle([success(claim)]))
        await blocked(database, late)
        await commit()
    assert await late == [SettleResult(settled=Settled.ALREADY, state=JobState.QUEUED)]
    [second] = await store.claim(POOL, CLUSTER, [worker()])
    assert await store.settle([success(claim)]) == [SettleResult(settled=Settled.ALREADY, state=JobState.RUNNING)]
    assert await store.settle([success(second)]) == applied(JobState.SUCCEEDED)
