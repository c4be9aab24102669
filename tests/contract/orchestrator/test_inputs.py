"""Pictures from every source end as one object per content, and go when no job needs them any more: real parts."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import asyncpg
import pytest
from PIL import Image
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql import asyncpg as dialect

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import FetchSettings
from orchestrator.domain.errors import InvalidField, NotFound, RequestError, TooLarge
from orchestrator.domain.job import Artifact, NewJob
from orchestrator.domain.objects import INPUT_KEY
from orchestrator.domain.request import ImageBytes, ImageFile, ImageUrl
from orchestrator.intake.pictures import Pictures
from orchestrator.objects.inputs import GRACE_S, IDLE_S, InputSweeper
from orchestrator.ports import Picture
from orchestrator.store import Store, inputs
from orchestrator.store.connecting import SESSION
from tests.support.builders import a_job, a_spec
from tests.support.postgres import Clock
from tests.support.web import Web

SETTINGS = FetchSettings.model_validate({"allow_networks": ["127.0.0.0/8"], "timeout_s": 5})


def a_png(colour: str = "teal", size: tuple[int, int] = (48, 32)) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


class Uploaded:
    """One file of one tenant."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, tenant: str, file_id: str, *, max_bytes: int) -> bytes:
        if (tenant, file_id) != ("acme", "file-1"):
            raise NotFound(f"no file with the id {file_id!r}")
        if len(self._data) > max_bytes:
            raise TooLarge("the file is too large")
        return self._data


@dataclass
class Scene:
    store: Store
    objects: S3Objects
    pictures: Pictures
    sweeper: InputSweeper

    async def kept(self, colour: str = "teal") -> Artifact:
        picture = await self.pictures.load("acme", ImageBytes(a_png(colour)))
        return await self.pictures.keep(picture)

    async def submit(self, image: Artifact) -> NewJob:
        job = a_job(spec=a_spec(image=image))
        await self.store.submit(job)
        return job

    async def forget(self, job: NewJob) -> None:
        """The job ends and retention takes its row away."""
        await self.store.delete(job.id, job.tenant)
        due = await self.store.objects_to_sweep(keep_s=1e9, losers_after_s=1e9, limit=10)
        await self.store.swept(due)
        assert await self.store.get(job.id, job.tenant) is None

    def keys(self) -> list[str]:
        return list(self.objects.list_keys(""))


@pytest.fixture
def scene(store: Store, objects: S3Objects) -> Scene:
    pictures = Pictures(SETTINGS, store, objects, Uploaded(a_png()))
    return Scene(store, objects, pictures, InputSweeper(store, objects, batch=2))


# ------------------------------------------------------------ loading


async def test_a_picture_is_the_same_from_every_source(scene: Scene, web: Web) -> None:
    web.pages["/teal.bin"] = a_png()
    expected = Picture(data=a_png(), content_type="image/png", width=48, height=32)
    for source in (ImageBytes(a_png()), ImageUrl(f"{web.url}/teal.bin"), ImageFile("file-1")):
        assert await scene.pictures.load("acme", source) == expected


async def test_what_is_no_picture_is_refused_whatever_its_source(scene: Scene, web: Web) -> None:
    web.pages["/page.png"] = b"<html>"
    for source in (ImageBytes(b"GIF89a"), ImageUrl(f"{web.url}/page.png"), ImageUrl(f"{web.url}/not-there.png")):
        with pytest.raises(InvalidField) as refused:
            await scene.pictures.load("acme", source)
        assert refused.value.param == "image"


async def test_a_tenant_whose_servers_never_answer_holds_up_nobody_elses_picture(scene: Scene, web: Web) -> None:
    web.pages["/prompt.png"] = a_png()
    with socket.create_server(("127.0.0.1", 0), backlog=200) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/never.png"
        hanging = [asyncio.create_task(scene.pictures.load("greedy", ImageUrl(url))) for _ in range(80)]
        await asyncio.sleep(0.2)  # all have asked, and each that may connect is waiting for an answer
        async with asyncio.timeout(SETTINGS.timeout_s / 2):
            picture = await scene.pictures.load("acme", ImageUrl(f"{web.url}/prompt.png"))
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
    assert picture.data == a_png()


