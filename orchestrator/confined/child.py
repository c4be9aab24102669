"""The parent's side of a confined child: starts it with next to nothing, asks it, and ends it when it is late."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from orchestrator.confined import frames
from orchestrator.telemetry import logs

_log = logs.get("confined")

# Until it has imported what it needs, on a machine that has much else to do.
START_S = 30.0

# After so many questions, or grown by so much, it is replaced: what leaks, and what somebody left there, goes with it.
_QUESTIONS = 500
_GROWTH = 64 * 2**20

# It imports what its parent would, from the same places, whatever its environment and its directory hold.
_BEGIN = (
    "import json, sys; path, module, settings = sys.argv[1:]; sys.path[:] = json.loads(path); "
    "from orchestrator.confined.serving import begin; begin(module, settings)"
)

# What the dynamic linker needs where Python is not at home, and allocators that reserve no more than they use.
_KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_FRUGAL = {"MALLOC_ARENA_MAX": "1", "ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a child says."""

    words: dict[str, Any]
    blob: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """It says nothing any more: killed as it was `late`, or gone by itself. `fresh` when this was its first question.

    One that could not be started, or not be watched, was late. `worked_s` is how long a processor was at it, as far as
    is known.
    """

    late: bool
    fresh: bool
    worked_s: float = 0.0

    def blameless(self, within_s: float) -> bool:
        """Whether it was not for what it was asked, but for this machine: in all that time it hardly got to work."""
        return self.late and self.worked_s < within_s / 2


@dataclass(frozen=True, slots=True)
class _Heard:
    """What a process says, None when it said nothing that is whole."""

    frame: tuple[dict[str, Any], bytes] | None
    late: bool = False
    worked_s: float = 0.0


class Child:
    """A process that runs `main` of a module, started when it is first asked, and anew after it has ended.

    For one caller at a time. `settings` reach `main` as JSON, and with them the number of `handed`, a file of ours that
    it has open.
    """

    def __init__(self, module: str, settings: Mapping[str, Any], *, handed: BinaryIO | None = None) -> None:
        self._module = module
        self._settings = json.dumps({**settings, **({} if handed is None else {"file": handed.fileno()})})
        self._handed = () if handed is None else (handed.fileno(),)
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = 0
        self._began_with = 0
        self._ending: Callable[[], object]
        self.filtered = False

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def ask(self, words: Mapping[str, Any], blob: bytes = b"", *, within_s: float) -> Answer | Ended:
        """Its answer. Starting does not count."""
        process = self._process or self._started()
        if process is None:
            return Ended(late=True, fresh=False)
        fresh, self._asked = self._asked == 0, self._asked + 1
        before = _worked(process.pid)
        heard = _heard(process, frames.pack(words, blob), within_s)
        if heard.frame is None:
            self.end()
            spent = max(0.0, heard.worked_s - before)
            _log.warning("child_ended", module=self._module, late=heard.late, code=process.returncode, worked_s=spent)
            return Ended(late=heard.late, fresh=fresh, worked_s=spent)
        if "memory" in heard.frame[0] or (not self._handed and self._spent(process.pid)):
            self.end()
        return Answer(*heard.frame)

    def _spent(self, pid: int) -> bool:
        """Whether another had better take over. One that was handed a file is in the midst of it."""
        return self._asked >= _QUESTIONS or _resident(pid) > self._began_with + _GROWTH

    def end(self) -> None:
        """End it, if there is one; it is started anew when it is asked again."""
        if self._process is not None:
            self._process = None
            self._ending()

    def _started(self) -> subprocess.Popen[bytes] | None:
        path = [str(Path(place).absolute()) for place in sys.path if place]
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", _BEGIN, json.dumps(path), self._module, self._settings],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={**_FRUGAL, **{name: os.environ[name] for name in _KEPT if name in os.environ}},
                pass_fds=self._handed,
                start_new_session=True,
            )
        except OSError as error:  # no memory, or too many processes
            _log.error("child_not_started", module=self._module, error=str(error))
            return None
        self._ending = weakref.finalize(self, _end, process)
        hello = _heard(process, b"", START_S).frame
        if hello is None or "failed" in hello[0]:
            self._ending()
            failed = "it said nothing" if hello is None else str(hello[0]["failed"])
            _log.error("child_not_started", module=self._module, code=process.returncode, error=failed)
            return None
        self.filtered = bool(hello[0].get("filtered"))
        _log.info("child_started", module=self._module, pid=process.pid, filtered=self.filtered)
        self._process, self._asked, self._began_with = process, 0, _resident(process.pid)
        return process


def _heard(process: subprocess.Popen[bytes], said: bytes, within_s: float) -> _Heard:
    """Its answer to what it is told. It is killed when it is late, and not asked where nobody could kill it then."""
    assert process.stdin is not None
    assert process.stdout is not None
    late, worked = threading.Event(), [0.0]

    def kill() -> None:
        late.set()
        worked[0] = _worked(process.pid)
        process.kill()

    timer = threading.Timer(within_s, kill)
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:  # no further thread is to be had
        return _Heard(None, late=True)
    frame = None
    try:
        with suppress(OSError, ValueError):
            process.stdin.write(said)
            process.stdin.flush()
            frame = frames.read(process.stdout)
    finally:
        timer.cancel()
    return _Heard(frame, late.is_set(), worked[0])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):  # what was still to be written
                pipe.close()
    process.wait()


def _worked(pid: int) -> float:
    """Seconds of a processor."""
    with suppress(psutil.Error):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    return 0.0


def _resident(pid: int) -> int:
    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0
