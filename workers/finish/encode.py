"""Frames to an H.264 MP4 that starts to play before it is whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

from orchestrator.domain.delivery import Delivery
from workers.finish.frames import THREADS, Frame

# x264's constant rate factor: 18 is where its guide places "visually lossless".
# Without `cpu-independent` its macroblock tree reads memory that nobody has written (in the vectorized
# `mbtree_propagate_list`), and the same frames become another video each time.
_X264 = {"preset": "medium", "crf": "18", "x264-params": "cpu-independent=1"}
# Frames that x264 looks ahead are frames in memory. Its preset's 40 are kept for small ones; 1920x1080 has 20, the
# largest have 8.
_MOST_AHEAD, _LEAST_AHEAD = 40, 8
_PIXELS_AHEAD = 20 * 1920 * 1080


def write_video(frames: Iterable[Frame], delivery: Delivery, path: Path, metadata: Mapping[str, str]) -> None:
    """Write every frame, each shown for 1/fps seconds, and `metadata` under its own names (QuickTime `mdta` keys).

    Raises `OSError` when it cannot be written; what is there then is of no use.
    """
    ahead = max(_LEAST_AHEAD, min(_MOST_AHEAD, _PIXELS_AHEAD // (delivery.width * delivery.height)))
    with path.open("wb") as file, _container(file) as container:
        container.metadata.update(metadata)
        stream = container.add_stream("libx264", rate=delivery.fps, options={**_X264, "rc-lookahead": str(ahead)})
        stream.width, stream.height = delivery.width, delivery.height
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = THREADS
        # BT.709 for every size, converted to and declared: players guess the matrix of untagged video.
        stream.codec_context.colorspace = Colorspace.ITU709
        stream.codec_context.color_range = ColorRange.MPEG
        stream.codec_context.color_primaries = ColorPrimaries.BT709
        stream.codec_context.color_trc = ColorTrc.BT709
        reformatter = VideoReformatter()
        for frame in frames:
            yuv = reformatter.reformat(
                VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"),
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                threads=THREADS,
            )
            container.mux(stream.encode(yuv))
        container.mux(stream.encode())


def _container(file: BinaryIO) -> OutputContainer:
    """An MP4 with its index before the pictures (faststart), for which ffmpeg reads again what it has written.

    The file is ours to close: PyAV leaves one of its own open when the header does not go onto a full disk.
    """
    return av.open(
        file,
        "w",
        format="mp4",
        options={"movflags": "+faststart+use_metadata_tags"},
        io_open=lambda url, flags, options: Path(file.name).open("rb"),
    )
