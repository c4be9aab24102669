"""The API as a process sees it: behind a real server, without its database, with a bug inside."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from api import middleware, readiness
from orchestrator.domain.errors import StoreUnavailable
from orchestrator.intake.jobs import Jobs
from orchestrator.tenants import keys
from tests.support.api import MASTER_KEY, Api, api_settings, in_process, listening, serving
from tests.support.postgres import Server
from tests.support.sockets import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPENAI = "/v1/videos"
BIGMODEL = "/api/paas/v4/videos/generations"
ROUTES = pytest.mark.parametrize("route", [OPENAI, BIGMODEL])


def head(api: Api, route: str, *, length: int) -> bytes:
    """The head of a POST whose body is still to come."""
    return (
        f"POST {route} HTTP/1.1\r\nhost: api\r\nauthorization: {api.http.headers['authorization']}\r\n"
        f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


@ROUTES
async def test_fifty_megabytes_are_refused_while_the_caller_is_still_sending(api: Api, route: str) -> None:
    async with listening(api.app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head(api, route, length=50 * 2**20))
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


@ROUTES
async def test_a_body_that_does_not_come_is_a_408_and_its_connection_ends(
    api: Api, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "IDLE_S", 0.2)
    monkeypatch.setattr(middleware, "_LINGER_S", 0.1)
    async with listening(api.app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head(api, route, length=100) + b"{")
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer
    assert b'"error": {' in answer


@pytest.mark.parametrize(
    ("whole_s", "slowest", "status"), [(30.0, 2**18, b"200"), (0.3, 2**18, b"408"), (0.3, 10, b"200")]
)
async def test_a_body_that_comes_slowly_is_read_to_its_end_but_not_for_ever(
    api: Api, whole_s: float, slowest: int, status: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "WHOLE_S", whole_s)
    monkeypatch.setattr(middleware, "_SLOWEST", slowest)
    monkeypatch.setattr(middleware, "_LINGER_S", 0.1)
    body = b'{"prompt": "sea"}'
    async with listening(api.app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head(api, OPENAI, length=len(body)))
        answer = asyncio.create_task(reader.readline())
        for byte in body:
            if not answer.done():
                writer.write(bytes([byte]))
                await asyncio.sleep(0.04)
        told = await asyncio.wait_for(answer, 10)
        writer.close()
    assert told.split()[1] == status


async def test_every_answer_has_a_request_id_the_callers_own_when_it_is_harmless(api: Api) -> None:
    for path, status in (("/healthz", 200), ("/nowhere", 404), (OPENAI, 200)):
        one, two = await api.http.get(path), await api.http.get(path)
        assert (one.status_code, two.status_code) == (status, status)
        assert one.headers["x-request-id"] != two.headers["x-request-id"]
    given = await api.http.get("/healthz", headers={"x-request-id": "trace-1"})
    assert given.headers["x-request-id"] == "trace-1"
    odd = await api.http.get("/healthz", headers={"x-request-id": "a b"})
    assert odd.headers["x-request-id"] != "a b"


@pytest.mark.parametrize(("route", "dialect"), [(OPENAI, "openai"), (BIGMODEL, "bigmodel")])
async def test_an_accepted_job_is_one_line_in_the_log_and_a_refused_one_none(
    api: Api, route: str, dialect: str
) -> None:
    with capture_logs() as logged:
        answer = await api.http.post(route, json={"model": "tiny-2b", "prompt": "sea"})
        await api.http.post(route, json={"model": "tiny-2b", "prompt": ""})
    assert logged == [
        {
            "event": "job_accepted", "log_level": "info", "component": "submit", "tenant": api.tenant, "pool": "small",
            "job": answer.json()["id"].removeprefix("video_"), "dialect": dialect,
        }
    ]  # fmt: skip


async def test_jobs_that_end_while_they_wait_are_counted_once_and_running_ones_by_their_owner(api: Api) -> None:
    def counted() -> float:
        labels = {"pool": "small", "state": "cancelled"}
        return REGISTRY.get_sample_value("cogmill_jobs_ended_total", labels) or 0.0

    async def made() -> str:
        return str((await api.http.post(OPENAI, json={"prompt": "sea"})).json()["id"])

    before = counted()
    running = await made()
    await api.claim(running)
    deleted, cancelled = await made(), await made()
    for _ in range(2):
        await api.services.jobs.cancel(api.tenant, cancelled)
    for video_id in (running, deleted, cancelled):
        await api.http.delete(f"{OPENAI}/{video_id}")
    assert counted() - before == 2


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


async def test_readiness_is_told_in_time_whatever_hangs(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "DEADLINE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hung = api_settings(f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none")
        async with serving(hung) as app, in_process(app) as anybody:
            for _ in range(2):
                async with asyncio.timeout(3):
                    answer = await anybody.get("/readyz")
                assert (answer.status_code, answer.headers["x-should-retry"]) == (503, "true")


async def test_readiness_is_told_in_time_by_a_process_that_was_ready_before(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hung() -> str:
        return await asyncio.Future()

    assert (await api.http.get("/readyz")).status_code == 200
    monkeypatch.setattr(readiness, "DEADLINE_S", 0.1)
    monkeypatch.setattr(api.services.store, "check_writes", hung)
    async with asyncio.timeout(3):
        assert (await api.http.get("/readyz")).status_code == 503


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
async def test_a_submit_that_was_not_confirmed_is_not_to_be_sent_again_by_machines(
    api: Api, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unheard(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("the commit's reply was lost")

    for name in ("submit", "list_jobs"):
        monkeypatch.setattr(api.services.store, name, unheard)
    answer = await api.http.post(route, json={"model": "tiny-2b", "prompt": "sea"})
    assert answer.status_code == 503
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers
    assert "lost" not in answer.text
    assert (await api.http.get(OPENAI)).headers["x-should-retry"] == "true"


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
    result = "/api/paas/v4/async-result/{video_id}"
    for path, method, scope in ((OPENAI, "post", "submit"), (BIGMODEL, "post", "submit"), (result, "get", "read")):
        operation = document["paths"][path][method]
        assert operation["security"] == [{"api_key": [scope]}]
        assert "$ref" in operation["responses"]["200"]["content"]["application/json"]["schema"]
    content = document["paths"][OPENAI]["post"]["requestBody"]["content"]
    assert content.keys() == {"application/json", "multipart/form-data"}
    assert {"prompt", "seconds", "size", "seed"} <= content["application/json"]["schema"]["properties"].keys()
    assert document["components"]["securitySchemes"]["api_key"]["scheme"] == "bearer"