async def test_a_tenants_many_pictures_are_decoded_in_turn_with_another_tenants_one(scene: Scene) -> None:
    done: list[str] = []

    async def load(tenant: str) -> None:
        await scene.pictures.load(tenant, ImageBytes(a_png()))
        done.append(tenant)

    # Both children are there then: one that has yet to start takes as long as many small pictures.
    await scene.pictures.load("acme", ImageBytes(a_png(size=(4_000, 3_000))))
    greedy = [asyncio.create_task(load("greedy")) for _ in range(50)]
    await asyncio.sleep(0)
    await load("acme")
    assert done.index("acme") < 5
    await asyncio.gather(*greedy)


async def test_another_tenants_file_and_a_large_one_are_errors_about_the_image(scene: Scene) -> None:
    small = SETTINGS.model_copy(update={"max_image_bytes": 50})
    strict = Pictures(small, scene.store, scene.objects, Uploaded(a_png()))
    for pictures, tenant, error in ((scene.pictures, "other", InvalidField), (strict, "acme", TooLarge)):
        with pytest.raises(RequestError) as refused:
            await pictures.load(tenant, ImageFile("file-1"))
        assert (type(refused.value), refused.value.param) == (error, "image")


# ------------------------------------------------------------ keeping


async def test_a_picture_is_kept_once_by_its_content(scene: Scene) -> None:
    first, again, other = await scene.kept(), await scene.kept(), await scene.kept("red")
    assert first == again != other
    assert first.sha256 == hashlib.sha256(a_png()).hexdigest()
    assert first.content_type == "image/png"
    assert first.key.startswith(f"inputs/{first.sha256}/")
    assert INPUT_KEY.fullmatch(first.key)
    assert scene.objects.get(first.key) == a_png()
    assert sorted(scene.keys()) == sorted([first.key, other.key])


async def test_of_many_at_once_one_wins_and_the_others_leave_nothing(scene: Scene) -> None:
    kept = await asyncio.gather(*(scene.kept() for _ in range(8)))
    assert len(set(kept)) == 1
    assert scene.keys() == [kept[0].key]


# ------------------------------------------------------------ sweeping


async def test_an_input_stays_for_a_day_without_a_job_then_it_goes_an_hour_later(scene: Scene, clock: Clock) -> None:
    image = await scene.kept()
    await clock.advance(IDLE_S - 1)
    assert await scene.sweeper.run_once() == 0
    await clock.advance(1)
    assert await scene.sweeper.run_once() == 0
    await clock.advance(GRACE_S)
    assert scene.keys() == [image.key]
    assert await scene.sweeper.run_once() == 1
    assert scene.keys() == []
    assert await scene.kept() != image


async def test_a_use_counts_as_much_as_the_upload(scene: Scene, clock: Clock) -> None:
    image = await scene.kept()
    for _ in range(3):
        await clock.advance(IDLE_S - 1)
        assert await scene.kept() == image
        assert await scene.sweeper.run_once() == 0


async def test_a_job_keeps_its_input_until_its_row_is_gone(scene: Scene, clock: Clock) -> None:
    image = await scene.kept()
    job = await scene.submit(image)
    for _ in range(3):
        await clock.advance(IDLE_S + GRACE_S)
        assert await scene.sweeper.run_once() == 0
    await scene.forget(job)
    for _ in range(2):
        await clock.advance(IDLE_S + GRACE_S)
        await scene.sweeper.run_once()
    assert scene.keys() == []


async def test_more_than_a_batch_is_swept_by_and_by(scene: Scene, clock: Clock) -> None:
    used = await scene.kept("teal")
    await scene.submit(used)
    for colour in ("red", "green", "blue", "black", "white"):
        await scene.kept(colour)
    await clock.advance(IDLE_S)
    for _ in range(3):
        assert await scene.sweeper.run_once() == 0
    await clock.advance(GRACE_S)
    assert await scene.sweeper.run_once() == 5
    assert scene.keys() == [used.key]


