"""A way to the leader's store for its followers on other nodes, and for nobody else: each end proves the same secret.

Ray has carried it. torch's `TCPStore` listens on every address and believes whoever comes: so the store itself listens
on the loopback alone, and this passes on what comes from whom it has let in.
"""

from __future__ import annotations

import hmac
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

_NONCE = 32
_GREETING_S = 10.0
# How many that have not proved anything yet may try at once.
_STRANGERS = 64
_AGAIN_S = 0.2


class Gate:
    """The leader's end: listens on `host`, and leads to a port of the loopback.

    Whoever has not proved within `greeting_s` that it is a follower is sent away. Making a gate raises `OSError` where
    it cannot listen.
    """

    def __init__(self, host: str, port: int, secret: bytes, *, greeting_s: float = _GREETING_S) -> None:
        self._inside = port
        self._secret = secret
        self._greeting_s = greeting_s
        self._strangers = threading.BoundedSemaphore(_STRANGERS)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port = int(self._listener.getsockname()[1])
        _thread(_accept, self._listener, self._admit)

    def close(self) -> None:
        """Let nobody in any more."""
        _close(self._listener)

    def _admit(self, stranger: socket.socket) -> None:
        if not self._strangers.acquire(blocking=False):
            stranger.close()
            return
        try:
            known = _is_follower(stranger, self._secret, self._greeting_s)
        finally:
            self._strangers.release()
        if not known:
            stranger.close()
            return
        try:
            _join(stranger, socket.create_connection(("127.0.0.1", self._inside)))
        except OSError:  # the store is gone, or no thread is to be had
            stranger.close()


class Way:
    """A follower's end: a port of the loopback that leads to the gate at an address.

    Making one raises `OSError` where it cannot listen.
    """

    def __init__(self, host: str, port: int, secret: bytes, *, patience_s: float) -> None:
        self._gate = (host, port)
        self._secret = secret
        self._patience_s = patience_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        _thread(_accept, self._listener, self._lead)

    def close(self) -> None:
        """Lead nobody any more."""
        _close(self._listener)

    def _lead(self, own: socket.socket) -> None:
        until = time.monotonic() + self._patience_s
        while time.monotonic() < until:
            with suppress(OSError):
                gate = socket.create_connection(self._gate, timeout=_GREETING_S)
                if _is_leader(gate, self._secret):
                    _join(own, gate)
                    return
                gate.close()
            time.sleep(_AGAIN_S)
        own.close()


def _is_follower(stranger: socket.socket, secret: bytes, within_s: float) -> bool:
    """Whether it answers our number in time, as only a follower can; then it is told the same of us."""
    until = time.monotonic() + within_s
    with suppress(OSError):
        stranger.settimeout(within_s)
        ours = secrets.token_bytes(_NONCE)
        stranger.sendall(ours)
        theirs, proof = _take(stranger, _NONCE, until), _take(stranger, _NONCE, until)
        if hmac.compare_digest(proof, _proof(secret, b"follower", ours, theirs)):
            stranger.sendall(_proof(secret, b"leader", ours, theirs))
            return True
    return False


def _is_leader(gate: socket.socket, secret: bytes) -> bool:
    until = time.monotonic() + _GREETING_S
    ours, theirs = secrets.token_bytes(_NONCE), _take(gate, _NONCE, until)
    gate.sendall(ours + _proof(secret, b"follower", theirs, ours))
    return hmac.compare_digest(_take(gate, _NONCE, until), _proof(secret, b"leader", theirs, ours))


def _proof(secret: bytes, who: bytes, leaders: bytes, followers: bytes) -> bytes:
    return hmac.digest(secret, who + leaders + followers, "sha256")


def _take(line: socket.socket, size: int, until: float) -> bytes:
    """So many bytes, all of them in time: who sends one now and then is as late as who sends none."""
    taken = b""
    while len(taken) < size:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError("it is late")
        line.settimeout(left)
        piece = line.recv(size - len(taken))
        if not piece:
            raise ConnectionError("it hung up")
        taken += piece
    return taken


def _accept(listener: socket.socket, meet: Callable[[socket.socket], None]) -> None:
    """Until it is closed. What there are too few of meanwhile, descriptors or threads, there will be again."""
    while listener.fileno() >= 0:
        try:
            line, _ = listener.accept()
        except OSError:
            time.sleep(_AGAIN_S)
            continue
        try:
            _thread(meet, line)
        except OSError:
            line.close()
            time.sleep(_AGAIN_S)


def _close(listener: socket.socket) -> None:
    with suppress(OSError):  # on some systems it cannot be, as it is not connected
        listener.shutdown(socket.SHUT_RDWR)  # Linux goes on accepting otherwise, in the thread that waits for it
    listener.close()


def _join(one: socket.socket, other: socket.socket) -> None:
    """Pass on whatever either says until one hangs up; the other's end is that of both.

    Raises `OSError`, before anything is passed on, when that cannot begin.
    """
    for line in (one, other):
        line.settimeout(None)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    _thread(_pass_on, one, other)
    _pass_on(other, one)


def _pass_on(heard: socket.socket, told: socket.socket) -> None:
    with suppress(OSError):
        while piece := heard.recv(64 * 1024):
            told.sendall(piece)
    for line in (heard, told):
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)


def _thread(call: Callable[..., None], *arguments: object) -> None:
    """Raises `OSError` when no further thread is to be had."""
    try:
        threading.Thread(target=call, args=arguments, name="ranks", daemon=True).start()
    except RuntimeError as error:
        raise OSError(str(error)) from None
