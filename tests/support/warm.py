"""A process in which a client is imported already: each program that runs there is a fork of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

END_S = 10


@dataclass(frozen=True, slots=True)
class Warm:
    """One such process, and the socket that it is asked on."""

    process: subprocess.Popen[bytes]
    asked: socket.socket

    @classmethod
    def start(cls, python: Path, script: Path, modules: Sequence[str], environment: Mapping[str, str]) -> Self:
        """`script` is `tests/acceptance/clients/imported_once.py`, which imports these modules."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [python, script, str(theirs.fileno()), *modules]
            bare = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
            process = subprocess.Popen(command, env=bare, pass_fds=(theirs.fileno(),), start_new_session=True)
        return cls(process, ours)

    def run(
        self, command: Sequence[str], *, given: str, environment: Mapping[str, str], directory: Path, timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a program with its arguments, as `subprocess.run` would after the name of an interpreter."""
        program, *arguments = command
        request = {
            "program": program,
            "arguments": arguments,
            "environment": dict(environment),
            "directory": str(directory),
        }
        with (
            tempfile.TemporaryFile("w+") as stdin,
            tempfile.TemporaryFile("w+") as out,
            tempfile.TemporaryFile("w+") as errors,
        ):
            stdin.write(given)
            stdin.seek(0)
            socket.send_fds(self.asked, [json.dumps(request).encode()], [it.fileno() for it in (stdin, out, errors)])
            code = self._answer(timeout_s)
            for file in (out, errors):
                file.seek(0)
            return subprocess.CompletedProcess(command, code, out.read(), errors.read())

    def _answer(self, timeout_s: float) -> int:
        self.asked.settimeout(timeout_s)
        try:
            answer = self.asked.recv(64)
        except TimeoutError:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise
        assert answer, "the client's process has ended"
        return int(answer)

    def end(self) -> None:
        """It ends when nobody can ask it any more."""
        self.asked.close()
        self.process.wait(timeout=END_S)
