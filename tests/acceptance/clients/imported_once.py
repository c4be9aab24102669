"""Imports an official client once, and then is `python PROGRAM`, in a fork, for each program that it is sent."""

import gc
import importlib
import json
import os
import runpy
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# No request is longer.
LONGEST = 2**20


def serve(asked: socket.socket) -> dict[str, Any]:
    """Answer each request with its program's exit code. This returns in the forks alone, with what they are to run."""
    while True:
        message, files, _, _ = socket.recv_fds(asked, LONGEST, 3)
        if not message:
            sys.exit()
        if (child := os.fork()) == 0:
            asked.close()
            attach(files)
            request: dict[str, Any] = json.loads(message)
            return request
        for file in files:
            os.close(file)
        asked.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def attach(files: Iterable[int]) -> None:
    """Have these as stdin, stdout and stderr."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)


def become(program: str, arguments: list[str], environment: dict[str, str], directory: str) -> None:
    """What the interpreter does when it starts."""
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [program, *arguments]
    sys.path[:1] = [str(Path(program).parent), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    descriptor, *modules = sys.argv[1:]
    for module in modules:
        importlib.import_module(module)
    gc.freeze()
    become(**serve(socket.socket(fileno=int(descriptor))))
