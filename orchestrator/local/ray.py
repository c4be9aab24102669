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


def start(port: int, temp_dir: Path, log: Path, *, gpus: int) -> ProcessId:
    """Start a head with `gpus` logical GPUs on 127.0.0.1 and return at once; `wait_ready` waits for it.

    Sessions that an earlier head left in `temp_dir` are removed; workers put their temporary files there as well.
    """
    for leftover in temp_dir.glob("session_*"):
        leftover.unlink() if leftover.is_symlink() else shutil.rmtree(leftover, ignore_errors=True)
    # Only the GCS has a fixed port, so that several stacks live side by side. The autoscaler's monitor and the log
    # monitor have nothing to do on one node whose logs nobody tails.
    arguments = [
        "start", "--head", "--block", f"--port={port}", f"--temp-dir={temp_dir}",
        f"--num-gpus={gpus}", "--num-cpus=2", f"--object-store-memory={_OBJECT_STORE_BYTES}",
        "--min-worker-port=0", "--max-worker-port=0",
        "--include-dashboard=false", "--include-log-monitor=false", "--no-monitor", "--disable-usage-stats",
    ]  # fmt: skip
    env = {**os.environ, "TMPDIR": str(temp_dir)}
    return process.spawn([Path(sys.executable).with_name("ray"), *arguments], log=log, env=env)


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


def stop(head: ProcessId) -> None:
    """Kill the head, its agents and its workers, also when the head itself is dead already.

    Nothing of theirs is worth a drain: whoever stops a stack has drained the dispatcher before.
    """
    process.kill_all(session(head))
    process.kill_all(session(head))  # a worker that was being forked while we looked


def session(leader: ProcessId) -> list[psutil.Process]:
    """The living processes of the session that `leader` began, whether or not it lives itself.

    No pid is given out anew while it still names a session. So either the members are the leader's, or the pid belongs
    to another process now, which its start time tells.
    """
    members = []
    for candidate in psutil.process_iter():
        try:
            if os.getsid(candidate.pid) == leader.pid and candidate.status() != psutil.STATUS_ZOMBIE:
                members.append(candidate)
        except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            continue
    reused = any(member.pid == leader.pid for member in members) and leader.process() is None
    return [] if reused else members


def _answers(temp_dir: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(str(temp_dir / "session_latest" / "sockets" / "raylet")) == 0
