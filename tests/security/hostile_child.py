"""What a decoder that somebody has taken over would try: run as a confined child, each by its name."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from orchestrator.confined.serving import serve
from orchestrator.domain import jsontext

MiB = 2**20
PTRACE_ATTACH = 16
PARENT = os.getppid()
_libc = ctypes.CDLL(None, use_errno=True)


def main(settings: str) -> NoReturn:
    """Serve until the parent is gone."""
    given = jsontext.own(settings)
    serve(lambda words, blob: (tried(words["attack"]), blob), memory=given["memory"], seconds=given["seconds"])


def tried(attack: str) -> dict[str, Any]:
    """What came of it; an attack that gets anywhere has no error."""
    try:
        ATTACKS[attack]()
    except OSError as error:
        return {"error": error.errno}
    return {"error": None}


def _spin() -> None:
    while True:
        pass


def _called(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _reuse_a_number() -> None:
    """A descriptor less makes room for another, whatever the limit of their number."""
    os.close(2)
    os.open("/etc/passwd", os.O_RDONLY)


def _other_limits() -> None:
    import resource

    resource.prlimit(PARENT, resource.RLIMIT_CORE)


ATTACKS: dict[str, Callable[[], object]] = {
    "read the parent's environment": lambda: Path(f"/proc/{PARENT}/environ").read_bytes(),
    "read a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "read a file under another's number": _reuse_a_number,
    "connect": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "fork": os.fork,
    "start a program": lambda: os.execv(sys.executable, [sys.executable, "-c", "0"]),
    "signal the parent": lambda: os.kill(PARENT, signal.SIGCONT),
    "trace the parent": lambda: _called(_libc.ptrace(PTRACE_ATTACH, PARENT, 0, 0)),
    "write": lambda: os.open("/tmp/cogmill-hostile", os.O_CREAT | os.O_WRONLY, 0o600),
    "change the parent's limits": _other_limits,
    "take memory": lambda: bytearray(512 * MiB),
    "spin": _spin,
    "crash": lambda: ctypes.string_at(0),
    "nothing": lambda: None,
}

# What it needs is imported before it is confined, as decoders are.
with suppress(OSError):
    _other_limits()
