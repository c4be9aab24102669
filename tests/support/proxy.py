"""A TCP proxy on 127.0.0.1 that slows down, counts, damages or breaks off what passes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

_CHUNK = 16 * 1024


class Proxy:
    """Forwards connections to a port of this machine.

    `bytes_per_s` limits what goes up, `down_bytes_per_s` what comes down, which `came_down` counts; `corruptions` is
    how many more full chunks on their way up get one bit flipped (that is the inside of a body, never a header).
    """

    def __init__(self, target: int, *, bytes_per_s: float | None = None, corruptions: int = 0) -> None:
        self._target = target
        self._bytes_per_s = bytes_per_s
        self._one_at_a_time = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._listener = socket.socket()
        # Small buffers, inherited by every connection: a large one would swallow a file and hide that the way is slow.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * _CHUNK)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.corruptions = corruptions
        self.down_bytes_per_s: float | None = None
        self.came_down = 0

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        _background(self._accept)
        try:
            yield self
        finally:
            for each in (self._listener, *self._sockets):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def break_off(self) -> None:
        """Hang up every connection there is; new ones are taken."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target), timeout=None)
                except ConnectionRefusedError:
                    client.close()
                    continue
                self._sockets += [client, server]
                _background(partial(_pump, client, server, self._on_the_way_up))
                _background(partial(_pump, server, client, self._on_the_way_down))

    def _on_the_way_up(self, data: bytes) -> bytes:
        if self._bytes_per_s is not None:
            with self._one_at_a_time:  # connections share the link
                time.sleep(len(data) / self._bytes_per_s)
        if self.corruptions and len(data) == _CHUNK:
            self.corruptions -= 1
            return data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]
        return data

    def _on_the_way_down(self, data: bytes) -> bytes:
        with self._one_at_a_time:
            self.came_down += len(data)
            if self.down_bytes_per_s is not None:
                time.sleep(len(data) / self.down_bytes_per_s)
        return data


def _background(target: Callable[[], None]) -> None:
    threading.Thread(target=target, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, change: Callable[[bytes], bytes]) -> None:
    with suppress(OSError):  # either end hung up, or the proxy was stopped
        while data := source.recv(_CHUNK):
            sink.sendall(change(data))
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
