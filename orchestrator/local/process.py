"""Child processes that outlive a killed parent and are recognised again: by pid and start time, or by their mark."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

# psutil reads a start time in clock ticks; two readings of one process differ by less than this many seconds.
_START_TIME_TOLERANCE = 0.05

# The environment variable that carries a mark.
_MARK = "COGMILL_MARK"


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process for good: its pid, and when it started (seconds since the epoch, as psutil says it)."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """The identity of a process that is running now; raises `psutil.NoSuchProcess` when it is gone."""
        return cls(pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """The live process, or None when it has ended or its pid belongs to another one now."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < _START_TIME_TOLERANCE
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def spawn(
    argv: Sequence[str | Path],
    *,
    log: Path,
    mark: str = "",
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    cwd: Path | None = None,
) -> ProcessId:
    """Start a child in a session of its own (a Ctrl-C on our terminal does not reach it), output appended to `log`.

    `mark` goes into its environment, for `marked` to find it by. With `user` it gets that user's primary group and
    none of ours.
    """
    with log.open("ab") as out:
        child = subprocess.Popen(
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**(os.environ if env is None else env), _MARK: mark},
            user=user,
            group=group_of(user),
            extra_groups=None if user is None else [],
            cwd=cwd,
            start_new_session=True,
        )
    return ProcessId.of(child.pid)


def marked(mark: str) -> list[psutil.Process]:
    """The living processes that carry a mark: the one that `spawn` gave it to, if it lives, and what that one forked.

    It counts as an option's value on the command line too: in a container without CAP_SYS_PTRACE not even root may
    read the environment of another user's process.
    """
    return [candidate for candidate in psutil.process_iter() if _carries(candidate, mark)]


def leads(candidate: psutil.Process) -> bool:
    """True for the process that began its session, as whatever `spawn` starts does."""
    try:
        return os.getsid(candidate.pid) == candidate.pid
    except ProcessLookupError:
        return False


def _carries(candidate: psutil.Process, mark: str) -> bool:
    try:
        if candidate.status() == psutil.STATUS_ZOMBIE:
            return False
        return any(part.endswith(f"={mark}") for part in candidate.cmdline()) or candidate.environ().get(_MARK) == mark
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def group_of(user: str | None) -> int | None:
    """The primary group of a user, as `subprocess` takes it."""
    return None if user is None else pwd.getpwnam(user).pw_gid


def stop(target: ProcessId, *, sig: signal.Signals = signal.SIGTERM, grace_s: float = 10.0) -> None:
    """Signal a process, kill it after `grace_s`, then end every child that it left. Gone already is fine."""
    process = target.process()
    if process is None:
        return
    try:
        children = process.children(recursive=True)
        process.send_signal(sig)
    except psutil.NoSuchProcess:
        return
    kill_all([process], grace_s=grace_s)
    kill_all([child for child in children if child.is_running()], grace_s=2.0)


def kill_all(processes: Sequence[psutil.Process], *, grace_s: float = 0.0) -> None:
    """Give processes `grace_s` to end by themselves, then SIGKILL what is left and reap it."""
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=5)


def port_taken(port: int, host: str = "127.0.0.1") -> bool:
    """True when something accepts connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0


def wait_until_listening(port: int, target: ProcessId, *, timeout_s: float, host: str = "127.0.0.1") -> bool:
    """Wait until the port accepts connections; False when the process ends first or the time is up."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if port_taken(port, host):
            return True
        if target.process() is None:
            return False
        time.sleep(0.02)
    return False
