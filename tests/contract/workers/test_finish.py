"""What finishing promises of its files where nothing but encoding is to be done, told by decoding them again."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from PIL import Image

from tests.support.finishing import an_assignment_of, decode, finish, pictures, plain_finisher, psnr
from tests.support.frames import moving


def atoms(path: Path) -> list[str]:
    """Names of the top-level atoms in file order."""
    data, names, at = path.read_bytes(), [], 0
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        names.append(name.decode())
        at += length
    assert at == len(data)
    return names


@pytest.mark.parametrize(
    ("num_frames", "height", "width", "fps"),
    [(49, 480, 720, 8), (9, 64, 96, 8), (17, 96, 64, 16), (1, 64, 64, 8), (10, 66, 98, 30)],
)
def test_every_frame_comes_back_in_its_size_and_at_its_time(
    tmp_path: Path, num_frames: int, height: int, width: int, fps: int
) -> None:
    finished = finish(moving(num_frames, height, width), tmp_path, rate=fps)
    assert (finished.width, finished.height, finished.num_frames, finished.fps) == (width, height, num_frames, fps)
    with av.open(str(finished.video)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.frames == num_frames
        assert stream.average_rate == fps
        assert stream.duration is not None
        assert stream.time_base is not None
        assert stream.duration * stream.time_base == Fraction(num_frames, fps)
        frames = list(container.decode(stream))
    assert [(frame.width, frame.height) for frame in frames] == [(width, height)] * num_frames
    times = [frame.pts * frame.time_base for frame in frames if frame.pts is not None and frame.time_base is not None]
    assert times == [Fraction(index, fps) for index in range(num_frames)]


def test_the_picture_survives(tmp_path: Path) -> None:
    """Luma against luma: chroma at half the resolution is the format's own loss."""
    x = np.tile(np.arange(720), (480, 1))
    frames = np.stack([np.stack([(x // 3 + 5 * i) % 256] * 3, axis=-1) for i in range(9)]).astype(np.uint8)
    frames[:, 200:280, 300:380] = 255 - frames[:, 200:280, 300:380] // 2
    assert psnr(frames, pictures(finish(frames, tmp_path).video)) > 42


def test_saturated_colours_come_back_as_they_were(tmp_path: Path) -> None:
    """Converted with another matrix than the declared one, red would come back as (255, 23, 0)."""
    colours = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 100, 50)], np.uint8)
    frames = np.broadcast_to(np.repeat(colours, 32, axis=0), (9, 64, 192, 3)).copy()
    middles = pictures(finish(frames, tmp_path).video)[4, 32, 16::32].astype(int)
    assert np.abs(middles - colours).max() <= 3


def test_colour_tags_say_bt709_in_limited_range(tmp_path: Path) -> None:
    with av.open(str(finish(moving(9, 64, 96), tmp_path).video)) as container:
        codec = container.streams.video[0].codec_context
        assert codec.colorspace == Colorspace.ITU709
        assert codec.color_range == ColorRange.MPEG
        assert codec.color_primaries == ColorPrimaries.BT709
        assert codec.color_trc == ColorTrc.BT709


def test_the_index_comes_before_the_pictures(tmp_path: Path) -> None:
    names = atoms(finish(moving(9, 64, 96), tmp_path).video)
    assert names.index("moov") < names.index("mdat")


def test_the_cover_is_the_first_frame_exactly(tmp_path: Path) -> None:
    frames = moving(9, 64, 96)
    finished = finish(frames, tmp_path)
    with Image.open(finished.cover) as cover:
        assert cover.format == "PNG"
        assert np.array_equal(np.asarray(cover), frames[0])


def test_the_same_frames_become_the_same_video(tmp_path: Path) -> None:
    """Whatever lies in the memory that the encoder gets: only then are two equal renders equal to who watches them."""
    frames, chance = moving(9, 64, 96), np.random.default_rng(0)
    videos = []
    for _ in range(6):
        # Freed at once: what is allocated next finds numbers there.
        for size in range(6, 20):
            _ = [chance.integers(0, 256, 1 << size, dtype=np.uint8) for _ in range(10)]
        videos.append(pictures(finish(frames, tmp_path).video))
    assert all(np.array_equal(video, videos[0]) for video in videos[1:])


def test_frames_need_not_be_contiguous(tmp_path: Path) -> None:
    channels_first = np.ascontiguousarray(moving(9, 64, 96).transpose(3, 0, 1, 2))
    finished = finish(channels_first.transpose(1, 2, 3, 0), tmp_path)
    assert len(decode(finished.video)) == 9


@pytest.mark.parametrize(
    ("frames", "delivered", "blame"),
    [
        (np.zeros((9, 63, 96, 3), np.uint8), {}, "even width and height, not 96x63"),
        (np.zeros((9, 64, 96, 3), np.uint8), {"width": 95}, "even width and height, not 95x64"),
        (np.zeros((9, 64, 96, 3), np.float32), {}, "uint8 .* not float32"),
        (np.zeros((0, 64, 96, 3), np.uint8), {}, "do not last for 0"),
        (np.zeros((9, 64, 96, 3), np.uint8), {"num_frames": 10}, "9 frames at 8 fps do not last for 10 at 8"),
        (np.zeros((9, 64, 96, 3), np.uint8), {"fps": 4, "num_frames": 4}, "4 frames per second are fewer"),
    ],
    ids=["odd height", "odd width", "floats", "no frames", "too long", "too slow"],
)
def test_what_cannot_be_made_is_refused_by_name(
    tmp_path: Path, frames: npt.NDArray[np.uint8], delivered: dict[str, int], blame: str
) -> None:
    with pytest.raises(ValueError, match=blame):
        finish(frames, tmp_path, **delivered)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(9, 64, 98, 3), (8, 64, 96, 3), (9, 3, 64, 96), (64, 96, 3)])
def test_frames_of_another_shape_than_was_rendered_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assignment = an_assignment_of(moving(9, 64, 96))
    with pytest.raises(ValueError, match=r"uint8 \[9, 64, 96, 3\], not uint8"):
        plain_finisher().finish(assignment, np.zeros(shape, np.uint8), tmp_path, on_progress=lambda: None)


def test_whoever_stops_it_stops_it_soon_and_leaves_nothing(tmp_path: Path) -> None:
    class Cancelled(Exception):
        pass

    seen = 0

    def third_time() -> None:
        nonlocal seen
        seen += 1
        if seen == 3:
            raise Cancelled

    frames = moving(9, 64, 96)
    with pytest.raises(Cancelled):
        plain_finisher().finish(an_assignment_of(frames), frames, tmp_path, on_progress=third_time)
    assert seen == 3
    assert list(tmp_path.iterdir()) == []
