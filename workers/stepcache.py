"""The first-block cache: a step whose first block changes little reuses what the later blocks added before.

The idea is ParaAttention's (https://github.com/chengzeyi/ParaAttention, "First Block Cache"), after TeaCache
(arXiv:2411.19108). diffusers and cache-dit have it too, with state that hangs on the model under a context's name and
is written while a step runs. Here a render's state is an object of its own, replaced at once when a step has gone
through: renders can be interleaved, stopped or broken at any point, and a step can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn

if TYPE_CHECKING:
    from diffusers import CogVideoXTransformer3DModel

# Image and text tokens, each [batch, tokens, dim], to the same; and what else diffusers passes to a block.
Block: TypeAlias = Callable[..., tuple[torch.Tensor, torch.Tensor]]

# Makes [2] sums over this process's tokens those over all tokens, where ranks share a render.
Total: TypeAlias = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Memory:
    """Of the last computed step, for image tokens [batch, tokens, dim]: what the first block added, and the others."""

    first: torch.Tensor
    others: torch.Tensor


@dataclass(slots=True)
class StepCache:
    """What one render remembers between its steps, and how many of them it computed and skipped."""

    threshold: float
    memory: Memory | None = None
    computed: int = 0
    skipped: int = 0

    def through(self, blocks: list[Block], total: Total) -> Iterator[Block]:
        """The blocks that this step runs, one after the other; for two and more."""
        first, *middle, last = blocks
        added = finished = torch.empty(0)

        def lead(hidden_states: torch.Tensor, **others: Any) -> tuple[torch.Tensor, torch.Tensor]:
            nonlocal added, finished
            finished, text = first(hidden_states=hidden_states, **others)
            added = finished - hidden_states
            return finished, text

        yield lead
        led, memory = finished, self.memory
        if memory is not None and _change(added, memory.first, total) <= self.threshold:
            # The text's tokens end here: nothing after the blocks reads them.
            yield lambda hidden_states, encoder_hidden_states, **_: (
                hidden_states + memory.others,
                encoder_hidden_states,
            )
            self.skipped += 1
            return
        yield from middle

        def end(**inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
            nonlocal finished
            finished, text = last(**inputs)
            return finished, text

        yield end
        # Reached when the transformer asks for another block: this step went through.
        self.memory = Memory(added, finished - led)
        self.computed += 1


class Blocks(nn.ModuleList):
    """A transformer's blocks under their own names; while a cache is in use, iterating leaves out what it saves."""

    def __init__(self, blocks: nn.ModuleList, total: Total) -> None:
        super().__init__(blocks)
        self._total = total
        self._cache: StepCache | None = None

    def __iter__(self) -> Iterator[Any]:
        blocks = super().__iter__()
        return blocks if self._cache is None else self._cache.through(list(blocks), self._total)

    @contextmanager
    def using(self, cache: StepCache) -> Iterator[None]:
        """Let the forwards inside go through `cache`."""
        self._cache = cache
        try:
            yield
        finally:
            self._cache = None


def install(transformer: CogVideoXTransformer3DModel, total: Total = lambda sums: sums) -> Blocks:
    """Make `transformer` go through its blocks as `Blocks` iterates; without a cache in use that changes nothing."""
    blocks = Blocks(transformer.transformer_blocks, total)
    transformer.transformer_blocks = blocks
    return blocks


def _change(now: torch.Tensor, before: torch.Tensor, total: Total) -> float:
    """The relative difference (L1); not a number, and so over any threshold, where either is none."""
    sums = torch.stack([torch.linalg.vector_norm(each, 1, dtype=torch.float32) for each in (now - before, before)])
    difference, size = total(sums).tolist()
    return float(difference / size) if size else float("nan")
