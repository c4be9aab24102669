"""Super-resolution: a picture enlarged by a checkpoint that spandrel reads, in tiles where it is large."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch

from orchestrator.domain.errors import ConfigError
from workers.finish.frames import Frame, nothing
from workers.finish.interpolate import to_frame, to_tensor

# Pixels of a tile's side and of what it sees of its neighbours, before enlarging: bounds the network's memory to that
# of one tile whatever the picture, and keeps seams out of it.
_TILE = 512
_MARGIN = 32


class Network(Protocol):
    """A super-resolution network (`spandrel.ImageModelDescriptor`): [1, 3, H, W] to `scale` times that, 0 to 1."""

    @property
    def scale(self) -> int: ...

    def __call__(self, picture: torch.Tensor) -> torch.Tensor: ...


class Upscaler:
    """Enlarges frames by the whole factor `network.scale`."""

    def __init__(self, network: Network, device: torch.device, *, tile: int = _TILE) -> None:
        self._network = network
        self._device = device
        self._tile = tile

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Upscaler:
        """From a checkpoint. Raises `ConfigError` when spandrel is not installed or cannot read it as what enlarges."""
        try:
            from spandrel import ImageModelDescriptor, ModelLoader
        except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that was built for another torch
            raise ConfigError(f"finish.upscaler: needs spandrel (the extra `upscale`): {error}") from error
        try:
            network = ModelLoader(device).load_from_file(path)
        except Exception as error:  # spandrel's own, and whatever a broken file sets off in torch and safetensors
            raise ConfigError(f"finish.upscaler: {path} cannot be loaded: {error}") from error
        if not isinstance(network, ImageModelDescriptor) or network.scale < 2 or network.output_channels != 3:
            raise ConfigError(f"finish.upscaler: {path} does not enlarge pictures")
        return cls(network.eval(), device)

    @torch.inference_mode()
    def __call__(self, frame: Frame, on_bad: Callable[[], None] = nothing) -> Frame:
        """The frame, enlarged. `on_bad` is called when numbers in it are not finite."""
        picture = to_tensor(frame, self._device)
        height, width = frame.shape[:2]
        if max(height, width) <= self._tile:
            return to_frame(self._network(picture), on_bad)
        scale = self._network.scale
        whole = torch.empty(1, 3, height * scale, width * scale, device=self._device)
        for top in range(0, height, self._tile):
            for left in range(0, width, self._tile):
                bottom, right = min(top + self._tile, height), min(left + self._tile, width)
                y, x = max(0, top - _MARGIN), max(0, left - _MARGIN)
                seen = self._network(picture[:, :, y : bottom + _MARGIN, x : right + _MARGIN])
                whole[:, :, top * scale : bottom * scale, left * scale : right * scale] = seen[
                    :, :, (top - y) * scale : (bottom - y) * scale, (left - x) * scale : (right - x) * scale
                ]
        return to_frame(whole, on_bad)
