"""What callers without a key can take of the server: a bounded head, a bounded time for it, and bounded connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import Response

from api.dialects import DIALECTS
from api.middleware import Edge
from api.wire import connections
from tests.support.api import listening

GET = b"GET /healthz HTTP/1.1\r\nhost: api\r\n"
POST = b"POST /echo HTTP/1.1\r\nhost: api\r\ntransfer-encoding: chunked\r\n"


class _NoStreams:
    def end_all(self) -> None:
        """There are none."""


@pytest.fixture
def app() -> FastAPI:
    """An application behind which there is nothing; `/echo` answers with the body and who is said to have sent it."""
    app = FastAPI()
    app.state.dialects = DIALECTS
    app.state.services = SimpleNamespace(feed=_NoStreams(), campaign_feed=_NoStreams())
    app.add_middleware(Edge)

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/large")
    async def large() -> Response:
        return Response(bytes(2**18))

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        body = await request.body()
        return Response(body, headers={"x-sender": request.headers.get("x-sender", "nobody")})

    return app


@asynccontextmanager
async def connected(
    port: int, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(host, 0))
    try:
        yield reader, writer
    finally:
        writer.close()


async def heard(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server hangs up, however it does."""
    told = b""
    with suppress(ConnectionError):
        async with asyncio.timeout(10):
            while chunk := await reader.read(65536):
                told += chunk
    return told


async def flooded(port: int, begin: bytes, more: bytes, *, most: int) -> tuple[bytes, int]:
    """Send `begin`, and `more` for as long as the server takes it: what it answered, and how many bytes it took."""
    sent = 0
    async with connected(port) as (reader, writer):
        answer = asyncio.create_task(heard(reader))
        with suppress(ConnectionError):
            writer.write(begin)
            while sent < most and not answer.done():
                writer.write(more)
                await asyncio.wait_for(writer.drain(), 5)
                sent += len(more)
        return await answer, sent