async def test_a_submit_that_comes_second_to_a_sweep_uploads_anew(scene: Scene, clock: Clock) -> None:
    old = await scene.kept()
    await clock.advance(IDLE_S)
    await scene.sweeper.run_once()  # gives it up
    new = await scene.kept()
    await scene.submit(new)
    assert new.key != old.key
    await clock.advance(IDLE_S + GRACE_S)
    await scene.sweeper.run_once()
    assert scene.objects.get(new.key) == a_png()


async def test_a_retry_that_takes_over_an_input_in_the_moment_it_is_given_up_still_has_it(
    scene: Scene, clock: Clock
) -> None:
    image = await scene.kept()
    first = await scene.submit(image)
    await clock.advance(IDLE_S)
    await scene.forget(first)
    await scene.sweeper.run_once()  # gives it up
    await scene.submit(image)
    await clock.advance(GRACE_S)
    assert await scene.sweeper.run_once() == 0
    assert scene.objects.get(image.key) == a_png()


async def test_a_use_and_a_sweep_that_meet_never_lose_the_object(
    scene: Scene, clock: Clock, database: asyncpg.Connection
) -> None:
    for turn in range(12):
        image = await scene.kept()
        await database.execute("DELETE FROM jobs")
        await clock.advance(IDLE_S)
        sweeps = [scene.sweeper.run_once() for _ in range(2)]
        kept, *_ = await asyncio.gather(scene.kept(), *sweeps if turn % 2 else reversed(sweeps))
        await scene.submit(kept)
        await clock.advance(GRACE_S)
        await scene.sweeper.run_once()
        assert scene.objects.get(kept.key) == a_png(), image


async def test_objects_without_a_row_go_after_a_day_and_nothing_else_does(scene: Scene, clock: Clock) -> None:
    await database_time_is_now(clock)
    image = await scene.kept()
    orphan = f"inputs/{'0' * 64}/{image.key[-36:-4]}.png"
    foreign = ["inputs/readme.txt", f"inputs/{'0' * 64}/x.png", "files/a/b"]
    for key in (orphan, *foreign):
        scene.objects.put(key, b"left behind", "image/png")
    assert await scene.sweeper.orphans() == 0
    await clock.advance(24 * 3600 - 60)  # an upload, and the submit that it belongs to, may take their time
    assert await scene.sweeper.orphans() == 0
    await clock.advance(120)
    assert await scene.sweeper.orphans() == 1
    assert sorted(scene.keys()) == sorted([image.key, *foreign])


async def database_time_is_now(clock: Clock) -> None:
    await clock._connection.execute("UPDATE test_clock SET now = now()")


async def test_no_statement_scans_the_inputs_or_the_jobs(
    store: Store, database_url: str, database: asyncpg.Connection
) -> None:
    await database.execute(
        "INSERT INTO inputs SELECT 'inputs/' || n, 'sha' || n, 1, 'image/png' FROM generate_series(1, 5000) AS n;"
        "ANALYZE"
    )
    session: asyncpg.Connection[Any] = await asyncpg.connect(database_url, server_settings=SESSION)
    arguments = {"idle_s": "1", "grace_s": "1", "n": "100", "keys": "'{}'", "times": "'{}'", "older_than_s": "1"}
    for statement, served_by in (
        (inputs._GIVE_UP, ("inputs_idle", "jobs_input")),
        (inputs._DUE, ("inputs_dying", "jobs_input")),
        (inputs._UNKNOWN, ("inputs_pkey",)),
    ):
        sql, names = _compiled(statement)
        await session.execute(f"PREPARE statement AS {sql}")
        given = ", ".join(arguments[name] for name in names)
        plan = "\n".join(row[0] for row in await session.fetch(f"EXPLAIN EXECUTE statement({given})"))
        await session.execute("DEALLOCATE statement")
        assert "Seq Scan" not in plan, plan
        assert all(index in plan for index in served_by), plan
    await session.close()


def _compiled(statement: TextClause) -> tuple[str, list[str]]:
    compiled = statement.compile(dialect=dialect.dialect())
    return str(compiled), list(compiled.positiontup or [])
