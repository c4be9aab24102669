"""Group commit: whatever the timing, every submission is carried, and each learns its own fate."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

from orchestrator.domain.errors import StoreUnavailable
from orchestrator.policy.limits import NO_LIMITS
from orchestrator.store.engine import Database
from orchestrator.store.submissions import Submissions
from orchestrator.store.wakeups import Notifier
from tests.support.builders import a_job


class ScriptedDatabase:
    """Answers each insert when told to; `lost` answers break off after their commit."""

    def __init__(self, *, lost: int = 0) -> None:
        self.inserts: list[asyncio.Future[None]] = []
        self.rows: set[UUID] = set()
        self._lost = lost

    async def fetch(self, _: object, parameters: dict[str, Any]) -> Sequence[Any]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.inserts.append(done)
        await done
        fresh = [job.id for job in parameters["batch"] if job.id not in self.rows]
        self.rows.update(fresh)
        if self._lost:
            self._lost -= 1
            raise StoreUnavailable("the connection broke")
        return [SimpleNamespace(id=job, created_at=datetime.now(UTC)) for job in fresh]


class SilentAnnouncer:
    def announce(self) -> None:
        pass


def submissions(database: ScriptedDatabase) -> Submissions:
    return Submissions(cast(Database, database), cast(Notifier, SilentAnnouncer()), NO_LIMITS)


async def ticks(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_submission_in_the_moment_in_which_both_flights_land_is_not_left_behind() -> None:
    database = ScriptedDatabase()
    group = submissions(database)
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def late() -> None:
        await gate
        await group.submit(a_job())

    third = asyncio.create_task(late())
    flights = []
    for _ in range(2):
        flights.append(asyncio.create_task(group.submit(a_job())))
        await ticks()
    for insert in list(database.inserts):
        insert.set_result(None)
    gate.set_result(None)  # woken right after the flights, before the loop has told anybody that they are over
    await ticks()
    assert len(database.inserts) == 3
    database.inserts[2].set_result(None)
    await asyncio.wait_for(asyncio.gather(third, *flights), 5)


async def test_a_commit_whose_answer_was_lost_is_found_again_and_not_repeated() -> None:
    database = ScriptedDatabase(lost=1)
    group = submissions(database)
    job = a_job()
    submitted = asyncio.create_task(group.submit(job))
    await ticks()
    database.inserts[0].set_result(None)
    await ticks()
    assert not submitted.done()
    database.inserts[1].set_result(None)
    await ticks()
    assert database.rows == {job.id}
    submitted.cancel()


async def test_what_arrives_during_two_flights_shares_the_next_one() -> None:
    database = ScriptedDatabase()
    group = submissions(database)
    waiting = [asyncio.create_task(group.submit(a_job())) for _ in range(2)]
    await ticks()
    waiting += [asyncio.create_task(group.submit(a_job())) for _ in range(10)]
    await ticks()
    while not all(task.done() for task in waiting):
        for insert in database.inserts:
            if not insert.done():
                insert.set_result(None)
        await ticks()
    assert len(database.inserts) <= 4
    assert len(database.rows) == 12


async def test_a_caller_that_leaves_before_take_off_leaves_no_row() -> None:
    database = ScriptedDatabase()
    group = submissions(database)
    tasks = []
    for _ in range(2):
        tasks.append(asyncio.create_task(group.submit(a_job())))
        await ticks()
    leaving = asyncio.create_task(group.submit(a_job()))
    await ticks()
    leaving.cancel()
    await ticks()
    for insert in database.inserts:
        insert.set_result(None)
    await asyncio.gather(*tasks)
    await group.close()
    assert len(database.rows) == len(tasks)
