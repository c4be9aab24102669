"""Frames with motion, fine detail and saturated colours, to encode and to look at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image


def moving(num_frames: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """RGB uint8 [F, H, W, 3]: a drifting gradient, a band of colour bars, and a white square that crosses it."""
    y, x = np.mgrid[0:height, 0:width]
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    bars = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255)], np.uint8)
    for index in range(num_frames):
        frames[index] = np.stack([x + 4 * index, y + 2 * index, (x + y) // 2 + 3 * index], axis=-1) % 256
        frames[index, : height // 4] = bars[(np.arange(width) * len(bars)) // width]
        left = (width - 16) * index // max(1, num_frames - 1)
        frames[index, height // 2 : height // 2 + 16, left : left + 16] = 255
    return frames


def disc(
    num_frames: int, height: int, width: int, *, radius: int, start: tuple[int, int], step: tuple[int, int] = (0, 0)
) -> npt.NDArray[np.uint8]:
    """RGB uint8 [F, H, W, 3]: a light textured disc on a dark one-coloured ground; `start` and `step` are (x, y)."""
    chance = np.random.default_rng(0)
    coarse = Image.fromarray(chance.integers(150, 255, (2 * radius // 8 + 2,) * 2, dtype=np.uint8))
    side = 2 * radius + 1
    light = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    inside = x * x + y * y <= radius * radius
    frames = np.full((num_frames, height, width, 3), 20, np.uint8)
    for index in range(num_frames):
        left, top = (start[axis] + index * step[axis] - radius for axis in (0, 1))
        frames[index, top : top + side, left : left + side][inside] = light[inside][:, None]
    return frames
