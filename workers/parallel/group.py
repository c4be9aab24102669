"""The ranks of one worker: what their leader tells them, and how long they wait for each other.

What a rank is to do next goes over gloo, where followers wait as long as there is nothing to do; tensors go over NCCL
on GPUs, where a rank that waits longer than `WAIT_S` for another gives up. Whichever way a rank ends, its connections
break and the others' calls fail: a group that has lost one is ended whole, never mended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed
from torch.distributed import ProcessGroup

from orchestrator.domain.errors import ConfigError
from workers.parallel import words
from workers.parallel.meeting import Meeting
from workers.parallel.mesh import Mesh, Seat
from workers.parallel.words import Layout, Word

LEADER = 0

# The longest that a rank waits for another in the midst of a forward, which takes seconds.
WAIT_S = 300.0

_FOR_EVER = timedelta(days=365)


class Group:
    """A rank among `size`, once all have met."""

    def __init__(self, meeting: Meeting, rank: int, size: int, device: torch.device, *, wait_s: float = WAIT_S) -> None:
        """Wait for the others. Raises `RuntimeError` when they do not come within `JOIN_S`."""
        self._meeting = meeting
        self._device = device
        self._wait = timedelta(seconds=wait_s)
        distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=meeting.store,
            rank=rank,
            world_size=size,
            timeout=self._wait,
        )
        self.rank = rank
        self.size = size
        self._control = distributed.new_group(backend="gloo", timeout=_FOR_EVER)

    @classmethod
    def led(
        cls,
        size: int,
        device: torch.device,
        meeting: Meeting,
        recruit: Callable[[str], None],
        *,
        wait_s: float = WAIT_S,
    ) -> Group:
        """The leader's: has `recruit` start those who come to the address of its meeting."""
        recruit(meeting.address)
        return cls(meeting, LEADER, size, device, wait_s=wait_s)

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
        for rank, found in enumerate(self._gathered(problem)):
            if found is not None:
                raise ConfigError(f"rank {rank} of {self.size}: {found}")

    def tell(self, word: Word) -> None:
        """The leader's word to all followers. Raises `RuntimeError` when one of them does not take it in time."""
        said = _bytes(word)
        for tensor in (torch.tensor([said.numel()]), said):
            # With a timeout of its own: followers wait for a word for ever, and gloo sends only to who waits.
            distributed.broadcast(tensor, src=LEADER, group=self._control, async_op=True).wait(self._wait)

    def hear(self) -> Word:
        """The leader's next word, whenever it comes. Raises `RuntimeError` when the leader is gone."""
        length = torch.empty(1, dtype=torch.int64)
        distributed.broadcast(length, src=LEADER, group=self._control)
        heard = torch.empty(_bounded(length), dtype=torch.uint8)
        distributed.broadcast(heard, src=LEADER, group=self._control)
        return words.read(heard.numpy().tobytes())

    def _gathered(self, word: Word) -> list[Word]:
        """What every rank says, in their order."""
        said = _bytes(word)
        lengths = [torch.empty(1, dtype=torch.int64) for _ in range(self.size)]
        distributed.all_gather(lengths, torch.tensor([said.numel()]), group=self._control)
        longest = max(map(_bounded, lengths))
        heard = [torch.empty(longest, dtype=torch.uint8) for _ in range(self.size)]
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: said.numel()] = said
        distributed.all_gather(heard, padded, group=self._control)
        return [words.read(each[: int(length)].numpy().tobytes()) for each, length in zip(heard, lengths, strict=True)]

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


def _bytes(word: Word) -> torch.Tensor:
    return torch.frombuffer(bytearray(words.written(word)), dtype=torch.uint8)


def _bounded(length: torch.Tensor) -> int:
    if not 0 <= int(length) <= words.MAX_BYTES:
        raise RuntimeError(f"a rank wants to say {int(length)} bytes")
    return int(length)
