"""More frames per second: by ffmpeg's motion-compensated minterpolate, or by a model of the operator's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
import torch
from av.filter import Graph
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from orchestrator.domain.errors import ConfigError
from workers.finish.frames import THREADS, Frame, Frames, nothing

# https://ffmpeg.org/ffmpeg-filters.html#minterpolate. On a textured disc over a textured ground, frames in between have
# a PSNR of 48 dB with these, 47 dB with the defaults, 45 dB with `me_mode=bilat`, 27 dB blended.
_MOTION = "mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1"


def by_motion(
    frames: Frames, *, fps: int, wanted: int, count: int, on_bad: Callable[[], None] = nothing
) -> Iterator[Frame]:
    """Implements `Interpolator` with minterpolate.

    The filter looks at four frames and fills the gap in the middle, so one more is needed at either end. Chroma stays
    whole (4:4:4), since what comes out may be scaled up.
    """
    height, width = frames.shape[1:3]
    graph = Graph()
    graph.threads = THREADS
    source = graph.add_buffer(
        width=width, height=height, format=VideoFormat("yuv444p", width, height), time_base=Fraction(1, fps)
    )
    graph.link_nodes(source, graph.add("minterpolate", f"fps={wanted}:{_MOTION}"), graph.add("buffersink")).configure()
    last = math.ceil(Fraction((count - 1) * fps, wanted))
    into, out_of = VideoReformatter(), VideoReformatter()
    for index in range(-1, last + 2):
        picture = np.ascontiguousarray(frames[min(max(index, 0), len(frames) - 1)])
        frame = into.reformat(
            VideoFrame.from_ndarray(picture, format="rgb24"),
            format="yuv444p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=THREADS,
        )
        frame.pts, frame.time_base = index, Fraction(1, fps)
        graph.vpush(frame)
        for made in _ready(graph):
            if made.pts is not None and 0 <= made.pts < count:
                rgb = out_of.reformat(
                    made,
                    format="rgb24",
                    src_colorspace=Colorspace.ITU709,
                    src_color_range=ColorRange.MPEG,
                    dst_color_range=ColorRange.JPEG,
                    threads=THREADS,
                )
                yield rgb.to_ndarray().astype(np.uint8, copy=False)


def _ready(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


class Between(Protocol):
    """A model: the picture at `t` [1], more than 0 and less than 1, of the way from one frame to the next.

    Pictures are RGB [1, 3, H, W], float32 from 0 to 1, of any height and width: what the network needs padded it pads.
    """

    def __call__(self, frame0: torch.Tensor, frame1: torch.Tensor, t: torch.Tensor) -> torch.Tensor: ...


class ByModel:
    """Implements `Interpolator` with a model; frames that fall on a rendered one are that frame, untouched."""

    def __init__(self, model: Between, device: torch.device) -> None:
        self._model = model
        self._device = device

    @classmethod
    def load(cls, path: Path, device: torch.device) -> ByModel:
        """From a TorchScript file whose `forward` is `Between`. Raises `ConfigError`."""
        try:
            model = torch.jit.load(path, map_location=device).eval()  # type: ignore[no-untyped-call]
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigError(f"finish.interpolator: {path} is no TorchScript file: {error}") from error
        return cls(model, device)

    def __call__(
        self, frames: Frames, *, fps: int, wanted: int, count: int, on_bad: Callable[[], None] = nothing
    ) -> Iterator[Frame]:
        for index in range(count):
            before, rest = divmod(index * fps, wanted)
            if rest == 0 or before >= len(frames) - 1:
                yield frames[min(before, len(frames) - 1)]
            else:
                yield self._between(frames[before], frames[before + 1], rest / wanted, on_bad)

    @torch.inference_mode()
    def _between(self, frame0: Frame, frame1: Frame, t: float, on_bad: Callable[[], None]) -> Frame:
        moment = torch.tensor([t], dtype=torch.float32, device=self._device)
        between = self._model(to_tensor(frame0, self._device), to_tensor(frame1, self._device), moment)
        return to_frame(between, on_bad)


def to_tensor(frame: Frame, device: torch.device) -> torch.Tensor:
    """A frame as a model takes it: [1, 3, H, W], float32 from 0 to 1."""
    return torch.from_numpy(frame.copy()).to(device).permute(2, 0, 1).unsqueeze(0).float() / 255


def to_frame(picture: torch.Tensor, on_bad: Callable[[], None]) -> Frame:
    """What a model returned, [1, 3, H, W] from 0 to 1, as a frame. `on_bad` is called for one that is not finite.

    There it is black: what a number that is none becomes in 8 bits, no two devices agree about.
    """
    if not torch.isfinite(picture).all():
        on_bad()
        picture = picture.nan_to_num(0, 0, 0)
    frame = (picture[0].float().clamp(0, 1) * 255).round().to(torch.uint8)
    array: Frame = frame.permute(1, 2, 0).contiguous().cpu().numpy()
    return array
