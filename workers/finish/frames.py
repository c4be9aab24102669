"""Frames on their way from the model to the file, one at a time: a long 4K video never is in memory as a whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from orchestrator.domain.job import RenderSpec
from orchestrator.policy.charge import FINISHERS

# RGB, uint8: one picture [H, W, 3], and what was rendered [F, H, W, 3].
Frame = npt.NDArray[np.uint8]
Frames = npt.NDArray[np.uint8]

# Threads of ffmpeg for one video. All finishers of a worker together take no more than its cores, and several workers
# of one node share these.
THREADS = max(1, min(4, (os.cpu_count() or 1) // FINISHERS))


def nothing() -> None:
    """Nobody wants to know."""


class Interpolator(Protocol):
    """Brings frames from one rate to another."""

    def __call__(
        self, frames: Frames, *, fps: int, wanted: int, count: int, on_bad: Callable[[], None] = nothing
    ) -> Iterator[Frame]:
        """`count` frames, the first of them `frames[0]`, each 1/`wanted` seconds after the one before.

        `frames` are 1/`fps` seconds apart; after the last of them it stays. `on_bad` is called for a frame in which
        numbers were not finite.
        """
        ...


def check(frames: Frames, spec: RenderSpec) -> None:
    """Raise `ValueError` unless these frames are what `spec` renders, and enough for what it delivers."""
    rendered = (spec.num_frames, spec.height, spec.width, 3)
    if frames.dtype != np.uint8 or frames.shape != rendered:
        raise ValueError(f"frames must be uint8 {list(rendered)}, not {frames.dtype} {list(frames.shape)}")
    wanted = spec.delivery
    if wanted.width % 2 or wanted.height % 2:
        raise ValueError(f"4:2:0 chroma needs an even width and height, not {wanted.width}x{wanted.height}")
    if wanted.fps < spec.fps:
        raise ValueError(f"{wanted.fps} frames per second are fewer than the {spec.fps} that are rendered")
    if not 1 <= wanted.num_frames <= round(spec.num_frames * wanted.fps / spec.fps):
        raise ValueError(
            f"{spec.num_frames} frames at {spec.fps} fps do not last for {wanted.num_frames} at {wanted.fps}"
        )
