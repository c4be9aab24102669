"""To the delivered size: cropped in the middle to its aspect ratio, enlarged by a model if there is one, Lanczos."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from orchestrator.domain.catalog import Size
from workers.finish.frames import THREADS, Frame

# Without the full-chroma flags swscale halves the chroma of RGB on its way.
_LANCZOS = (
    Interpolation.LANCZOS | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP | Interpolation.FULL_CHR_H_INT
)


class Scaler:
    """Fills `target`, (width, height), with pictures of the size `source`. `enlarge` is asked where that needs more
    pixels than there are.
    """

    def __init__(self, source: Size, target: Size, enlarge: Callable[[Frame], Frame] | None) -> None:
        self._target = target
        self._crop = rows, columns = centre(source, target)
        grows = target[0] > columns.stop - columns.start or target[1] > rows.stop - rows.start
        self._enlarge = enlarge if grows else None
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Frame) -> Frame:
        cropped = frame[self._crop]
        if self._enlarge is not None:
            cropped = self._enlarge(cropped)
        width, height = self._target
        if cropped.shape[:2] == (height, width):
            return cropped
        scaled = self._reformatter.reformat(
            VideoFrame.from_ndarray(np.ascontiguousarray(cropped), format="rgb24"),
            width=width,
            height=height,
            interpolation=_LANCZOS,
            threads=THREADS,
        )
        return scaled.to_ndarray().astype(np.uint8, copy=False)


def centre(source: Size, target: Size) -> tuple[slice, slice]:
    """Rows and columns in the middle of `source` that have the aspect ratio of `target`, to the nearest pixel."""
    width, height = source
    cut_width = min(width, round(height * target[0] / target[1]))
    cut_height = min(height, round(width * target[1] / target[0]))
    top, left = (height - cut_height) // 2, (width - cut_width) // 2
    return slice(top, top + cut_height), slice(left, left + cut_width)
