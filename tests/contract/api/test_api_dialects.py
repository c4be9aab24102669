"""A dialect is an object: an app that is given one more serves it, in its words, and the others as before."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from api.dialects import DIALECTS
from orchestrator.config import Settings
from tests.support import third_dialect
from tests.support.api import Api, api_settings, in_process, listening, serving
from tests.support.postgres import Server
from tests.support.s3 import S3Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALL = (*DIALECTS, third_dialect.DIALECT)
FILMS = "/films/v1/films"

OOPS = {"oops", "why", "where"}
OPENAI = {"message", "type", "param", "code"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api_app(
    postgres_server: Server, migrated_template: str, s3_server: S3Server
) -> AsyncIterator[tuple[FastAPI, Settings]]:
    """As every test's, with the third dialect."""
    database = postgres_server.new_database(migrated_template)
    settings = api_settings(postgres_server.url(database), s3_server.new_bucket())
    async with serving(settings, dialects=ALL) as app:
        yield app, settings
    postgres_server.drop_database(database)


def keys(answer: httpx.Response, status: int) -> set[str]:
    """Those of an error's body with this status."""
    assert answer.status_code == status, answer.text
    told = answer.json()
    return set(told["error"]) if "error" in told else set(told)


async def test_a_dialect_that_is_handed_to_the_app_is_served(api: Api) -> None:
    made = await api.http.post(FILMS, json={"scene": "a lighthouse", "seed": 3})
    assert made.status_code == 200, made.text
    assert made.json()["stands"] == "queued"
    film = f"{FILMS}/{made.json()['id']}"
    await api.succeed(made.json()["id"])
    assert (await api.http.get(film)).json() == made.json() | {"stands": "succeeded"}
    video = (await api.http.get(f"/v1/videos/{made.json()['id']}")).json()
    assert (video["status"], video["seed"]) == ("completed", 3), "in another dialect it is the same job"
    stranger = await api.client("another")
    assert keys(await stranger.get(film), 404) == OOPS


async def test_its_files_and_batches_are_the_ones_of_every_dialect(api: Api) -> None:
    lines = json.dumps({"custom_id": "a", "method": "POST", "url": third_dialect.ENDPOINT, "body": {"scene": "a mill"}})
    sent = await api.http.post("/films/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", lines)})
    asked = {"input_file_id": sent.raise_for_status().json()["id"], "endpoint": third_dialect.ENDPOINT}
    batch = (await api.http.post("/films/v1/batches", json=asked)).raise_for_status().json()
    assert (await api.services.batches.get(api.tenant, batch["id"])).dialect == "films"
    assert (await api.http.get(f"/v1/batches/{batch['id']}")).json() == batch


async def test_whatever_goes_wrong_below_its_prefix_is_told_in_its_words(api: Api) -> None:
    wrong = await api.http.post(FILMS, json={"scene": ""})
    assert keys(wrong, 400) == OOPS
    assert wrong.json()["where"] == "scene", "by the name that it has in the dialect"
    assert (await api.http.post(FILMS, json={"scene": "x", "film": 1})).json()["where"] == "film"
    assert keys(await api.http.delete(FILMS), 405) == OOPS
    assert keys(await api.http.get("/films/v1/nothing"), 404) == OOPS
    assert keys(await api.http.get("/films/v9"), 404) == OOPS
    assert keys(await api.http.get("/films/v1/files?limit=0"), 400) == OOPS
    async with in_process(api.app) as anybody:
        assert keys(await anybody.get(f"{FILMS}/video_0"), 401) == OOPS


async def test_an_error_that_nobody_foresaw_is_told_in_its_words_too(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*arguments: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(type(api.services.jobs), "get", broken)
    assert keys(await api.http.get(f"{FILMS}/video_0"), 500) == OOPS


async def test_its_bodies_are_as_large_as_it_says_and_no_larger(api: Api) -> None:
    plain, video = api.settings.api.max_body_bytes, api.settings.max_request_bytes
    padded = json.dumps({"scene": "x"}).encode() + b" " * plain
    assert (await api.http.post(FILMS, content=padded)).status_code == 200
    refused = await api.http.post(FILMS, content=b" " * (video + 1))
    assert keys(refused, 413) == OOPS
    assert str(video) in refused.json()["why"]
    assert str(plain) in (await api.http.post("/films/v1/batches", content=b" " * (plain + 1))).json()["why"]


async def test_the_other_dialects_words_are_theirs_and_nobodys_paths_have_the_first_ones(api: Api) -> None:
    assert keys(await api.http.get("/v1/nothing"), 404) == OPENAI
    assert keys(await api.http.get("/api/paas/v4/nothing"), 404) == {"code", "message"}
    for path in ("/nothing", "/", "/filmsv1"):
        assert keys(await api.http.request("PUT", path), 405 if path == "/" else 404) == OPENAI
    async with listening(api.app) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert keys(await client.get(FILMS, headers={"x": "x" * 70_000}), 431) == OPENAI, (
            "refused before its path is read"
        )


async def test_the_api_tells_of_it(api: Api) -> None:
    assert (await api.http.get("/")).json()["base_urls"] == {
        "openai": "/v1", "bigmodel": "/api/paas/v4", "films": "/films/v1",
    }  # fmt: skip
    document = (await api.http.get("/openapi.json")).json()
    refused = document["paths"][FILMS]["post"]["responses"]["400"]["content"]["application/json"]
    assert refused["schema"] == {"$ref": "#/components/schemas/Oops"}
    assert set(refused["example"]) == OOPS
