"""Frames to files: an H.264 MP4 that starts to play before it is whole, and a PNG cover."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from PIL import Image

# x264's constant rate factor: 18 is where its guide places "visually lossless".
_X264 = {"preset": "medium", "crf": "18"}


@dataclass(frozen=True)
class Encoded:
    """The files of one finished render, and what is in the video: pixels, frames, frames per second."""

    video: Path
    cover: Path
    width: int
    height: int
    num_frames: int
    fps: int


def encode(frames: npt.NDArray[np.uint8], fps: int, directory: Path) -> Encoded:
    """Write `video.mp4` and `cover.png` into `directory`; both of them, or neither.

    `frames` is RGB, uint8 [F, H, W, 3]. Every frame is kept, each shown for 1/fps seconds. The cover is the first
    frame, so that a player which shows it as its poster begins to play without a jump.
    Raises `ValueError` for frames that H.264 with 4:2:0 chroma cannot hold, and `OSError` when they cannot be written.
    """
    _check(frames, fps)
    num_frames, height, width, _ = frames.shape
    video, cover = directory / "video.mp4", directory / "cover.png"
    try:
        _write_video(frames, fps, video)
        Image.fromarray(frames[0]).save(cover)
    except BaseException:
        video.unlink(missing_ok=True)
        cover.unlink(missing_ok=True)
        raise
    return Encoded(video=video, cover=cover, width=width, height=height, num_frames=num_frames, fps=fps)


def _check(frames: npt.NDArray[np.uint8], fps: int) -> None:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or frames.size == 0:
        raise ValueError(f"frames must be uint8 [F, H, W, 3] with F > 0, not {frames.dtype} {list(frames.shape)}")
    _, height, width, _ = frames.shape
    if width % 2 or height % 2:
        raise ValueError(f"frames must have an even width and height for 4:2:0 chroma, not {width}x{height}")
    if fps < 1:
        raise ValueError(f"fps must be at least 1, not {fps}")


def _write_video(frames: npt.NDArray[np.uint8], fps: int, path: Path) -> None:
    # BT.709 for every size, converted to and declared: untagged video is shown with whichever matrix a player guesses.
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps, options=_X264)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = Colorspace.ITU709
        stream.codec_context.color_range = ColorRange.MPEG
        stream.codec_context.color_primaries = ColorPrimaries.BT709
        stream.codec_context.color_trc = ColorTrc.BT709
        for frame in frames:
            rgb = VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            yuv = rgb.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
            container.mux(stream.encode(yuv))
        container.mux(stream.encode())
