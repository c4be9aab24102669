"""How ranks divide a render: guidance times sequence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import distributed
from torch.distributed import ProcessGroup

from orchestrator.domain.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Mesh:
    """`guidance` ranks (1 or 2) share a batch of classifier-free guidance, `sequence` ranks each of its sequences.

    Rank r is number r // sequence of guidance and r % sequence of its sequence: neighbours talk the most.
    """

    guidance: int
    sequence: int

    @classmethod
    def of(cls, ranks: int, heads: int) -> Mesh:
        """Halve the batch first, which costs one exchange in a step; each attention costs two in a sequence.

        Raises `ConfigError` when the model's `heads` cannot be dealt out.
        """
        guidance = 2 if ranks % 2 == 0 else 1
        sequence = ranks // guidance
        if heads % sequence:
            raise ConfigError(f"gpus_per_worker {ranks}: {sequence} ranks cannot share {heads} attention heads evenly")
        return cls(guidance, sequence)

    def __str__(self) -> str:
        return f"{self.guidance}x{self.sequence}"


@dataclass(frozen=True, slots=True)
class Seat:
    """A rank's place along one side of the mesh: number `index` of the `size` ranks in `group`."""

    group: ProcessGroup
    index: int
    size: int

    def gather(self, part: torch.Tensor) -> list[torch.Tensor]:
        """Everybody's `part`, all of one shape, by index: the same bits on every rank."""
        part = part.contiguous()
        parts = [torch.empty_like(part) for _ in range(self.size)]
        distributed.all_gather(parts, part, group=self.group)
        return parts

    def exchange(self, parts: torch.Tensor) -> torch.Tensor:
        """Send `parts[i]` to rank i; gives what came, [size, ...], from rank i at i."""
        came = torch.empty_like(parts, memory_format=torch.contiguous_format)
        distributed.all_to_all_single(came, parts.contiguous(), group=self.group)
        return came
