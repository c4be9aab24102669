"""The ranks of one worker: how they meet, what their leader tells them, and how long they wait for each other.

What a rank is to do next goes over gloo, where followers wait as long as there is nothing to do; tensors go over NCCL
on GPUs, where a rank that waits longer than `WAIT_S` for another gives up. Whichever way a rank ends, its connections
break and the others' calls fail: a group that has lost one is ended whole, never mended.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

# `torch.distributed.TCPStore`, which type checkers do not find there.
from torch._C._distributed_c10d import TCPStore
from torch.distributed import ProcessGroup

from orchestrator.domain.errors import ConfigError
from orchestrator.domain.job import RenderSpec
from workers.parallel.mesh import Mesh, Seat

Layout = tuple[torch.Size, torch.dtype]

LEADER = 0

# A rank starts once its GPU is free; one that a dead leader's follower held is soon.
JOIN_S = 600.0

# The longest that a rank waits for another in the midst of a forward, which takes seconds.
WAIT_S = 300.0

_FOR_EVER = timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the leader says before each forward: whose it is, and which tensors follow.

    `render` is a number, `done` how many of its steps are; no forward will be of those in `dropped` any more. `layouts`
    are shapes and types by the tensors' names.
    """

    render: int
    spec: RenderSpec
    done: int
    dropped: tuple[int, ...]
    layouts: Mapping[str, Layout]


class Store:
    """Where ranks meet: a key-value store in the leader's process, at `address` (`host:port`)."""

    def __init__(self, store: TCPStore) -> None:
        self.store = store
        self.address = f"{store.host}:{store.port}"

    @classmethod
    def opened(cls, host: str) -> Store:
        """The leader's, on a free port of `host`."""
        join = timedelta(seconds=JOIN_S)
        return cls(TCPStore(host, 0, is_master=True, timeout=join, wait_for_workers=False))

    @classmethod
    def at(cls, address: str) -> Store:
        """The leader's, for a follower."""
        host, _, port = address.rpartition(":")
        return cls(TCPStore(host, int(port), is_master=False, timeout=timedelta(seconds=JOIN_S)))


class Group:
    """A rank among `size`, once all have met."""

    def __init__(self, store: Store, rank: int, size: int, device: torch.device, *, wait_s: float = WAIT_S) -> None:
        """Wait for the others. Raises `RuntimeError` when they do not come within `JOIN_S`."""
        self._device = device
        self._wait = timedelta(seconds=wait_s)
        distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=store.store,
            rank=rank,
            world_size=size,
            timeout=self._wait,
        )
        self.rank = rank
        self.size = size
        self._control = distributed.new_group(backend="gloo", timeout=_FOR_EVER)

    @classmethod
    def led(
        cls, size: int, device: torch.device, host: str, recruit: Callable[[str], None], *, wait_s: float = WAIT_S
    ) -> Group:
        """The leader's: opens a store on `host` and has `recruit` start those who meet at its address."""
        store = Store.opened(host)
        recruit(store.address)
        return cls(store, LEADER, size, device, wait_s=wait_s)

    def seats(self, mesh: Mesh) -> tuple[Seat, Seat]:
        """This rank's seats in guidance and in its sequence. Called by all."""
        columns = [list(range(column, self.size, mesh.sequence)) for column in range(mesh.sequence)]
        rows = [list(range(first, first + mesh.sequence)) for first in range(0, self.size, mesh.sequence)]
        row, column = divmod(self.rank, mesh.sequence)
        return (
            Seat(self._subgroup(columns), row, mesh.guidance),
            Seat(self._subgroup(rows), column, mesh.sequence),
        )

    @contextmanager
    def together(self) -> Iterator[None]:
        """Wait at the end for the others' blocks. Raises `ConfigError` on every rank when one of them has failed."""
        problem = None
        try:
            yield
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        problems: list[str | None] = [None] * self.size
        distributed.all_gather_object(problems, problem, group=self._control)
        for rank, found in enumerate(problems):
            if found is not None:
                raise ConfigError(f"rank {rank} of {self.size}: {found}")

    def tell(self, word: Any) -> None:
        """The leader's word to all followers. Raises `RuntimeError` when one of them does not take it in time."""
        said = torch.frombuffer(bytearray(pickle.dumps(word)), dtype=torch.uint8)
        for tensor in (torch.tensor([said.numel()]), said):
            # With a timeout of its own: followers wait for a word for ever, and gloo sends only to who waits.
            distributed.broadcast(tensor, src=LEADER, group=self._control, async_op=True).wait(self._wait)

    def hear(self) -> Any:
        """The leader's next word, whenever it comes. Raises `RuntimeError` when the leader is gone."""
        length = torch.empty(1, dtype=torch.int64)
        distributed.broadcast(length, src=LEADER, group=self._control)
        heard = torch.empty(int(length), dtype=torch.uint8)
        distributed.broadcast(heard, src=LEADER, group=self._control)
        return pickle.loads(heard.numpy().tobytes())

    def send(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """The leader's tensors to all followers."""
        for tensor in tensors.values():
            distributed.broadcast(tensor.contiguous(), src=LEADER)

    def receive(self, layouts: Mapping[str, Layout]) -> dict[str, torch.Tensor]:
        """What the leader sends."""
        tensors = {}
        for name, (shape, dtype) in layouts.items():
            tensors[name] = torch.empty(shape, dtype=dtype, device=self._device)
            distributed.broadcast(tensors[name], src=LEADER)
        return tensors

    def total(self, sums: torch.Tensor) -> torch.Tensor:
        """The sum of everybody's, the same bits on every rank."""
        everybodys = [torch.empty_like(sums) for _ in range(self.size)]
        distributed.all_gather(everybodys, sums)
        return torch.stack(everybodys).sum(0)

    def _subgroup(self, parts: list[list[int]]) -> ProcessGroup:
        """This rank's of the groups that part all ranks. Every rank makes all of them, in one order."""
        groups = [distributed.new_group(part, timeout=self._wait) for part in parts]
        mine: ProcessGroup = next(group for group, part in zip(groups, parts, strict=True) if self.rank in part)
        return mine