async def answered(port: int, request: bytes) -> bytes:
    """The answer to bytes that the server does not wait behind."""
    async with connected(port) as (reader, writer):
        writer.write(request)
        return await heard(reader)


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"GET /", b"a"),
        (b"GET /healthz?", b"a"),
        (GET + b"x: ", b"a"),
        (GET, b"a"),
        (GET, b"a: b\r\n"),
        (GET + b"x: a\r\n", b" \t"),
        (POST + b"\r\n1;", b"a"),
        (POST + b"\r\n", b"0"),
        (POST + b"\r\n0\r\nx: ", b"a"),
        (POST + b"\r\n0\r\n", b"x: a\r\n"),
        (b"", b"\r\n"),
    ],
    ids=["path", "query", "value", "name", "many headers", "blanks", "extension", "chunk size", "trailer",
         "many trailers", "empty lines"],
)  # fmt: skip
async def test_what_has_no_end_is_not_read(
    app: FastAPI, begin: bytes, more: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_LINGER_S", 0.2)
    async with listening(app, head_timeout_s=30) as port:
        _, sent = await flooded(port, begin, more * (2**16 // len(more)), most=150 * 2**20)
    assert sent < 16 * 2**20  # what sockets between us hold


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (GET + b"x: " + b"a" * 40_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (GET + b"a: b\r\n" * 129 + b"\r\n", 431, "headers_too_large"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nhost: api\r\n\r\n", 414, "url_too_long"),
        (POST + b"authorization: x\r\n\r\n0\r\n" + b"x: " + b"a" * 40_000 + b"\r\n\r\n", 400, "invalid_request"),
        (b"hello\r\n\r\n", 400, "invalid_request"),
        (b"GET http://[ HTTP/1.1\r\n\r\n", 400, "invalid_request"),
    ],
    ids=["one header", "headers", "url", "trailers", "no http", "no url"],
)
async def test_who_sends_too_large_a_head_hears_why_in_the_form_of_every_error(
    app: FastAPI, request_: bytes, status: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_LINGER_S", 0.2)
    async with listening(app) as port:
        answer = await answered(port, request_)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in answer
    assert f'"code": "{code}"'.encode() in answer


async def test_a_head_of_the_full_size_is_read_and_what_follows_it_counts_anew(app: FastAPI) -> None:
    head = GET + b"x: " + b"a" * 30_000 + b"\r\n\r\n"
    async with listening(app) as port, connected(port) as (reader, writer):
        for _ in range(4):
            writer.write(head)
            assert (await reader.readline()).split()[1] == b"200"
            await reader.readuntil(b"}")
        writer.write(POST + b"\r\n")
        writer.write(b"1;%s\r\nx\r\n" % (b"x" * 5000) * 20 + b"0\r\nx: a\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"200"
        await reader.readuntil(b"x" * 20)


async def test_a_trailer_is_no_header(app: FastAPI) -> None:
    async with listening(app) as port:
        answer = await answered(port, POST + b"connection: close\r\n\r\n1\r\nx\r\n0\r\nx-sender: root\r\n\r\n")
    assert b"x-sender: nobody\r\n" in answer


@pytest.mark.parametrize(
    ("begun", "told"),
    [(b"", b""), (b"GET /heal", b"408"), (GET, b"408"), (GET + b"x: a", b"408"), (b"\r\n", b"408")],
    ids=["silence", "half a line", "no end", "half a header", "an empty line"],
)
async def test_a_head_that_does_not_come_ends_its_connection(
    app: FastAPI, begun: bytes, told: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_LINGER_S", 0.1)
    async with listening(app, head_timeout_s=0.3) as port:
        answer = await answered(port, begun)
        async with connected(port) as (reader, writer):  # after an answer, too
            writer.write(GET + b"\r\n")
            await asyncio.wait_for(reader.readuntil(b"}"), 10)
            writer.write(begun or b"G")
            again = await heard(reader)
    assert answer.split()[1:2] == ([told] if told else [])
    assert again.split()[1] == b"408"


async def test_a_head_that_drips_is_not_waited_for(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_LINGER_S", 0.1)
    async with listening(app, head_timeout_s=0.3) as port, connected(port) as (reader, writer):
        answer = asyncio.create_task(heard(reader))
        for byte in GET * 100:
            if answer.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        assert (await answer).split()[1] == b"408"


async def test_an_answer_that_nobody_reads_is_not_kept(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STALLED_S", 0.3)
    async with listening(app) as port, connected(port) as (_, writer):
        for _ in range(200):  # of 50 MiB the sockets between us hold a few
            writer.write(b"GET /large HTTP/1.1\r\nhost: api\r\n\r\n")
            with suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    await writer.drain()
        async with asyncio.timeout(10):
            while not writer.transport.is_closing():
                await asyncio.sleep(0.05)
                with suppress(ConnectionError):
                    writer.write(b"GET /large HTTP/1.1\r\nhost: api\r\n\r\n")


async def test_silent_connections_make_room_for_requests(app: FastAPI) -> None:
    async with listening(app, max_connections=20) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/healthz")).json() == {"status": "ok"}
        assert await heard(silent[0][0]) == b""  # the first ones had to go
        for _, writer in silent:
            writer.close()


async def test_connections_with_requests_are_not_put_out_and_one_too_many_is_told(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_LINGER_S", 0.1)
    upload = b"POST /echo HTTP/1.1\r\nhost: api\r\ncontent-length: 3\r\n\r\n"
    async with listening(app, max_connections=2) as port, connected(port) as one, connected(port) as two:
        for _, writer in (one, two):
            writer.write(upload)
        async with asyncio.timeout(10):
            while not (answer := await answered(port, b"")).startswith(b"HTTP/1.1 503 "):
                pass
        assert b"retry-after: " in answer
        for reader, writer in (one, two):
            writer.write(b"sea")
            assert (await reader.readline()).split()[1] == b"200"


async def test_one_address_has_its_share_of_the_connections(app: FastAPI) -> None:
    async with (
        listening(app, max_connections_per_address=2) as port,
        connected(port, "127.0.0.9") as other,
        connected(port) as first,
        connected(port),
        connected(port),
    ):
        assert await heard(first[0]) == b""
        other[1].write(GET + b"\r\n")
        assert (await other[0].readline()).split()[1] == b"200"


async def test_requests_sent_ahead_are_answered_in_turn_but_not_thousands_of_them(app: FastAPI) -> None:
    async with listening(app) as port:
        async with connected(port) as (reader, writer):
            writer.write((GET + b"\r\n") * 10)
            for _ in range(10):
                assert (await reader.readline()).split()[1] == b"200"
                await reader.readuntil(b"}")
        async with connected(port) as (reader, writer):
            writer.write((GET + b"\r\n") * 1000)
            assert (await heard(reader)).count(b"HTTP/1.1 200") < 100


@pytest.mark.parametrize("offer", [b"websocket", b"h2c"])
async def test_an_upgrade_is_passed_over(app: FastAPI, offer: bytes) -> None:
    async with listening(app) as port, connected(port) as (reader, writer):
        writer.write(GET + b"connection: upgrade\r\nupgrade: " + offer + b"\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"200"
