"""What a decoder finds in an MP4."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np


@dataclass(frozen=True, slots=True)
class Probe:
    """Its size, and its frames as they were counted by decoding all of them."""

    width: int
    height: int
    frames: int
    fps: float

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


def probe(path: Path) -> Probe:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        assert stream.average_rate is not None
        return Probe(stream.width, stream.height, frames, float(stream.average_rate))


def pixels(path: Path) -> bytes:
    """Every decoded picture's pixels."""
    with av.open(str(path)) as container:
        frames = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
        return b"".join(np.ascontiguousarray(frame).tobytes() for frame in frames)
