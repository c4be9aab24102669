"""A confined child: it gives up what it does not need, then answers its parent, one thing after the other."""

from __future__ import annotations

import importlib
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from orchestrator.confined import frames, seccomp

Words = Mapping[str, Any]
Answers = Callable[[dict[str, Any], bytes], tuple[Words, bytes]]

# Characters of it, for the log.
_MAX_FAILURE = 500


def begin(module: str, settings: str) -> None:
    """Run `main` of a module, which serves for ever; why it never gets there is said instead of its first word."""
    with _failure_told(1):  # leads nowhere any more, once it serves
        importlib.import_module(module).main(settings)


def serve(answers: Answers, *, memory: int, seconds: int) -> NoReturn:
    """Answer until the parent is gone.

    Everything is imported and opened by now. From here on it may take `memory` bytes more than it has, and `seconds`
    of a processor for each answer. What it lacks the memory for is answered by `{"memory": true}`, its last words.
    """
    asked, told = os.fdopen(0, "rb"), _told()
    with _failure_told(told):
        filtered = _confine(memory)
    _say(told, frames.pack({"filtered": filtered}))
    while True:
        heard = frames.read(asked)
        if heard is None:
            os._exit(0)
        _allow(seconds)
        try:
            words, blob = answers(*heard)
        except MemoryError:
            _say(told, frames.pack({"memory": True}))
            os._exit(1)
        _say(told, frames.pack(words, blob))


@contextmanager
def _failure_told(told: int) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        _say(told, frames.pack({"failed": f"{type(error).__name__}: {error}"[:_MAX_FAILURE]}))
        os._exit(1)


def _told() -> int:
    """The way to the parent, out of reach of whatever prints."""
    told = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return told


def _say(told: int, frame: bytes) -> None:
    left = memoryview(frame)
    while left:
        left = left[os.write(told, left) :]


def _confine(memory: int) -> bool:
    """Whether its calls are filtered, too."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    with suppress(FileNotFoundError):  # not Linux
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory)
    # The lowest number that is free: whatever would be opened finds none below it.
    free = os.dup(0)
    os.close(free)
    _limit(resource.RLIMIT_NOFILE, free)
    return seccomp.install()


def _limit(what: int, most: int) -> None:
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def _allow(seconds: int) -> None:
    """Let the system end this process once it has worked for so long."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    until = int(time.process_time()) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (until if hard == resource.RLIM_INFINITY else min(until, hard), hard))
