"""The first-block cache: a step whose first block changes little reuses what the later blocks added before.

The idea is ParaAttention's (https://github.com/chengzeyi/ParaAttention, "First Block Cache"), after TeaCache
(arXiv:2411.19108). diffusers and cache-dit have it too, with state that hangs on the model under a context's name and
is written while a step runs. Here a render's state is an object of its own, replaced at once when a step has gone
through: renders can be interleaved, stopped or broken at any point, and a step can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
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
    """Of the step it names, for image tokens [batch, tokens, dim]: what the first block added, and all the others."""

    step: int
    first: torch.Tensor
    others: torch.Tensor


@dataclass(slots=True)
class StepCache:
    """What one render remembers between its steps, and which of them it skipped."""

    threshold: float
    memory: Memory | None = None
    skipped: set[int] = field(default_factory=set)

    def through(self, step: int, blocks: list[Block], total: Total) -> Iterator[Block]:
        """The blocks that step number `step` runs, one after the other; of two and more.

        A step may be repeated: what it computed the first time came to nothing, and is not what was before it.
        """
        if self.memory is not None and self.memory.step >= step:
            self.memory = None
        first, *middle, last = blocks
        before = led = ended = torch.empty(0)

        def lead(hidden_states: torch.Tensor, **others: Any) -> tuple[torch.Tensor, torch.Tensor]:
            nonlocal before, led
            before = hidden_states
            led, text = first(hidden_states=hidden_states, **others)
            return led, text

        def end(**inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
            nonlocal ended
            ended, text = last(**inputs)
            return ended, text

        yield lead
        added = led - before
        if self.memory is not None and _change(added, self.memory.first, total) < self.threshold:
            self.skipped.add(step)
            yield partial(_reuse, self.memory.others)
            return
        yield from middle
        yield end
        # The transformer asks for one block more: this step went through.
        self.memory = Memory(step, added, ended - led)


class Blocks(nn.ModuleList):
    """A transformer's blocks under their own names; while a cache is in use, iterating leaves out what it saves."""

    def __init__(self, blocks: nn.ModuleList, total: Total) -> None:
        super().__init__(blocks)
        self._total = total
        self._using: tuple[StepCache, int] | None = None

    def __iter__(self) -> Iterator[Any]:
        blocks = super().__iter__()
        if self._using is None:
            return blocks
        cache, step = self._using
        return cache.through(step, list(blocks), self._total)

    @contextmanager
    def using(self, cache: StepCache, step: int) -> Iterator[None]:
        """Let the forward inside, which is step number `step`, go through `cache`."""
        self._using = cache, step
        try:
            yield
        finally:
            self._using = None


def install(transformer: CogVideoXTransformer3DModel, total: Total = lambda sums: sums) -> Blocks:
    """Make `transformer` go through its blocks as `Blocks` iterates; without a cache in use that changes nothing."""
    blocks = Blocks(transformer.transformer_blocks, total)
    transformer.transformer_blocks = blocks
    return blocks


def _reuse(
    others: torch.Tensor, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, **_: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    # The text's tokens stay as they are: nothing behind the blocks reads them.
    return hidden_states + others, encoder_hidden_states


def _change(now: torch.Tensor, before: torch.Tensor, total: Total) -> float:
    """The relative difference (L1); not a number, and so over any threshold, where either is none."""
    sums = torch.stack([torch.linalg.vector_norm(each, 1, dtype=torch.float32) for each in (now - before, before)])
    difference, size = total(sums).tolist()
    return float(difference / size) if size else float("nan")
