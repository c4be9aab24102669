"""Erasing while S3 is away or refuses, while the database is, and killed at every step: nothing is skipped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import count
from typing import Any

import asyncpg
import pytest

from orchestrator.adapters.s3 import Listed, S3Objects
from orchestrator.config.logins import Login
from orchestrator.domain.errors import ObjectsRefused, ObjectsUnavailable, StoreUnavailable
from orchestrator.domain.receipt import SignedReceipt
from orchestrator.objects.erasing import HOLD_S, Bucket
from orchestrator.ports.erasures import ErasureStore
from orchestrator.store import Store
from tests.support.estates import GRACE_S, LATE_S, Estate, contents, eraser, mentions
from tests.support.logins import acting
from tests.support.postgres import Clock
from tests.support.s3 import S3Server

TENANT = "acme"


class Killed(BaseException):
    """The end of a process, as far as one process can have it."""


class Killing:
    """Passes calls on, and ends the process at one of them: before it, or when it is done and nobody was told."""

    def __init__(self, whole: Any, left: Iterable[int], *, after: bool) -> None:
        self._whole = whole
        self._left = iter(left)
        self._after = after

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._whole, name)
        now = next(self._left) == 0

        def here(*args: Any, **named: Any) -> Any:
            if now and not self._after:
                raise Killed
            done = call(*args, **named)
            if now:
                raise Killed
            return done

        async def there(*args: Any, **named: Any) -> Any:
            if now and not self._after:
                raise Killed
            done = await call(*args, **named)
            if now:
                raise Killed
            return done

        return there if asyncio.iscoroutinefunction(call) else here


async def requested(store: Store, database: asyncpg.Connection, objects: S3Objects) -> None:
    estate = await Estate.of(store, database, objects, TENANT)
    await acting(store, Login.API).request_erasure(TENANT, by="tests", keep_usage=False)
    round_ = await store.next_erasure(hold_s=0)
    assert round_ is not None
    await store.stop_work(round_)
    await estate.stopped(store)


async def run_until_killed(store: ErasureStore, bucket: Bucket) -> bool:
    """Whether it was finished; also where it was killed after that."""
    try:
        return bool(await eraser(store, bucket).run_once())
    except Killed:
        return False


@pytest.mark.parametrize("after", [False, True], ids=["before it", "when it is done"])
async def test_killed_at_every_call_it_goes_on_and_loses_no_count(
    store: Store, database: asyncpg.Connection, objects: S3Objects, clock: Clock, after: bool
) -> None:
    await requested(store, database, objects)
    for at in count():
        left = count(at, -1)
        if await run_until_killed(Killing(acting(store, Login.MAINTAIN), left, after=after), objects):
            break
        if (await store.list_erasures(limit=1))[0].finished_at is not None:
            break
        await clock.advance(HOLD_S if at % 5 else LATE_S)
    [done] = await store.list_erasures(limit=2)
    assert done.receipt is not None
    assert SignedReceipt.parse(done.receipt).names(TENANT)
    assert contents(objects) == {}
    assert await mentions(database, TENANT) == {}
    assert (done.erased["jobs"], done.erased["campaign_rows"], done.erased["usage"]) == (3, 10, 2)


async def test_while_s3_is_away_nothing_counts_as_erased_that_is_there(
    store: Store, database: asyncpg.Connection, own_s3_server: S3Server, clock: Clock
) -> None:
    objects = S3Objects(own_s3_server.new_bucket(max_attempts=1))
    await requested(store, database, objects)
    keys = list(contents(objects))
    own_s3_server.kill()
    its = eraser(store, objects)
    for _ in range(2):
        with pytest.raises(ObjectsUnavailable):
            await its.run_once()
        assert (await store.list_erasures(limit=1))[0].waits_for == "S3 does not answer"
        await clock.advance(LATE_S + HOLD_S)
    assert await database.fetchval("SELECT count(*) FROM jobs WHERE tenant = $1", TENANT) == 3
    own_s3_server.start()
    assert list(contents(objects)) == keys
    while not await its.run_once():
        await clock.advance(LATE_S)
    assert contents(objects) == {}
    assert (await store.list_erasures(limit=1))[0].erased["objects"] == len(keys)


class Refusing:
    """A bucket that does not delete one object, as under a legal hold."""

    def __init__(self, whole: S3Objects) -> None:
        self._whole = whole
        self.held: str | None = None
        self.list_objects = whole.list_objects

    def refuse_lists(self, prefix: str) -> None:
        """As to credentials that may not list there."""

        def listed(wanted: str) -> Iterable[Listed]:
            if wanted == prefix:
                raise ObjectsRefused(f"S3 refused {prefix}: AccessDenied", keys=[prefix])
            return self._whole.list_objects(wanted)

        self.list_objects = listed  # type: ignore[method-assign]

    def delete(self, keys: Iterable[str]) -> None:
        wanted = list(keys)
        self._whole.delete([key for key in wanted if key != self.held])
        if self.held in wanted:
            raise ObjectsRefused(f"S3 did not delete 1 objects, {self.held} first: AccessDenied", keys=[self.held])


@pytest.mark.parametrize("which", ["videos/", "exports/"])
async def test_what_s3_does_not_delete_keeps_it_open_and_holds_up_nothing_else(
    store: Store, database: asyncpg.Connection, objects: S3Objects, clock: Clock, which: str
) -> None:
    await requested(store, database, objects)
    bucket = Refusing(objects)
    [bucket.held, *_] = [key for key in contents(objects) if key.startswith(which)]
    its = eraser(store, bucket)
    for _ in range(4):
        assert not await its.run_once()
        await clock.advance(LATE_S)
    assert list(contents(objects)) == [bucket.held]
    [going] = await store.list_erasures(limit=1)
    assert going.waits_for == "S3 refuses to list or to delete 1 of its objects"
    bucket.held = None  # the hold is over
    its = eraser(store, bucket)
    while not await its.run_once():
        await clock.advance(max(LATE_S, GRACE_S))
    assert contents(objects) == {}


async def test_what_may_not_be_listed_keeps_it_open_too(
    store: Store, database: asyncpg.Connection, objects: S3Objects, clock: Clock
) -> None:
    await requested(store, database, objects)
    bucket = Refusing(objects)
    bucket.refuse_lists(f"exports/{TENANT}/")
    its = eraser(store, bucket)
    for _ in range(4):
        assert not await its.run_once()
        await clock.advance(LATE_S)
    assert list(contents(objects)) == [f"exports/{TENANT}/a/b.csv"]


class Away:
    """A store whose database goes away at one call."""

    def __init__(self, whole: Store, name: str) -> None:
        self._whole = whole
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            self._name = ""
            raise StoreUnavailable("PostgreSQL: gone")
        return getattr(self._whole, name)


@pytest.mark.parametrize("name", ["forget_jobs", "objects_erased", "close_tenant"])
async def test_a_database_that_goes_away_is_asked_again(
    store: Store, database: asyncpg.Connection, objects: S3Objects, clock: Clock, name: str
) -> None:
    await requested(store, database, objects)
    its = eraser(Away(acting(store, Login.MAINTAIN), name), objects)
    failed = 0
    while True:
        try:
            if await its.run_once():
                break
        except StoreUnavailable:
            failed += 1
        await clock.advance(LATE_S)
    assert failed == 1
    assert contents(objects) == {}
