"""Keeping and sweeping pictures while S3 or the database fail: an error that says to come back, nothing by halves."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from io import BytesIO

import asyncpg
import pytest
from PIL import Image

from orchestrator.adapters.s3 import S3Objects
from orchestrator.config import FetchSettings, S3Settings, Settings
from orchestrator.domain.errors import IntegrityError, NotFound, ObjectsUnavailable, StoreUnavailable, Unavailable
from orchestrator.domain.job import Artifact
from orchestrator.domain.request import ImageBytes, VideoRequest
from orchestrator.intake import pictures as inputs
from orchestrator.intake.files import Files
from orchestrator.intake.pictures import Pictures
from orchestrator.objects.inputs import GRACE_S, IDLE_S, InputSweeper
from orchestrator.pictures import apart
from orchestrator.ports import Picture
from orchestrator.processes.frontdoor import open_front_door
from orchestrator.store import Store
from tests.support.api import api_settings
from tests.support.postgres import Clock
from tests.support.s3 import S3Server


def a_png() -> bytes:
    file = BytesIO()
    Image.new("RGB", (48, 32), "teal").save(file, "PNG")
    return file.getvalue()


PICTURE = Picture(data=a_png(), content_type="image/png", width=48, height=32)


def pictures(store: Store, objects: S3Objects, settings: S3Settings | None = None) -> Pictures:
    whole = api_settings("postgresql://unused", settings)
    return Pictures(FetchSettings(), store, objects, Files(whole, store, objects))


def with_image_model(database_url: str, s3: S3Settings) -> Settings:
    settings = api_settings(database_url, s3).model_dump()
    settings["models"]["tiny-i2v"] = {"family": "tiny-5b-i2v", "source": "/models/tiny-i2v"}
    settings["pools"]["images"] = {"model": "tiny-i2v"}
    return Settings.model_validate(settings)


@pytest.fixture
def silent_s3() -> Iterator[S3Settings]:
    """An S3 that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield S3Settings(endpoint_url=url, access_key="a", secret_key="b", read_timeout_s=3, max_attempts=1)


async def test_a_submit_while_s3_is_away_leaves_nothing_and_works_once_it_is_back(
    store: Store, database_url: str, database: asyncpg.Connection, own_s3_server: S3Server
) -> None:
    s3 = own_s3_server.new_bucket(max_attempts=1)
    objects = S3Objects(s3)
    jobs = open_front_door(with_image_model(database_url, s3), store, objects).jobs
    request = VideoRequest(prompt="a mill on a river", image=ImageBytes(a_png()))
    own_s3_server.kill()
    with pytest.raises(Unavailable):
        await jobs.submit("acme", request)
    assert await database.fetchval("SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM inputs)") == 0
    own_s3_server.start()
    job = await jobs.submit("acme", request)
    assert (job.spec.model, job.pool) == ("tiny-i2v", "images")
    assert job.spec.image is not None
    assert list(objects.list_keys("")) == [job.spec.image.key]
    assert await database.fetchval("SELECT input FROM jobs") == job.spec.image.sha256


async def test_an_s3_that_never_answers_is_left_at_the_deadline(
    store: Store, silent_s3: S3Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "DEADLINE_S", 0.3)
    began = time.monotonic()
    with pytest.raises(ObjectsUnavailable, match=r"within 0\.3 s"):
        await pictures(store, S3Objects(silent_s3)).keep(PICTURE)
    assert time.monotonic() - began < 2
    assert await store.use_input(Artifact.__name__) is None


@pytest.mark.parametrize("error", [IntegrityError("other bytes"), NotFound("no object")])
async def test_an_s3_that_loses_what_it_took_is_unavailable_and_there_is_no_row(
    error: Exception, store: Store, database: asyncpg.Connection, objects: S3Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise error

    monkeypatch.setattr(objects, "verify", lost)
    with pytest.raises(ObjectsUnavailable, match="did not keep"):
        await pictures(store, objects).keep(PICTURE)
    assert await database.fetchval("SELECT count(*) FROM inputs") == 0


async def test_what_an_upload_left_without_a_row_is_found_a_day_later(
    store: Store, objects: S3Objects, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(uploaded: Artifact) -> Artifact:
        raise StoreUnavailable("PostgreSQL is away")

    with monkeypatch.context() as patch:
        patch.setattr(store, "add_input", away)
        with pytest.raises(StoreUnavailable):
            await pictures(store, objects).keep(PICTURE)
    (orphan,) = objects.list_keys("inputs/")
    kept = await pictures(store, objects).keep(PICTURE)
    assert await InputSweeper(store, objects).orphans() == 1  # the database's clock is years ahead
    assert orphan not in list(objects.list_keys("inputs/"))
    assert objects.get(kept.key) == a_png()


async def test_a_loser_that_cannot_clean_up_still_succeeds(
    store: Store, objects: S3Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise ObjectsUnavailable("S3 is away")

    monkeypatch.setattr(objects, "delete", away)
    keeper = pictures(store, objects)
    first, second = await asyncio.gather(keeper.keep(PICTURE), keeper.keep(PICTURE))
    assert first == second


async def test_a_picture_that_takes_for_ever_to_decode_is_not_waited_for(
    store: Store, objects: S3Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "DEADLINE_S", 0.2)

    def slowly(*_: object) -> Picture:
        time.sleep(1)
        return PICTURE

    monkeypatch.setattr(apart, "asked", slowly)
    with pytest.raises(Unavailable, match=r"within 0\.2 s"):
        await pictures(store, objects).load("acme", ImageBytes(a_png()))


async def test_a_sweep_that_s3_stops_is_taken_up_again(
    store: Store, clock: Clock, database: asyncpg.Connection, own_s3_server: S3Server
) -> None:
    objects = S3Objects(own_s3_server.new_bucket(max_attempts=1))
    sweeper = InputSweeper(store, objects)
    await pictures(store, objects).keep(PICTURE)
    await clock.advance(IDLE_S)
    await sweeper.run_once()
    await clock.advance(GRACE_S)
    own_s3_server.kill()
    with pytest.raises(ObjectsUnavailable):
        await sweeper.run_once()
    assert await database.fetchval("SELECT count(*) FROM inputs") == 1
    own_s3_server.start()
    assert await sweeper.run_once() == 1
    assert await database.fetchval("SELECT count(*) FROM inputs") == 0
    assert list(objects.list_keys("")) == []
