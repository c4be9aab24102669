"""Frames to an H.264 MP4 that starts to play before it is whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter

from orchestrator.domain.delivery import Delivery
from workers.finish.frames import THREADS, Frame

# x264's constant rate factor: 18 is where its guide places "visually lossless".
_X264 = {"preset": "medium", "crf": "18"}
# x264 looks 40 frames ahead at this preset. It holds them in memory, so at larger sizes it looks less far.
_LOOKAHEAD_PIXELS = 40 * 1920 * 1080


def write_video(frames: Iterable[Frame], delivery: Delivery, path: Path, metadata: Mapping[str, str]) -> None:
    """Write every frame, each shown for 1/fps seconds, and `metadata` under its own names (QuickTime `mdta` keys).

    Raises `OSError` when it cannot be written; what is there then is of no use.
    """
    # The index goes before the pictures (faststart). BT.709 for every size, converted to and declared: untagged video
    # is shown with whichever matrix a player guesses.
    flags = {"movflags": "+faststart+use_metadata_tags"}
    with av.open(str(path), "w", format="mp4", options=flags) as container:
        container.metadata.update(metadata)
        lookahead = max(8, min(40, _LOOKAHEAD_PIXELS // (delivery.width * delivery.height)))
        stream = container.add_stream("libx264", rate=delivery.fps, options={**_X264, "rc-lookahead": str(lookahead)})
        stream.width, stream.height = delivery.width, delivery.height
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = THREADS
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
