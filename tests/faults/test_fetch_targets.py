"""Servers behind users' URLs that do harm: each is the user's own error, in time, and tells nothing of our network."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from orchestrator.adapters.fetch import Fetcher, ForbiddenAddress, GuardedTransport
from orchestrator.adapters.webhook_http import HttpSender
from orchestrator.config import FetchSettings
from orchestrator.domain.addresses import IPAddress
from orchestrator.domain.errors import InvalidField, RequestError, TooLarge, Unavailable
from orchestrator.domain.webhooks import Reply, Silence
from tests.support.sockets import free_port

# Stands for the open internet; all of 127/8 is this machine's, and 127.0.0.1 remains forbidden.
PUBLIC = "127.0.0.2"
LIMIT = 10_000
DEADLINE_S = 1.0

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def settings(**changes: Any) -> FetchSettings:
    values = {"timeout_s": DEADLINE_S, "max_image_bytes": LIMIT, "allow_networks": [f"{PUBLIC}/32"]}
    return FetchSettings.model_validate(values | changes)


class Names:
    """A resolver that knows these names, and how often it was asked."""

    def __init__(self, **names: Sequence[str]) -> None:
        self._names = names
        self.asked = 0

    async def __call__(self, host: str) -> list[IPAddress]:
        self.asked += 1
        return [ip_address(address) for address in self._names.get(host.partition(".")[0], ())]


def fetcher(names: Names | None = None, **changes: Any) -> Fetcher:
    chosen = settings(**changes)
    return Fetcher(chosen, GuardedTransport(chosen.reach, resolve=names))


@asynccontextmanager
async def serving(answer: Answer | bytes, host: str = PUBLIC, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that reads the head of each request and then does as it is told; its port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            if isinstance(answer, bytes):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
                await writer.drain()
            else:
                await answer(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, host, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def head(status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


async def refusal(url: str, fetch: Fetcher | None = None) -> RequestError:
    """The error that fetching it ends in, soon."""
    began = time.monotonic()
    with pytest.raises(RequestError) as refused:
        await (fetch or fetcher()).image(url)
    assert time.monotonic() - began < DEADLINE_S + 1
    assert refused.value.param == "image"
    assert "127." not in refused.value.message
    return refused.value


async def test_what_a_server_sends_arrives_whole_and_was_asked_for_uncompressed() -> None:
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(head(Transfer_Encoding="chunked", Set_Cookie="tenant=first"))
        for part in (b"4\r\nfour\r\n", b"6\r\nsixsix\r\n", b"0\r\n\r\n"):
            writer.write(part)
            await writer.drain()

    async with serving(answer) as port:
        fetch = fetcher()
        for _ in range(2):
            assert await fetch.image(f"http://{PUBLIC}:{port}/a?b=c") == b"foursixsix"
    assert asked[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert b"accept-encoding: identity" in asked[0]
    assert asked[0] == asked[1], "a cookie of one fetch went along with the next"


async def test_a_body_of_just_the_limit_passes_and_one_byte_more_does_not() -> None:
    async with serving(head(Content_Length=str(LIMIT)) + bytes(LIMIT)) as port:
        assert len(await fetcher().image(f"http://{PUBLIC}:{port}/")) == LIMIT
    async with serving(head() + bytes(LIMIT + 1)) as port:
        assert isinstance(await refusal(f"http://{PUBLIC}:{port}/"), TooLarge)


async def test_a_declared_length_beyond_the_limit_is_refused_before_the_body_comes() -> None:
    async with serving(head(Content_Length="9" * 20)) as port:
        assert isinstance(await refusal(f"http://{PUBLIC}:{port}/"), TooLarge)


async def test_an_endless_body_is_cut_off_at_the_limit() -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head())
        while True:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536

    async with serving(endless) as port:
        assert isinstance(await refusal(f"http://{PUBLIC}:{port}/"), TooLarge)
    assert sent < 20 * 2**20  # what the sockets between us hold, not what a second of sending is


async def hanging_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def dripping_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-more: 1\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def dripping_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(head(Content_Length=str(LIMIT)))
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("answer", [hanging_at_once, dripping_head, dripping_body])
async def test_a_server_that_takes_for_ever_is_left_at_the_deadline(answer: Answer) -> None:
    async with serving(answer) as port:
        refused = await refusal(f"http://{PUBLIC}:{port}/")
    assert isinstance(refused, InvalidField)
    assert (refused.code, "within 1 s" in refused.message) == ("image_unreachable", True)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "broke off"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak HTTP"),
        (head(Content_Length="100") + b"short", "broke off"),
        (head(Content_Length="-1") + b"x", "does not speak HTTP"),
        (head(Content_Length="5, 6") + b"x", "does not speak HTTP"),
        (head(Transfer_Encoding="chunked") + b"zz\r\n", "does not speak HTTP"),
        (head() [:-2] + b"x: " + b"y" * 200_000 + b"\r\n\r\n", "does not speak HTTP"),
        (head(Content_Encoding="gzip") + b"\x1f\x8b", "compressed"),
        (head("404 Not Found") + b"secret of the inside", "status 404"),
        (head("206 Partial Content") + b"part", "status 206"),
        (head("302 Found"), "status 302"),
        (head("304 Not Modified"), "status 304"),
        (head("302 Found", Location="http://[::1"), "no valid URL"),
        (head("302 Found", Location="ftp://pictures.example/a"), "redirects to a URL that is refused"),
        (head("302 Found", Location="file:///etc/passwd"), "redirects to a URL that is refused"),
        (head("302 Found", Location="http://user:pw@pictures.example/"), "redirects to a URL that is refused"),
        (head("302 Found", Location="http://x/" + "a" * 3000), "redirects to a URL that is refused"),
        (head("302 Found", Location="/again"), "redirects more than 3 times"),
    ],
)  # fmt: skip
async def test_a_wrong_answer_is_the_users_error_and_its_body_stays_where_it_is(answer: bytes, why: str) -> None:
    async with serving(answer) as port:
        refused = await refusal(f"http://{PUBLIC}:{port}/")
    assert refused.code == "image_unreachable"
    assert why in refused.message
    assert "secret" not in refused.message


async def test_redirects_are_followed_to_the_end() -> None:
    async with (
        serving(head(Content_Length="3") + b"png") as last,
        serving(head("307 Temporary Redirect", Location=f"http://{PUBLIC}:{last}/last")) as middle,
        serving(head("301 Moved", Location=f"//{PUBLIC}:{middle}/middle")) as first,
    ):
        assert await fetcher().image(f"http://{PUBLIC}:{first}/") == b"png"


@pytest.mark.parametrize(
    "inside", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "2130706433", "169.254.169.254"]
)
async def test_a_redirect_to_the_inside_is_refused_and_nothing_connects_there(inside: str) -> None:
    visits = 0

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visits
        visits += 1

    async with serving(visited, host="127.0.0.1") as inner:
        async with serving(head("302 Found", Location=f"http://{inside}:{inner}/")) as outer:
            refused = await refusal(f"http://{PUBLIC}:{outer}/")
            assert refused.code == "image_unreachable"
        assert (await refusal(f"http://{inside}:{inner}/")).message
    assert visits == 0


@pytest.mark.parametrize("addresses", [[PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], ["::ffff:10.0.0.1"], []])
async def test_one_forbidden_address_condemns_a_name_with_the_same_words_as_no_address(addresses: list[str]) -> None:
    async with serving(head() + b"png") as port:
        refused = await refusal(f"http://pictures.example:{port}/", fetcher(Names(pictures=addresses)))
    assert refused.message == "is at a host without a public address"


async def test_a_name_is_resolved_once_so_that_it_cannot_change_behind_the_check() -> None:
    hosts: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hosts.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(head(Content_Length="3") + b"png")

    names = Names(pictures=[PUBLIC])
    async with serving(answer) as port:
        assert await fetcher(names).image(f"http://pictures.example:{port}/") == b"png"
        assert f"Host: pictures.example:{port}\r\n".encode().lower() in hosts[0].lower()
    assert names.asked == 1


async def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    async with serving(head(Content_Length="3") + b"png") as port:
        names = Names(pictures=["127.0.0.3", PUBLIC])
        fetch = fetcher(names, allow_networks=[f"{PUBLIC}/31"])
        assert await fetch.image(f"http://pictures.example:{port}/") == b"png"
    refused = await refusal(f"http://pictures.example:{port}/", fetch)
    assert refused.message == "is at a host that cannot be connected to"


async def test_a_resolver_that_never_answers_is_left_at_the_deadline() -> None:
    async def never(host: str) -> list[IPAddress]:
        await asyncio.Event().wait()
        return []

    chosen = settings()
    refused = await refusal("http://pictures.example/", Fetcher(chosen, GuardedTransport(resolve=never)))
    assert refused.message == "is at a host that cannot be connected to"


async def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(head(Content_Length="3") + b"png") as port:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        assert await fetcher().image(f"http://{PUBLIC}:{port}/") == b"png"


async def test_more_fetches_than_there_is_room_for_are_our_fault_not_the_users() -> None:
    async with serving(hanging_at_once) as port:
        chosen = settings()
        fetch = Fetcher(chosen, GuardedTransport(chosen.reach, max_connections=1))
        first = asyncio.create_task(fetch.image(f"http://{PUBLIC}:{port}/"))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await fetch.image(f"http://{PUBLIC}:{port}/")
        with pytest.raises(InvalidField):
            await first


async def test_the_transport_by_itself_names_what_it_refuses() -> None:
    async with httpx.AsyncClient(transport=GuardedTransport(), trust_env=False) as client:
        for url in ("http://127.0.0.1/", "https://localhost/", "http://[::ffff:10.0.0.1]/"):
            with pytest.raises(ForbiddenAddress):
                await client.get(url)


# ------------------------------------------------------------ TLS


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's certificate for pictures.example and `PUBLIC`, which this process trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pictures.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("pictures.example"), x509.IPAddress(ip_address(PUBLIC))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "certificate.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    return context


async def test_tls_is_asked_for_by_name_although_the_connection_goes_to_an_address(certified: ssl.SSLContext) -> None:
    indicated: list[str | None] = []
    certified.sni_callback = lambda _, name, __: indicated.append(name)
    names = Names(pictures=[PUBLIC], elsewhere=[PUBLIC])
    async with serving(head(Content_Length="3") + b"png", tls=certified) as port:
        assert await fetcher(names).image(f"https://pictures.example:{port}/") == b"png"
        refused = await refusal(f"https://elsewhere.example:{port}/", fetcher(names))
        assert refused.message == "is at a host that cannot be connected to"
    assert indicated == ["pictures.example", "elsewhere.example"]


async def test_a_server_that_breaks_its_tls_has_broken_off(certified: ssl.SSLContext) -> None:
    def answer(listener: socket.socket) -> None:
        with certified.wrap_socket(listener.accept()[0], server_side=True) as shaken:
            shaken.recv(65536)
            with socket.socket(fileno=shaken.detach()) as bare:
                bare.sendall(b"no record of TLS at all")

    with socket.create_server((PUBLIC, 0)) as listener:
        url = f"https://pictures.example:{listener.getsockname()[1]}/"
        transport = GuardedTransport(settings().reach, resolve=Names(pictures=[PUBLIC]))
        sender = HttpSender(timeout_s=DEADLINE_S, reach=settings().reach, transport=transport)
        served = asyncio.create_task(asyncio.to_thread(answer, listener))
        assert "broke off" in (await refusal(url, fetcher(Names(pictures=[PUBLIC])))).message
        await served
        served = asyncio.create_task(asyncio.to_thread(answer, listener))
        told = await sender.send(url, {}, b"{}")
        await served
    assert isinstance(told, Silence)
    assert "broke off" in told.error


# ------------------------------------------------------------ through a proxy


@dataclass
class TunnelProxy:
    """A proxy that knows CONNECT; `asked` are the heads that it was sent. With `answer` it says that and no more."""

    answer: bytes | None = None
    scheme: str = "http"
    asked: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"{self.scheme}://user:p%40ss@{PUBLIC}:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        if self.answer is not None:
            writer.write(self.answer)
            return
        host, _, port = self.asked[-1].split()[1].rpartition(":")
        try:
            onward = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = asyncio.create_task(_pour(onward[0], writer))
        await _pour(reader, onward[1])
        await back


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def proxying(answer: bytes | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[TunnelProxy]:
    proxy = TunnelProxy(answer, "http" if tls is None else "https")
    async with serving(proxy.serve, tls=tls) as proxy.port:
        yield proxy


def through(proxy: TunnelProxy, **names: Sequence[str]) -> Fetcher:
    chosen = settings(proxy_url=proxy.url)
    return Fetcher(chosen, GuardedTransport(chosen.reach, proxy_url=chosen.proxy, resolve=Names(**names)))


@pytest.mark.parametrize("secured", [False, True], ids=["http", "https"])
async def test_a_proxy_connects_to_the_address_that_was_checked_and_tls_still_asks_for_the_name(
    certified: ssl.SSLContext, secured: bool
) -> None:
    indicated: list[str | None] = []
    certified.sni_callback = lambda _, name, __: indicated.append(name)
    answer = head(Content_Length="3") + b"png"
    async with (
        proxying(tls=certified if secured else None) as proxy,
        serving(answer) as plain,
        serving(answer, tls=certified) as secure,
    ):
        fetch = through(proxy, pictures=[PUBLIC])
        assert await fetch.image(f"http://pictures.example:{plain}/") == b"png"
        assert await fetch.image(f"https://pictures.example:{secure}/") == b"png"
    assert [each.split("\r\n")[0] for each in proxy.asked] == [
        f"CONNECT {PUBLIC}:{port} HTTP/1.1" for port in (plain, secure)
    ]
    credentials = b64encode(b"user:p@ss").decode()
    assert all(f"proxy-authorization: basic {credentials}".lower() in each.lower() for each in proxy.asked)
    assert "pictures.example" not in "".join(proxy.asked)
    assert [name for name in indicated if name is not None] == ["pictures.example"]


@pytest.mark.parametrize("inside", ["127.0.0.1", "10.0.0.1", "169.254.169.254"])
async def test_a_proxy_is_not_asked_for_what_may_not_be_reached(inside: str) -> None:
    async with proxying() as proxy:
        refused = await refusal("http://pictures.example/", through(proxy, pictures=[inside]))
        assert refused.message == "is at a host without a public address"
        assert "not public" in (await refusal(f"http://{inside}/", through(proxy))).message
    assert proxy.asked == []


async def test_a_webhook_goes_through_the_proxy() -> None:
    async with proxying() as proxy, serving(head("204 No Content")) as port:
        sender = HttpSender(timeout_s=5, reach=settings().reach, proxy_url=proxy.url)
        assert await sender.send(f"http://{PUBLIC}:{port}/hook", {}, b"{}") == Reply(status=204)
        await sender.close()
    assert proxy.asked[0].startswith(f"CONNECT {PUBLIC}:{port} ")


async def test_a_target_that_the_proxy_cannot_reach_is_the_users_error() -> None:
    async with proxying() as proxy:
        refused = await refusal(f"http://{PUBLIC}:{free_port(PUBLIC)}/", through(proxy))
    assert refused.message == "is at a host that cannot be connected to"


@pytest.mark.parametrize("answer", [head("407 Proxy Authentication Required"), b"SSH-2.0-OpenSSH_9.6\r\n", b"", None])
async def test_a_proxy_that_does_not_let_us_out_is_our_fault_and_its_password_is_told_nobody(
    answer: bytes | None,
) -> None:
    async with proxying(answer) as proxy:
        if answer is None:
            proxy.port = free_port(PUBLIC)
        with capture_logs() as logged, pytest.raises(Unavailable) as failed:
            await through(proxy).image(f"http://{PUBLIC}:1/")
        sender = HttpSender(timeout_s=5, reach=settings().reach, proxy_url=proxy.url)
        told = await sender.send(f"http://{PUBLIC}:1/hook", {}, b"{}")
    assert told == Silence(error="it could not be sent from here")
    assert [entry["event"] for entry in logged] == ["proxy_unavailable"]
    for text in (str(failed.value), str(logged), repr(settings(proxy_url=proxy.url))):
        assert "p@ss" not in text
        assert "p%40ss" not in text


async def test_a_proxy_that_never_answers_is_left_at_the_deadline() -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(never) as port:
        refused = await refusal("http://pictures.example/", through(TunnelProxy(port=port), pictures=[PUBLIC]))
    assert refused.message == "is at a host that cannot be connected to"
