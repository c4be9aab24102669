"""Asks a Ray cluster one question from a process of its own, which can be ended: Ray hangs, prints, and aborts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.domain import jsontext
from orchestrator.domain.errors import WorkerUnreachable

# Joining takes two seconds where all is well, and twelve on a machine that is very busy.
WITHIN_S = 25.0
_TOKEN = re.compile(r"auth\w*|token", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Probed:
    """What a cluster has answered."""

    count: float
    nodes_with: Mapping[str, int]
    startable: Sequence[str] | None

    def gpus(self) -> float:
        """GPUs of all nodes, in use or not."""
        return self.count

    def nodes(self, resource: str) -> int:
        """How many living nodes have it."""
        return self.nodes_with.get(resource, 0)

    def may_start(self, resource: str) -> bool | None:
        """Whether an autoscaler may start nodes that have it; None where none has told Ray of its nodes."""
        return None if self.startable is None else resource in self.startable


def probe(address: str | None, *, within_s: float | None = None) -> Probed:
    """Join the cluster at `address` and leave again. Raises `WorkerUnreachable` with one line, never Ray's own ones."""
    where, within_s = f"at {address}" if address else "on this machine", WITHIN_S if within_s is None else within_s
    command = [sys.executable, "-m", "orchestrator.cli", "ray-gpus", *([address] if address else [])]
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # so that what it starts goes with it
    )
    try:
        out, told = child.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        _end(child)
        _, told = child.communicate()
        raise WorkerUnreachable(f"no Ray cluster has answered {where} within {within_s:g} s{_hint(told)}") from None
    finally:
        _end(child)
    try:
        found = jsontext.parse(out)
        return Probed(float(found["gpus"]), dict(found["bearers"]), found["startable"])
    except (ValueError, KeyError, TypeError):
        raise WorkerUnreachable(f"no Ray cluster can be joined {where}{_hint(told)}") from None


def _end(child: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _hint(told: str) -> str:
    """Of all that Ray says, whether it is about the token."""
    return "; it asks for a token, or for another one" if _TOKEN.search(told) else ""
