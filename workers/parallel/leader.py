"""The rank that holds the render: before each forward it tells the others what they need for it.

Everything about a render but the forward of its steps is the leader's alone: prompts, schedulers, generators, decoding,
checkpoints. So followers hold no state that a restored render would have to bring back, but for step caches, which
every render begins without.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import torch

from orchestrator.config import PoolSettings
from orchestrator.domain.catalog import ModelFamily
from orchestrator.telemetry import logs
from workers.cogvideox.acceleration import Acceleration, Stepping
from workers.parallel.group import Group
from workers.parallel.mesh import Mesh
from workers.parallel.share import Share
from workers.parallel.words import Step

if TYPE_CHECKING:
    from diffusers import CogVideoXTransformer3DModel

_log = logs.get("leader")


def end_process(error: Exception) -> NoReturn:
    """End this process, and with it the group: whatever befell one rank, the others wait for what will not come."""
    _log.critical("group_lost", error=f"{type(error).__name__}: {error}"[:500])
    os._exit(1)


class LeadersAcceleration(Acceleration):
    """Knows which render steps, and which will not any more."""

    stepping: Stepping | None = None
    forgotten: tuple[Stepping, ...] = ()

    @contextmanager
    def around(self, render: Stepping) -> Iterator[None]:
        self.stepping = render
        with super().around(render):
            yield

    def forget(self, render: Stepping) -> None:
        super().forget(render)
        self.forgotten += (render,)


class Leader:
    """A `Transform` (`workers/cogvideox/model.py`) over a group's ranks. An error in one of them ends all: `lost`."""

    def __init__(
        self,
        group: Group,
        transformer: CogVideoXTransformer3DModel,
        family: ModelFamily,
        device: torch.device,
        settings: PoolSettings,
        *,
        lost: Callable[[Exception], NoReturn] = end_process,
    ) -> None:
        """Prepare `transformer` together with the followers. Raises `ConfigError` when one of them cannot."""
        self.mesh = Mesh.of(group.size, transformer.config.num_attention_heads)
        self._group = group
        self._lost = lost
        self._numbers: dict[Stepping, int] = {}
        self._fresh = itertools.count()
        with group.together():
            self.acceleration = LeadersAcceleration.prepare(transformer, family, device, settings, total=group.total)
        # Two backends that are equally quick may be timed differently elsewhere, and all must have the same.
        group.tell(self.acceleration.attention)
        with group.together():
            self._share = Share(transformer, *group.seats(self.mesh))

    def __call__(
        self,
        *,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None,
        ofs: torch.Tensor | None,
    ) -> torch.Tensor:
        tensors = {
            "hidden_states": hidden_states,
            "encoder_hidden_states": encoder_hidden_states,
            "timestep": timestep,
        }
        if image_rotary_emb is not None:
            tensors["cosines"], tensors["sines"] = image_rotary_emb
        if ofs is not None:
            tensors["ofs"] = ofs
        try:
            self._group.tell(self._step(tensors))
            self._group.send(tensors)
            return self._share(
                hidden_states=hidden_states,
                encoder_hidden_states=encoder_hidden_states,
                timestep=timestep,
                image_rotary_emb=image_rotary_emb,
                ofs=ofs,
            )
        except Exception as error:
            self._lost(error)

    def _step(self, tensors: Mapping[str, torch.Tensor]) -> Step:
        render = self.acceleration.stepping
        assert render is not None
        numbers = (self._numbers.pop(forgotten, None) for forgotten in self.acceleration.forgotten)
        dropped = tuple(number for number in numbers if number is not None)
        self.acceleration.forgotten = ()
        if render not in self._numbers:
            self._numbers[render] = next(self._fresh)
        return Step(
            render=self._numbers[render],
            spec=render.spec,
            done=render.step,
            dropped=dropped,
            layouts={name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()},
        )
