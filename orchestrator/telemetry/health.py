"""`/metrics` and `/healthz` of a process that has no API: a thread that answers two paths and nothing else."""

from __future__ import annotations

import hmac
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest


class Pulse:
    """When each loop last ran to its end, in monotonic seconds. Loops write, the health page reads."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._last: dict[str, float] = {}

    def beat(self, loop: str) -> None:
        """The loop has just run without an error."""
        self._last[loop] = time.monotonic()

    def silent(self) -> list[str]:
        """Loops that have not run for longer than the patience allows."""
        now = time.monotonic()
        return sorted(loop for loop, last in self._last.items() if now - last > self._patience_s)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A scraper that gave up before its answer is no event; anything else is told as usual."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def lets_in(token: str | None, authorization: str | None) -> bool:
    """Whether `/metrics` is for whoever sends this header: always, where no token is asked for."""
    if token is None:
        return True
    scheme, _, sent = (authorization or "").partition(" ")
    return hmac.compare_digest(sent.strip().encode(), token.encode()) and scheme.lower() == "bearer"


@contextmanager
def serve(host: str, port: int, pulse: Pulse, token: str | None = None) -> Iterator[int]:
    """Serve until the block ends; yields the port. `/healthz` is 503 while a watched loop is silent.

    `/metrics` is 401 without `token`, where there is one. Raises `OSError` when the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics" and not lets_in(token, self.headers.get("Authorization")):
                self._answer(401, "text/plain", b"metrics.token is missing or wrong\n", {"WWW-Authenticate": "Bearer"})
            elif self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(REGISTRY))
            elif self.path == "/healthz":
                silent = pulse.silent()
                body = f"silent: {', '.join(silent)}\n" if silent else "ok\n"
                self._answer(503 if silent else 200, "text/plain", body.encode())
            else:
                self._answer(404, "text/plain", b"not found\n")

        def _answer(self, status: int, content_type: str, body: bytes, more: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (more or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Scrapes are not worth a line each."""

    server = _Server((host, port), Handler)
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
