"""The Ray head of the local stack: `ray start --head --block` as a child, ended by its session and never by name.

`ray stop` ends every Ray of the machine, so it is not used. Agents and workers outlive a killed head; they are found
again because every process of one head is in the session that the head began.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

import psutil

from orchestrator.domain.errors import ConfigError
from orchestrator.local import process
from orchestrator.local.process import ProcessId

_OBJECT_STORE_BYTES = 75 * 2**20  # Ray's minimum: videos go through S3, never through Ray's object store


def environment(token: Path) -> dict[str, str]:
    """What the head, its workers and every driver must share: the token's file, and the loopback as their network.

    Without the last variable Ray on Linux takes the machine's outward address, listens on every interface, and is lost
    when a laptop changes networks. It is Ray's own switch for Windows and macOS, where this is the default.
    """
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token.absolute()),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def make_temp_dir() -> Path:
    """A new private directory for sockets and session logs, in /tmp: a socket's path may not exceed 107 bytes."""
    return Path(tempfile.mkdtemp(prefix="cogmill-ray-", dir="/tmp"))


def sessions_in(temp_dir: Path) -> Path:
    """What Ray is told of it: a directory within, since Ray opens its own to everybody (0777), whatever it was."""
    return temp_dir / "ray"


def start(port: int, temp_dir: Path, log: Path, *, gpus: int, mark: str = "") -> ProcessId:
    """Start a head with `gpus` logical GPUs on 127.0.0.1 and return at once; `wait_ready` waits for it.

    Sessions that an earlier head left in `temp_dir` are removed; workers put their temporary files there as well.
    """
    sessions = sessions_in(temp_dir)
    for leftover in sessions.glob("session_*"):
        leftover.unlink() if leftover.is_symlink() else shutil.rmtree(leftover, ignore_errors=True)
    # Only the GCS has a fixed port, so that several stacks live side by side. The autoscaler's monitor and the log
    # monitor have nothing to do on one node whose logs nobody tails.
    arguments = [
        "start", "--head", "--block", f"--port={port}", f"--temp-dir={sessions}",
        f"--num-gpus={gpus}", "--num-cpus=2", f"--object-store-memory={_OBJECT_STORE_BYTES}",
        "--min-worker-port=0", "--max-worker-port=0",
        "--include-dashboard=false", "--include-log-monitor=false", "--no-monitor", "--disable-usage-stats",
    ]  # fmt: skip
    env = {**os.environ, "TMPDIR": str(temp_dir)}
    return process.spawn([Path(sys.executable).with_name("ray"), *arguments], log=log, mark=mark, env=env)


def wait_ready(head: ProcessId, port: int, temp_dir: Path, *, log: Path, timeout_s: float = 60.0) -> None:
    """Wait until the raylet answers. Raises `ConfigError` when the head ends first or the time is up."""
    deadline = time.monotonic() + timeout_s
    while not healthy(head, port, temp_dir):
        if head.process() is None or time.monotonic() > deadline:
            raise ConfigError(f"Ray did not start on port {port}; its log is {log}")
        time.sleep(0.05)


def healthy(head: ProcessId, port: int, temp_dir: Path) -> bool:
    """True while the head lives and both its GCS and its raylet accept connections."""
    return head.process() is not None and process.port_taken(port) and _answers(temp_dir)


def offers(head: ProcessId, gpus: int) -> bool:
    """True when this head was started with so many logical GPUs: with fewer, a worker would wait for ever."""
    try:
        return (alive := head.process()) is not None and f"--num-gpus={gpus}" in alive.cmdline()
    except psutil.NoSuchProcess:
        return False


def stop(head: ProcessId, temp_dir: Path) -> None:
    """Kill the head, its agents and its workers, also when the head itself is dead already.

    Nothing of theirs is worth a drain: whoever stops a stack has drained the dispatcher before.
    """
    process.kill_all(family(head, temp_dir))
    process.kill_all(family(head, temp_dir))  # a worker that was being forked while we looked


def family(head: ProcessId, temp_dir: Path) -> list[psutil.Process]:
    """Every living process of a head, itself included: the session that it began.

    Once the head is dead, its session's number alone proves nothing, since after a reboot it may be anybody's: then
    only those count that have a file of this head's `temp_dir` open, as each of Ray's processes has its log.
    """
    members = session(head.pid)
    return members if head.process() is not None else [member for member in members if _works_in(member, temp_dir)]


def session(number: int) -> list[psutil.Process]:
    """The living processes of a session, by its number: the pid of the process that began it."""
    members = []
    for candidate in psutil.process_iter():
        try:
            if os.getsid(candidate.pid) == number and candidate.status() != psutil.STATUS_ZOMBIE:
                members.append(candidate)
        except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            continue
    return members


def _works_in(candidate: psutil.Process, directory: Path) -> bool:
    try:
        return any(Path(file.path).is_relative_to(directory) for file in candidate.open_files())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _answers(temp_dir: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(str(sessions_in(temp_dir) / "session_latest" / "sockets" / "raylet")) == 0
