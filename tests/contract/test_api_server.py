"""The API as a process sees it: behind a real server, without its database, with a bug inside."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from structlog.testing import capture_logs

from orchestrator import keys
from orchestrator.submit import Jobs
from tests.support.api import MASTER_KEY, Api, api_settings, in_process, serving
from tests.support.postgres import Server
from tests.support.sockets import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPENAI = "/v1/videos"
BIGMODEL = "/api/paas/v4/videos/generations"
ROUTES = pytest.mark.parametrize("route", [OPENAI, BIGMODEL])


@asynccontextmanager
async def listening(app: FastAPI) -> AsyncIterator[int]:
    """A real server in front of an app that has already started; yields its port."""
    # The socket listens before the server runs: who connects early waits in its backlog.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await running


@ROUTES
async def test_fifty_megabytes_are_refused_while_the_caller_is_still_sending(api: Api, route: str) -> None:
    async with listening(api.app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST {route} HTTP/1.1\r\nhost: api\r\nauthorization: {api.http.headers['authorization']}\r\n"
        writer.write(f"{head}content-type: application/json\r\ncontent-length: {50 * 2**20}\r\n\r\n".encode())
        writer.write(b" " * 2**16)
        answer = await asyncio.wait_for(reader.readuntil(b"}}"), 10)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer
    assert await api.rows() == 0


async def test_fifty_megabytes_in_chunks_are_refused_too(api: Api) -> None:
    async with listening(api.app) as port, httpx.AsyncClient(headers=api.http.headers) as client:

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(800):
                yield b" " * 2**16

        answer = await client.post(f"http://127.0.0.1:{port}{OPENAI}", content=chunks())
    assert answer.status_code == 413
    assert await api.rows() == 0


async def test_every_answer_has_a_request_id_the_callers_own_when_it_is_harmless(api: Api) -> None:
    for path, status in (("/healthz", 200), ("/nowhere", 404), (OPENAI, 200)):
        one, two = await api.http.get(path), await api.http.get(path)
        assert (one.status_code, two.status_code) == (status, status)
        assert one.headers["x-request-id"] != two.headers["x-request-id"]
    given = await api.http.get("/healthz", headers={"x-request-id": "trace-1"})
    assert given.headers["x-request-id"] == "trace-1"
    odd = await api.http.get("/healthz", headers={"x-request-id": "a b"})
    assert odd.headers["x-request-id"] != "a b"


async def test_metrics_name_the_route_and_never_an_id(api: Api) -> None:
    video_id = (await api.http.post(OPENAI, json={"prompt": "sea"})).json()["id"]
    await api.http.get(f"/v1/videos/{video_id}")
    await api.http.get("/v1/made/up/path")
    page = (await api.http.get("/metrics")).text
    for method, route, status in (
        ("POST", "/v1/videos", 200),
        ("GET", "/v1/videos/{video_id}", 200),
        ("GET", "unmatched", 404),
    ):
        labels = f'method="{method}",route="{route}",status="{status}"'
        assert f"cogmill_http_request_seconds_count{{{labels}}}" in page
    assert 'cogmill_jobs_submitted_total{pool="small"}' in page
    assert video_id not in page
    assert "made/up" not in page


async def test_health_needs_no_key_and_readiness_wants_the_schema(api: Api, empty_database_url: str) -> None:
    async with in_process(api.app) as anybody:
        assert (await anybody.get("/healthz")).json() == {"status": "ok"}
        assert (await anybody.get("/readyz")).json() == {"status": "ok"}
    async with serving(api_settings(empty_database_url)) as app, in_process(app) as anybody:
        assert (await anybody.get("/healthz")).status_code == 200
        assert (await anybody.get("/readyz")).status_code == 503


@pytest.mark.parametrize(("revision", "status"), [("0000", 503), ("9999", 200)])
async def test_an_older_schema_is_not_ready_and_a_newer_one_is(
    postgres_server: Server, migrated_template: str, revision: str, status: int
) -> None:
    database = postgres_server.new_database(migrated_template)
    postgres_server.execute(f"UPDATE alembic_version SET version_num = '{revision}'", database)
    async with serving(api_settings(postgres_server.url(database))) as app, in_process(app) as anybody:
        assert (await anybody.get("/readyz")).status_code == status
    postgres_server.drop_database(database)


async def test_without_a_database_every_route_is_a_503_that_asks_to_come_back() -> None:
    nowhere = api_settings(f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    async with serving(nowhere) as app, in_process(app, keys.issue(MASTER_KEY, "k")) as client:
        for method, path in (("POST", OPENAI), ("GET", OPENAI), ("POST", BIGMODEL), ("GET", "/readyz")):
            answer = await client.request(method, path, json={"model": "tiny-2b", "prompt": "sea"})
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
            assert answer.headers["x-should-retry"] == "true"
            assert "127.0.0.1" not in answer.text
        assert (await client.get("/healthz")).status_code == 200


@ROUTES
async def test_a_bug_is_a_500_in_the_dialect_that_tells_nothing_and_is_not_retried(
    api: Api, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr(Jobs, "submit", broken)
    with capture_logs() as logged:
        answer = await api.http.post(route, json={"model": "tiny-2b", "prompt": "sea"})
    assert answer.status_code == 500
    assert [entry["request_id"] for entry in logged] == [answer.headers["x-request-id"]]
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["message"] == "internal error"


async def test_the_openapi_document_shows_bodies_answers_and_the_key(api: Api) -> None:
    document = (await api.http.get("/openapi.json")).json()
    for path, method in ((OPENAI, "post"), (BIGMODEL, "post"), ("/api/paas/v4/async-result/{video_id}", "get")):
        operation = document["paths"][path][method]
        assert operation["security"] == [{"API key": []}]
        assert "$ref" in operation["responses"]["200"]["content"]["application/json"]["schema"]
    content = document["paths"][OPENAI]["post"]["requestBody"]["content"]
    assert content.keys() == {"application/json", "multipart/form-data"}
    assert {"prompt", "seconds", "size", "seed"} <= content["application/json"]["schema"]["properties"].keys()
    assert document["components"]["securitySchemes"]["API key"]["scheme"] == "bearer"
