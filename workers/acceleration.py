"""How a loaded transformer is made quick: attention backend, compiled block, 8-bit linears, step cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import torch

from orchestrator.config import PoolSettings
from orchestrator.domain.catalog import ModelFamily
from orchestrator.domain.job import RenderSpec
from workers import attention

if TYPE_CHECKING:
    from diffusers import CogVideoXTransformer3DModel


class Stepping(Protocol):
    """What of a render the step cache needs (`workers/render.py`)."""

    @property
    def spec(self) -> RenderSpec: ...


class Acceleration:
    """What was done to one loaded transformer; for the one thread that steps it."""

    @classmethod
    def prepare(
        cls,
        transformer: CogVideoXTransformer3DModel,
        family: ModelFamily,
        device: torch.device,
        settings: PoolSettings,
    ) -> Acceleration:
        """Make `transformer` as quick as `settings` allow, in place. Raises `ConfigError` where they ask too much."""
        attention.install(transformer, attention.native)
        return cls()

    def facts(self, spec: RenderSpec) -> Mapping[str, str]:
        """What of it decides the bits of a render of this spec; part of its numerics fingerprint."""
        return {"attention": "native"}

    @contextmanager
    def around(self, render: Stepping) -> Iterator[None]:
        """Wrap each forward of a render that steps alone; its profile may let it skip most of the blocks."""
        yield

    def forget(self, render: Stepping) -> None:
        """`render` steps no more: give back what was remembered for it."""
