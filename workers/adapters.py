"""LoRA adapters: loaded when a render asks, switched between renders, kept in a bounded cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.config import AdapterSettings
from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.job import RenderSpec

if TYPE_CHECKING:
    from diffusers import CogVideoXImageToVideoPipeline, CogVideoXPipeline


class Adapters:
    """The adapters of one loaded model: at most `capacity` in memory, at most one active. For one thread at a time."""

    def __init__(
        self,
        pipeline: CogVideoXPipeline | CogVideoXImageToVideoPipeline,
        configured: Mapping[str, AdapterSettings],
        resolve: Callable[[str], Path],
        capacity: int,
    ) -> None:
        self._pipeline = pipeline
        self._configured = configured
        self._resolve = resolve
        self._capacity = capacity
        self._loaded: OrderedDict[str, None] = OrderedDict()

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the adapters in memory, the least recently used first."""
        return tuple(self._loaded)

    def use(self, spec: RenderSpec) -> None:
        """Make the spec's adapter, or none, the active one. Raises `RenderFailed` (`adapter_unusable`)."""
        if spec.adapter is not None:
            raise RenderFailed("adapter_unusable", f"adapter {spec.adapter!r}: not yet", retryable=False)

    def revision(self, name: str) -> str:
        """16 hex digits of the hash of an adapter's content. Raises `RenderFailed` (`adapter_unusable`)."""
        raise RenderFailed("adapter_unusable", f"adapter {name!r}: not yet", retryable=False)
