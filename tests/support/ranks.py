"""Processes that meet as the ranks of one worker, without Ray: what its actors do, they are told to."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from orchestrator.ports import WorkerPlan

# The first rank waits while torch is imported.
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Rank:
    """A process that does what it is told, one thing after the other."""

    process: BaseProcess
    line: Connection

    def tell(self, job: Callable[..., Any], *arguments: Any) -> None:
        self.line.send((job, arguments))

    def result(self) -> Any:
        """What the job returned. Raises what it raised, as a `RuntimeError`; `EOFError` when its process has ended."""
        assert self.line.poll(PATIENCE_S), "a rank hangs"
        result, error = self.line.recv()
        if error is not None:
            raise RuntimeError(error)
        return result

    def ended(self, within_s: float) -> bool:
        self.process.join(within_s)
        return not self.process.is_alive()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid


@contextmanager
def processes(count: int) -> Iterator[list[Rank]]:
    """That many ranks, whose processes end with the block; they are forked from one that has imported torch."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__, "workers.assembly", "workers.parallel.follower"])
    ranks = []
    try:
        for _ in range(count):
            ours, theirs = server.Pipe()
            process = server.Process(target=_obey, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            ranks.append(Rank(process, ours))
        yield ranks
    finally:
        for rank in ranks:
            rank.process.kill()
            rank.process.join()


def lead(ranks: list[Rank], plan: WorkerPlan, job: Callable[..., Any], *arguments: Any) -> None:
    """Have the first rank do `job(plan, *arguments)`, which calls `recruit`, and the others follow it."""
    leader, *followers = ranks
    leader.tell(job, plan, *arguments)
    address = leader.result()
    for number, follower in enumerate(followers, start=1):
        follower.tell(_follow, plan, number, address)


def led(ranks: list[Rank], plan: WorkerPlan, job: Callable[..., Any], *arguments: Any) -> Any:
    """What the job returns, after which nobody leads or follows any more."""
    lead(ranks, plan, job, *arguments)
    result = ranks[0].result()
    for follower in ranks[1:]:
        follower.result()
    return result


def recruit(address: str) -> None:
    """In a rank that leads: its followers shall come to this address."""
    assert _line is not None
    _line.send((address, None))


def _follow(plan: WorkerPlan, rank: int, address: str) -> None:
    from torch import distributed

    from workers.parallel.follower import follow

    try:
        follow(plan, rank, address)
    except RuntimeError:  # the leader has left
        distributed.destroy_process_group()


_line: Connection | None = None


def _obey(line: Connection) -> None:
    global _line
    _line = line
    gc.freeze()  # what was imported is walked over by no collection
    while True:
        job, arguments = line.recv()
        try:
            answer = job(*arguments), None
        except Exception as error:
            answer = None, f"{type(error).__name__}: {error}"
        gc.collect()  # what has led lets go of its followers
        line.send(answer)
