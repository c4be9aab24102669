"""A web server of the tests' own on 127.0.0.1: it serves what it is given, and keeps what is posted to it."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue

import pytest
from PIL import Image


@dataclass(frozen=True, slots=True)
class Posted:
    """One request that came in; `headers` by their names in lower case."""

    headers: Mapping[str, str]
    body: bytes


@dataclass
class Web:
    """`url` is its root; what is put into `pages` by path can be had by GET; a POST is answered 204."""

    url: str = ""
    pages: dict[str, bytes] = field(default_factory=dict)
    posted: dict[str, Queue[Posted]] = field(default_factory=lambda: defaultdict(Queue))

    def arrivals(self, path: str) -> Iterator[Posted]:
        """What is posted to a path, as it comes in. Raises `queue.Empty` when nothing does for half a minute."""
        while True:
            yield self.posted[path].get(timeout=30)


@pytest.fixture(scope="session")
def web() -> Iterator[Web]:
    """The session's server; tests keep apart by their paths."""
    served = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory, web: Web) -> dict[str, str]:
    """One picture, 300x200, as a file (`picture`) and by its URL (`picture_url`)."""
    path = tmp_path_factory.mktemp("pictures") / "first.png"
    Image.linear_gradient("L").resize((300, 200)).convert("RGB").save(path)
    web.pages["/first.png"] = path.read_bytes()
    return {"picture": str(path), "picture_url": f"{web.url}/first.png"}


def _handler(web: Web) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = web.pages.get(self.path)
            self.send_response(404 if page is None else 200)
            self.send_header("content-length", str(len(page or b"")))
            self.end_headers()
            self.wfile.write(page or b"")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            web.posted[self.path].put(Posted(headers, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the tests look at what came in."""

    return Handler
