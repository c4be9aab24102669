"""From what a model renders to what was asked for: rate, size, mark and stills, told by looking at the pictures."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from orchestrator.domain.catalog import COGVIDEOX_5B
from orchestrator.domain.delivery import shape_of
from tests.support.finishing import decode, finish, pictures, psnr
from tests.support.frames import disc, moving

Frames = npt.NDArray[np.uint8]


def centre_of_light(picture: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """x and y of the middle of what is lighter than the ground."""
    y, x = np.nonzero(picture.mean(axis=2) > 100)
    return float(x.mean()), float(y.mean())


def extent_of_light(picture: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """Width and height of what is lighter than the ground."""
    y, x = np.nonzero(picture.mean(axis=2) > 85)
    return int(np.ptp(x)) + 1, int(np.ptp(y)) + 1


# ---------------------------------------------------------------- rate


@pytest.mark.parametrize(
    ("rendered", "rate", "wanted", "count"), [(49, 8, 16, 96), (9, 8, 30, 30), (9, 8, 60, 68), (9, 8, 12, 1)]
)
def test_exactly_the_frames_asked_for_come_out_at_their_times(
    tmp_path: Path, rendered: int, rate: int, wanted: int, count: int
) -> None:
    finished = finish(moving(rendered, 64, 96), tmp_path, rate=rate, fps=wanted, num_frames=count)
    frames = decode(finished.video)
    with av.open(str(finished.video)) as container:
        assert container.streams.video[0].average_rate == wanted
    times = [frame.pts * frame.time_base for frame in frames if frame.pts is not None and frame.time_base is not None]
    assert times == [Fraction(index, wanted) for index in range(count)]


def test_what_is_said_of_a_video_is_what_its_file_has(tmp_path: Path) -> None:
    """Not what was rendered: that has another rate, size and number of frames."""
    finished = finish(moving(9, 64, 96), tmp_path, fps=24, num_frames=20, width=128, height=80)
    with av.open(str(finished.video)) as container:
        stream = container.streams.video[0]
        assert (finished.fps, finished.num_frames) == (stream.average_rate, stream.frames) == (24, 20)
        assert (finished.width, finished.height) == (stream.width, stream.height) == (128, 80)


def test_rendered_frames_stay_where_they_are_between_new_ones(tmp_path: Path) -> None:
    frames = disc(9, 128, 192, radius=24, start=(40, 64), step=(12, 0))
    shown = pictures(finish(frames, tmp_path, fps=16, num_frames=17).video)
    assert min(psnr(rendered, as_shown) for rendered, as_shown in zip(frames, shown[::2], strict=True)) > 34


def test_a_moving_thing_is_found_halfway_and_once(tmp_path: Path) -> None:
    """Blended frames would show two discs, each at half its strength."""
    frames = disc(9, 128, 192, radius=24, start=(40, 64), step=(12, 2))
    shown = pictures(finish(frames, tmp_path, fps=16, num_frames=16).video)
    for index in (3, 7, 11):
        x, y = centre_of_light(shown[index])
        assert abs(x - (40 + 12 * index / 2)) < 1.5
        assert abs(y - (64 + 2 * index / 2)) < 1.5
        assert abs(np.ptp(np.nonzero(shown[index].mean(axis=2) > 100)[1]) - 48) <= 3


def test_a_shorter_delivery_is_the_beginning(tmp_path: Path) -> None:
    frames = moving(9, 64, 96)
    shown = pictures(finish(frames, tmp_path, num_frames=5).video)
    assert len(shown) == 5
    assert np.abs(shown.astype(int) - frames[:5])[:, 20:, :, :].mean() < 12


# ---------------------------------------------------------------- size


@pytest.mark.parametrize(
    ("width", "height"), [(720, 480), (640, 360), (360, 480), (240, 240), (120, 80)], ids=lambda side: str(side)
)
def test_a_circle_stays_a_circle_in_the_middle(tmp_path: Path, width: int, height: int) -> None:
    frames = disc(3, 240, 360, radius=80, start=(180, 120))
    picture = pictures(finish(frames, tmp_path, width=width, height=height).video)[1]
    assert picture.shape == (height, width, 3)
    scale = max(width / 360, height / 240)
    wide, tall = extent_of_light(picture)
    assert abs(wide - 161 * scale) <= 3
    assert abs(tall - 161 * scale) <= 3
    x, y = centre_of_light(picture)
    assert abs(x - (width - 1) / 2) < 1.5
    assert abs(y - (height - 1) / 2) < 1.5


def test_colours_survive_scaling_and_interpolation(tmp_path: Path) -> None:
    colours = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 100, 50)], np.uint8)
    frames = np.broadcast_to(np.repeat(colours, 32, axis=0), (9, 128, 192, 3)).copy()
    shown = pictures(finish(frames, tmp_path, width=384, height=256, fps=16, num_frames=16).video)
    assert np.abs(shown[7, 128, 32::64].astype(int) - colours).max() <= 5


def test_fine_detail_survives_enlarging(tmp_path: Path) -> None:
    """Against the picture that was made small: Lanczos keeps what bilinear scaling would blur."""
    y, x = np.mgrid[0:256, 0:384]
    large = (127 + 60 * np.sin(x / 5) + 60 * np.sin(y / 7 + x / 11)).astype(np.uint8)
    small = np.asarray(Image.fromarray(large).resize((192, 128), Image.Resampling.LANCZOS))
    frames = np.broadcast_to(small[None, :, :, None], (3, 128, 192, 3)).copy()
    shown = pictures(finish(frames, tmp_path, width=384, height=256).video)[1]
    assert psnr(np.stack([large] * 3, axis=-1)[8:-8, 8:-8], shown[8:-8, 8:-8]) > 38


def test_the_largest_size_and_rate_come_out_as_planned(tmp_path: Path) -> None:
    """3840x2160 at 60 fps of a few small frames; `tests/benchmarks/finish.py` makes all of it."""
    shape = shape_of(COGVIDEOX_5B, size=(3840, 2160), seconds=6, num_frames=None, fps=60, watermark=False, max_crop=0.4)
    assert (shape.width, shape.height, shape.num_frames, shape.delivery.num_frames) == (720, 480, 49, 360)
    finished = finish(moving(9, 48, 72), tmp_path, width=3840, height=2160, fps=60, num_frames=3)
    frames = decode(finished.video)
    assert [(frame.width, frame.height) for frame in frames] == [(3840, 2160)] * 3


# ---------------------------------------------------------------- mark


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 64), (16, 16), (720, 480), (1280, 720), (1080, 1920)])
@pytest.mark.parametrize("ground", [0, 255])
def test_the_mark_is_seen_on_any_ground_and_hides_little(tmp_path: Path, width: int, height: int, ground: int) -> None:
    frames = np.full((2, height, width, 3), ground, np.uint8)
    finished = finish(frames, tmp_path, watermark=True)
    shown = pictures(finished.video)[-1].astype(int)
    changed = np.abs(shown - ground).max(axis=2) > 40
    assert 0.001 < changed.mean() < 0.5
    rows, columns = np.nonzero(changed)
    assert rows.max() > height * 0.6
    assert columns.max() > width * 0.6
    marked = shown[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert marked.max() > 190, "the letters are light"
    if ground:
        assert marked.min() < 130, "and their plate is dark"


def test_video_and_stills_carry_the_mark_and_only_where_it_was_asked_for(tmp_path: Path) -> None:
    ground = np.full((4, 128, 192, 3), 255, np.uint8)
    for name, watermark in (("marked", True), ("plain", False)):
        directory = tmp_path / name
        directory.mkdir()
        finished = finish(ground, directory, watermark=watermark)
        stills = [np.asarray(Image.open(path)) for path in (finished.cover, finished.thumbnail, finished.spritesheet)]
        for picture in (*pictures(finished.video), *stills):
            assert bool(picture.min() < 130) is watermark


# ---------------------------------------------------------------- stills


def test_cover_and_thumbnail_are_the_first_delivered_frame(tmp_path: Path) -> None:
    frames = disc(9, 240, 360, radius=60, start=(100, 120), step=(10, 0))
    finished = finish(frames, tmp_path, width=1440, height=960, fps=16, num_frames=4)
    with Image.open(finished.cover) as cover, Image.open(finished.thumbnail) as thumbnail:
        assert (cover.format, cover.size) == ("PNG", (1440, 960))
        assert (thumbnail.format, thumbnail.size) == ("WEBP", (512, 341))
        assert abs(centre_of_light(np.asarray(cover))[0] - 400) < 4
        assert abs(centre_of_light(np.asarray(thumbnail))[0] - 400 * 512 / 1440) < 2


@pytest.mark.parametrize(("count", "columns", "rows"), [(49, 5, 5), (9, 3, 3), (2, 2, 1), (1, 1, 1)])
def test_the_sheet_shows_frames_at_even_distances_row_by_row(
    tmp_path: Path, count: int, columns: int, rows: int
) -> None:
    frames = np.empty((count, 64, 96, 3), np.uint8)
    frames[:] = np.arange(count, dtype=np.uint8)[:, None, None, None] * 5
    with Image.open(finish(frames, tmp_path).spritesheet) as sheet:
        assert (sheet.format, sheet.size) == ("JPEG", (columns * 96, rows * 64))
        shades = np.asarray(sheet.convert("L"))[32::64, 48::96].reshape(-1).astype(int)
    expected = [place * count // len(shades) * 5 for place in range(len(shades))]
    assert np.abs(shades - expected).max() <= 2
