"""From latents to frames: the VAE, as a whole or in tiles, with the transformer beside it or out of its way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch

from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.failure import FailureCode
from workers.cogvideox import hostmemory, room
from workers.cogvideox.loading import Pipeline
from workers.cogvideox.memory import memory_errors
from workers.engine.parts import Decoding

if TYPE_CHECKING:
    import numpy as np
    from diffusers import AutoencoderKLCogVideoX
    from numpy.typing import NDArray

# All that `enable_tiling` sets, and a whole decode reads.
_TILING = (
    "use_tiling",
    "tile_sample_min_height",
    "tile_sample_min_width",
    "tile_latent_min_height",
    "tile_latent_min_width",
)

# Tiles overlap by a sixth of their height and a fifth of their width (`AutoencoderKLCogVideoX`), which must be whole
# latent pixels: otherwise diffusers rounds twice and the tiles do not meet.
_TILE_HEIGHT_UNIT = 6
_TILE_WIDTH_UNIT = 5
# The tile of a 720x480 video, in latent pixels, which the VAE's authors found to show no seams.
_LARGEST_TILE = (30, 45)


class Decoder:
    """The VAE of one loaded model. Whatever befalls a decode, the next one finds everything where it was."""

    def __init__(self, pipeline: Pipeline, device: torch.device) -> None:
        self._pipeline = pipeline
        self._device = device

    def pixels(self, latents: torch.Tensor, how: Decoding = Decoding.WHOLE) -> torch.Tensor:
        """Latents decoded to float32 in [0, 1], [frames, height, width, 3], on the device.

        Raises `RenderFailed` (`nan_frames`, `out_of_memory`).
        """
        with torch.inference_mode(), memory_errors():
            _require_finite(latents, "latents")
            video = self._decode(latents, how)
            _require_finite(video, "frames")
            return (video * 0.5 + 0.5).clamp(0, 1).permute(1, 2, 3, 0).float()

    def frames(self, latents: torch.Tensor, how: Decoding = Decoding.WHOLE) -> NDArray[np.uint8]:
        """`pixels` in 8 bits, on the CPU."""
        pixels = self.pixels(latents, how)
        with torch.inference_mode(), memory_errors():
            # In place: a long video is gigabytes in 32 bits.
            rounded: NDArray[np.uint8] = pixels.mul_(255).round_().to(torch.uint8).cpu().numpy()
            return rounded

    def bring_back(self) -> None:
        """Everything onto the device, where an offloaded decode that failed may not have got it."""
        self._put_beside(self._device)

    # Parameters that were moved in inference mode could not be touched outside it, as an adapter's loading does.
    @torch.inference_mode(False)
    def _put_beside(self, device: torch.device) -> None:
        for module in (self._pipeline.transformer, self._pipeline.text_encoder):
            module.to(device)

    def _decode(self, latents: torch.Tensor, how: Decoding) -> torch.Tensor:
        """[channels, frames, height, width] in [-1, 1]."""
        if how is Decoding.WHOLE and self._device.type == "cpu":
            self._require_room(*latents.shape[-2:])
        with ExitStack() as arranged:
            if how is Decoding.OFFLOADED:
                arranged.enter_context(self._offloaded())
            if how is not Decoding.WHOLE:
                arranged.enter_context(_tiles(self._pipeline.vae, *latents.shape[-2:]))
            video: torch.Tensor = self._pipeline.decode_latents(latents)[0]
            return video

    def _require_room(self, height: int, width: int) -> None:
        """Raise `RenderFailed` (`out_of_memory`) where the host has too little: it would not fail, but kill."""
        vae = self._pipeline.vae
        needed = room.decode_bytes((8 * width, 8 * height), vae.config.block_out_channels[0], vae.dtype.itemsize)
        left = room.left(hostmemory.read())
        if needed > left:
            raise RenderFailed(
                FailureCode.OUT_OF_MEMORY, f"a decode takes {needed >> 20} MiB, and {left >> 20} MiB can be had"
            )

    @contextmanager
    def _offloaded(self) -> Iterator[None]:
        try:
            self._put_beside(torch.device("cpu"))
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            yield
        finally:
            self.bring_back()


@contextmanager
def _tiles(vae: AutoencoderKLCogVideoX, height: int, width: int) -> Iterator[None]:
    """Decode in tiles of about half the height and width (in latent pixels), as diffusers does for 720x480."""
    before = {name: getattr(vae, name) for name in _TILING}
    largest_height, largest_width = _LARGEST_TILE
    vae.enable_tiling(
        8 * _tile(height, largest_height, _TILE_HEIGHT_UNIT), 8 * _tile(width, largest_width, _TILE_WIDTH_UNIT)
    )
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(vae, name, value)


def _tile(side: int, largest: int, unit: int) -> int:
    return max(unit, min(largest, side // 2) // unit * unit)


def _require_finite(tensor: torch.Tensor, what: str) -> None:
    if not torch.isfinite(tensor).all():
        raise RenderFailed(FailureCode.NAN_FRAMES, f"the model produced {what} that are not finite numbers")
