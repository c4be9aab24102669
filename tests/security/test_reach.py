"""Users' URLs that lead to networks or ports which an operator has closed: not for pictures, and not for webhooks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator import config
from orchestrator.adapters.fetch import Fetcher, ForbiddenAddress, GuardedTransport, check_url
from orchestrator.adapters.webhook_http import HttpSender
from orchestrator.config import FetchSettings, Settings
from orchestrator.domain.addresses import IPAddress
from orchestrator.domain.errors import ConfigError, InvalidField
from orchestrator.domain.webhooks import Reply, Silence

# All of 127/8 is this machine's: one address stands for the open internet, one for what an operator keeps closed.
OPEN, CLOSED = "127.0.0.2", "127.0.0.3"
NETWORKS: dict[str, Any] = {"allow_networks": ["127.0.0.0/8"], "deny_networks": [f"{CLOSED}/32", "8.8.8.0/24"]}


class Server:
    """Answers on both addresses and one port with a picture, or with where to go instead; and counts."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.elsewhere = ""
        self.heard: list[str] = []


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with _listening(OPEN, 0) as (port, known), _listening(CLOSED, port, known):
        yield known


@contextmanager
def _listening(host: str, port: int, known: Server | None = None) -> Iterator[Any]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.heard.append(f"{self.server.server_address[0]}{self.path}")
            moved = self.path == "/moved"
            self.send_response(302 if moved else 200)
            if moved:
                self.send_header("Location", served.elsewhere)
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"png")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    listener = ThreadingHTTPServer((host, port), Handler)
    served = known or Server(listener.server_port)
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    try:
        yield (listener.server_port, served)
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


async def names(host: str) -> list[IPAddress]:
    """What names stand for, and how the closed address can be written besides."""
    found = {"open": [OPEN], "closed": [CLOSED], "both": [OPEN, CLOSED], "mapped": [f"::ffff:{CLOSED}"]}
    return [ip_address(address) for address in found[host.partition(".")[0]]]


def fetcher(**said: Any) -> Fetcher:
    settings = FetchSettings.model_validate({"timeout_s": 5, **NETWORKS, **said})
    return Fetcher(settings, GuardedTransport(settings.reach, resolve=names))


async def refusal(url: str, **said: Any) -> InvalidField:
    with pytest.raises(InvalidField) as refused:
        await fetcher(**said).image(url)
    assert refused.value.param == "image"
    return refused.value


async def test_a_closed_network_is_not_reached_however_it_is_written(server: Server) -> None:
    server.heard.clear()
    server.elsewhere = f"http://{CLOSED}:{server.port}/"
    assert await fetcher().image(f"http://open.example:{server.port}/") == b"png"
    for host in (CLOSED, f"[::ffff:{CLOSED}]", "8.8.8.8"):
        assert "not reached from here" in (await refusal(f"http://{host}:{server.port}/")).message
    for host in ("closed.example", "both.example", "mapped.example"):
        assert "without a public address" in (await refusal(f"http://{host}:{server.port}/")).message
    assert "redirects to a URL that is refused" in (await refusal(f"http://{OPEN}:{server.port}/moved")).message
    assert not [each for each in server.heard if each.startswith(CLOSED)]


async def test_only_the_ports_that_are_named_are_called(server: Server) -> None:
    server.heard.clear()
    assert await fetcher(ports=[443, server.port]).image(f"http://{OPEN}:{server.port}/") == b"png"
    server.elsewhere = f"http://{OPEN}:22/"
    for url in (f"http://{OPEN}:22/", f"http://{OPEN}/", f"https://{OPEN}:80/"):
        assert f"ports 443, {server.port}" in (await refusal(url, ports=[443, server.port])).message
    moved = await refusal(f"http://{OPEN}:{server.port}/moved", ports=[443, server.port])
    assert "redirects to a URL that is refused" in moved.message
    reach = FetchSettings.model_validate(NETWORKS | {"ports": [443]}).reach
    async with httpx.AsyncClient(transport=GuardedTransport(reach, resolve=names), trust_env=False) as client:
        with pytest.raises(ForbiddenAddress):  # also where somebody forgot `check_url`
            await client.get(f"http://open.example:{server.port}/")
    assert server.heard == [f"{OPEN}/", f"{OPEN}/moved"]


@pytest.fixture
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cogmill.toml"
    monkeypatch.setenv("COGMILL_CONFIG", str(path))
    return path


def load(toml: Path, sections: str) -> Settings:
    toml.write_text(
        'database_url = "postgresql://h/x"\ndefault_model = "m"\n[models.m]\nfamily = "tiny-2b"\npath = "/m"\n'
        f'[pools.p]\nmodel = "m"\n{sections}'
    )
    return config.load()


async def test_webhooks_have_networks_and_ports_of_their_own_or_those_of_pictures(server: Server, toml: Path) -> None:
    fetch = f'[fetch]\nallow_networks = ["127.0.0.0/8"]\ndeny_networks = ["{CLOSED}/32"]\nports = [{server.port}]\n'
    hooks = f'[webhooks]\ndeny_networks = ["{OPEN}/32"]\nports = [443, {server.port}]\n'
    for sections, there, not_there in ((fetch, OPEN, CLOSED), (fetch + hooks, CLOSED, OPEN)):
        settings = load(toml, sections)
        sender = HttpSender(timeout_s=5, reach=settings.webhook_reach)
        assert await sender.send(f"http://{there}:{server.port}/", {}, b"{}") == Reply(status=200)
        told = await sender.send(f"http://{not_there}:{server.port}/", {}, b"{}")
        assert isinstance(told, Silence)
        await sender.close()
    with pytest.raises(InvalidField, match="ports 443"):
        check_url("https://example.com:8443/", "webhook_url", reach=settings.webhook_reach)
    assert settings.fetch.reach.ports == (server.port,)


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ('[fetch]\ndeny_networks = ["10.0.0.0/99"]', "fetch.deny_networks.0"),
        ("[fetch]\nports = [0]", "fetch.ports.0"),
        ("[fetch]\nports = []", "fetch.ports"),
        ('[webhooks]\nallow_networks = ["here"]', "webhooks.allow_networks.0"),
        ("[webhooks]\nports = [65536]", "webhooks.ports.0"),
        ("[webhooks]\nports = []", "webhooks.ports"),
    ],
)
def test_what_is_no_network_and_no_port_is_refused_by_name(toml: Path, sections: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(toml, sections)
    assert str(refused.value).startswith(f"{told}:")
