"""A batch survives whatever stops its runner: nothing is lost, nothing is done twice, and the answers are the same."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import S3Settings
from orchestrator.domain.batch import Batch, BatchStatus
from orchestrator.domain.campaign import CampaignState
from orchestrator.domain.errors import LeaseLost
from orchestrator.intake.files import Files
from orchestrator.objects.files import FileSweeper
from orchestrator.ports.campaign_values import Change, Work
from orchestrator.rows import engine
from orchestrator.store import Store
from tests.support.api import MASTER_KEY, POOL, api_settings
from tests.support.batches import FAILS, Scene, a_scene, line
from tests.support.s3 import S3Server

# Everything that a runner does outside itself, from the first lease to the last write.
STEPS = (
    "add_rows", "change_held", "settle_rows", "open_passes", "find_rows", "submit_rows", "ended_rows", "end_batch",
    "prepare", "upload", "cancelled",
)  # fmt: skip

EXPIRE = text("UPDATE campaigns SET leased_until = NULL")
TOLD = text("SELECT 1 FROM outbox WHERE batch_id IS NOT NULL")


class Killed(BaseException):
    """The process is gone: nobody tidies up."""


class Killer:
    """A store or bucket behind which the runner dies, before or after the call of one name."""

    def __init__(self, inner: Any, name: str, when: str) -> None:
        self._inner = inner
        self._name = name
        self._when = when
        self.armed = True

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._inner, name)
        if name == "release_campaign":
            return self._unreleased
        if name != self._name:
            return real
        return self._dying(real) if asyncio.iscoroutinefunction(real) else self._dying_in_thread(real)

    async def _unreleased(self, *_: Any, **__: Any) -> None:
        """Who is killed releases nothing."""

    def _dying(self, real: Any) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.armed and self._when == "before":
                raise Killed
            found = await real(*args, **kwargs)
            if self.armed:
                raise Killed
            return found

        return call

    def _dying_in_thread(self, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.armed and self._when == "before":
                raise Killed
            found = real(*args, **kwargs)
            if self.armed:
                raise Killed
            return found

        return call


async def a_batch(scene: Scene, *, cancelled: bool) -> Batch:
    """Three lines: one video, one failure, one refusal. `cancelled` has a job in the queue and one that is not."""
    batch = await scene.create([line("a"), line("b", prompt=FAILS), line("c", size="7x7")])
    if cancelled:
        await scene.step()
        await scene.batches.cancel(scene.tenant, batch.id)
    return batch


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", STEPS)
async def test_a_runner_killed_at_any_step_is_followed_by_one_that_ends_the_batch(
    scene: Scene, name: str, when: str
) -> None:
    batch = await a_batch(scene, cancelled=name == "cancelled")
    died = False
    for _ in range(30):
        died = await killed_once(scene, name, when) or died
        await scene.store._database.fetch(EXPIRE)
        if died or (await scene.batch(batch)).status.terminal:
            break
        await scene.render()
    assert died, f"nobody came by {name}"
    done = await scene.finish(batch)
    good, bad = await scene.lines(done.output_file), await scene.lines(done.error_file)
    expected = ({"a"}, {"b", "c"}) if name != "cancelled" else (set(), {"a", "b", "c"})
    assert (set(good), set(bad)) == expected
    assert (done.total, done.completed, done.failed) == (3, len(expected[0]), len(expected[1]))
    assert len((await scene.store.list_jobs(scene.tenant, limit=100)).jobs) == 2, "no job twice"
    assert len(await scene.store._database.fetch(TOLD)) == 1
    await FileSweeper(scene.store, scene.objects).orphans(older_than_s=-1)
    assert len(list(scene.objects.list_keys("files/"))) == 1 + bool(good) + bool(bad), "no object is left over"


async def killed_once(scene: Scene, name: str, when: str) -> bool:
    """Run one that dies at the call of that name; whether it did."""
    dying: Any = a_scene(scene.store, scene.objects, scene.settings)
    kind, at = dying.kind, "change_held" if name == "cancelled" else name
    store = Killer(scene.store, "nothing" if name in ("prepare", "upload") else at, when)
    kind._store = kind._output._store = kind._refill._store = dying.engine._store = store
    if name == "prepare":
        kind._jobs = Killer(kind._jobs, name, when)
    if name == "upload":
        kind._output._objects = Killer(dying.objects, name, when)
    try:
        await dying.run_once()
    except Killed:
        return True
    return False


async def test_maintainers_killed_one_after_the_other_end_every_line_once(scene: Scene) -> None:
    batch = await scene.create([line(str(n)) for n in range(150)])
    seen = (
        "SELECT count(*) > 0 FROM campaign_rows",
        "SELECT count(*) > 50 FROM jobs",
        "SELECT count(*) = 150 FROM campaign_jobs",
        "SELECT count(*) > 0 FROM batches WHERE status = 'finalizing' OR ended_at IS NOT NULL",
    )
    for condition in seen:
        if "finalizing" in condition:
            await scene.render()
        with maintainer(scene) as process:
            await until(scene, condition)
            process.kill()
        await scene.store._database.fetch(EXPIRE)
    done = await scene.finish(batch)
    assert (done.status, done.completed, done.failed) == (BatchStatus.COMPLETED, 150, 0)
    assert len(await scene.lines(done.output_file)) == 150
    (jobs,) = await scene.store._database.fetch(text("SELECT count(*) AS n FROM jobs"))
    assert jobs.n == 150


@contextmanager
def maintainer(scene: Scene) -> Iterator[subprocess.Popen[bytes]]:
    """The process as a deployment starts it."""
    settings, s3 = scene.settings, scene.settings.s3
    assert s3.secret_key is not None
    variables = {
        "COGMILL_DATABASE_URL": settings.database_url,
        "COGMILL_MASTER_KEY": MASTER_KEY,
        "COGMILL_DEFAULT_MODEL": settings.default_model,
        "COGMILL_MODELS": json.dumps({"tiny-2b": {"family": "tiny-2b", "source": "/models/tiny-2b"}}),
        "COGMILL_POOLS": json.dumps({POOL: {"model": "tiny-2b"}}),
        "COGMILL_ALIASES": json.dumps(settings.aliases),
        "COGMILL_S3__ENDPOINT_URL": str(s3.endpoint_url),
        "COGMILL_S3__BUCKET": s3.bucket,
        "COGMILL_S3__ACCESS_KEY": str(s3.access_key),
        "COGMILL_S3__SECRET_KEY": s3.secret_key.get_secret_value(),
        "COGMILL_METRICS__MAINTAIN_PORT": "0",
    }
    command = [sys.executable, "-m", "orchestrator.cli", "maintain"]
    with subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


async def until(scene: Scene, condition: str) -> None:
    for _ in range(6000):
        if (await scene.store._database.fetch(text(condition)))[0][0]:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"not within a minute: {condition}")


async def test_who_lost_its_lease_writes_nothing_more(scene: Scene) -> None:
    batch = await scene.create([line("a")])
    stale = await scene.store.lease_campaign(Work.INGEST, 60)
    assert stale is not None
    await scene.store._database.fetch(EXPIRE)
    done = await scene.finish(batch)
    for late in (
        scene.store.change_held(stale, Change(state=CampaignState.RUNNING)),
        scene.store.settle_rows(stale, limit=7),
        scene.store.renew_campaign(stale, 60),
    ):
        with pytest.raises(LeaseLost):
            await late
    await scene.store.release_campaign(stale, pause_s=1000)
    assert await scene.batch(batch) == done


async def test_a_tenants_many_batches_do_not_keep_anothers_waiting(scene: Scene) -> None:
    other = a_scene(scene.store, scene.objects, scene.settings)
    greedy = [await scene.create([line("a")]) for _ in range(3)]
    late = await other.create([line("a")])
    leased = [await scene.store.lease_campaign(Work.INGEST, 60) for _ in range(4)]
    assert [hold.campaign.id for hold in leased if hold] == [each.id for each in (greedy[0], late, *greedy[1:])]


async def test_a_bucket_that_is_away_only_delays_a_batch(
    store: Store, own_s3_server: S3Server, database_url: str
) -> None:
    bucket: S3Settings = own_s3_server.new_bucket(max_attempts=1)
    scene = a_scene(store, S3Objects(bucket), api_settings(database_url, bucket))
    batch = await scene.create([line("a")])
    for status in (BatchStatus.VALIDATING, BatchStatus.FINALIZING):
        own_s3_server.kill()
        for _ in range(4):
            await scene.step()
            await scene.render()
        assert (await scene.batch(batch)).status is status
        own_s3_server.start()
        await scene.step()
    done = await scene.finish(batch)
    assert (done.status, set(await scene.lines(done.output_file))) == (BatchStatus.COMPLETED, {"a"})


# As a full disk, too few connections, and a server that is shut down; and one that dies in the middle of a COPY.
TROUBLES = {code: f"RAISE EXCEPTION 'not now' USING ERRCODE = '{code}'" for code in ("53100", "53300", "57P01")}
TROUBLES["dies"] = "PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(9)"


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_database_that_takes_no_rows_now_only_delays_a_batch(
    scene: Scene, database: asyncpg.Connection, trouble: str
) -> None:
    batch = await scene.create([line("a")])
    await database.execute(f"""
        CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {TROUBLES[trouble]}; RETURN NEW; END $$;
        CREATE TRIGGER fails BEFORE INSERT ON campaign_rows FOR EACH ROW EXECUTE FUNCTION fails()
    """)
    await scene.step()
    assert (await scene.batch(batch)).status is BatchStatus.VALIDATING
    assert await database.fetch("SELECT subject, error FROM parked") == [], "nobody has to look after it"
    await database.execute("DROP FUNCTION fails CASCADE")
    assert (await scene.finish(batch)).completed == 1


async def test_a_full_disk_only_delays_the_answers(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = await scene.create([line("a")])
    real = tempfile.NamedTemporaryFile

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    for _ in range(4):
        await scene.step()
        await scene.render()
    assert (await scene.batch(batch)).status is BatchStatus.FINALIZING
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", real)
    assert (await scene.finish(batch)).status is BatchStatus.COMPLETED


async def test_a_lease_is_renewed_for_as_long_as_a_step_takes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LEASE_S", 2.0)
    batch = await scene.create([line("a")])
    begun, release = asyncio.Event(), asyncio.Event()
    real = Files.get

    async def slow(*args: Any) -> Any:
        if not begun.is_set():
            begun.set()
            await release.wait()
        return await real(*args)

    monkeypatch.setattr(Files, "get", slow)
    running = asyncio.create_task(scene.run_once())
    await asyncio.wait_for(begun.wait(), 60)
    other = a_scene(scene.store, scene.objects, scene.settings)
    for _ in range(12):
        await asyncio.sleep(0.25)
        assert await other.run_once() == 0, "somebody holds it"
    release.set()
    await running
    assert (await scene.finish(batch)).status is BatchStatus.COMPLETED
