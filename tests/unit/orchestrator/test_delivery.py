"""What a model renders for what is asked: no time is stretched, little is cropped, the rest is refused by name."""

from __future__ import annotations

import itertools
import math
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.domain.catalog import FAMILIES, ModelFamily, Size
from orchestrator.domain.delivery import MAX_FPS, Delivery, Shape, crop_loss, shape_of
from orchestrator.domain.errors import InvalidField, Unsupported

MAX_CROP = 0.4
TEXT_2B, TEXT_5B, IMAGE_5B = FAMILIES["cogvideox-2b"], FAMILIES["cogvideox-5b"], FAMILIES["cogvideox-5b-i2v"]

families = st.sampled_from(list(FAMILIES.values()))
sides = st.integers(16, 4096).map(lambda side: side - side % 2)

# WIRE.md, 1.2 and 2.1: every size, rate and length that the two dialects name.
SIZES: list[Size] = [
    (1280, 720), (720, 1280), (1024, 1024), (1920, 1080), (1080, 1920), (2048, 1080), (3840, 2160), (720, 480),
    (1280, 960), (960, 1280), (1440, 960), (1024, 1792), (1792, 1024),
]  # fmt: skip
RATES = (16, 24, 30, 60)
LENGTHS = (4, 5, 6, 8, 10, 12, 16, 20)

# A landscape model would lose more than `max_crop` of its picture to these.
TOO_NARROW = {(720, 1280), (1080, 1920), (960, 1280), (1024, 1792)}
# And the wide one of 1.5 to this.
TOO_SQUARE = {"cogvideox-1.5-5b": {(1024, 1024)}}


def shape(
    family: ModelFamily = TEXT_2B,
    *,
    size: Size | None = None,
    seconds: float | None = None,
    num_frames: int | None = None,
    fps: int | None = None,
    picture: Size | None = None,
    small: bool = False,
) -> Shape:
    return shape_of(
        family,
        size=size,
        seconds=seconds,
        num_frames=num_frames,
        fps=fps,
        watermark=False,
        max_crop=MAX_CROP,
        picture=picture,
        small=small,
    )


def test_the_vendors_six_seconds_at_1440x960_and_16_fps_come_from_49_native_frames() -> None:
    made = shape(size=(1440, 960), seconds=6, fps=16)
    assert (made.width, made.height, made.num_frames) == (720, 480, 49)
    assert made.delivery == Delivery(width=1440, height=960, num_frames=96, fps=16)
    assert made.delivery.seconds == 6


def test_4k_and_60_fps_are_planned_from_the_native_size() -> None:
    made = shape(TEXT_5B, size=(3840, 2160), seconds=5, fps=60)
    assert (made.width, made.height, made.num_frames) == (720, 480, 41)
    assert made.delivery == Delivery(width=3840, height=2160, num_frames=300, fps=60)
    assert crop_loss((720, 480), (3840, 2160)) == pytest.approx(0.15625)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_model_makes_its_own_size_length_and_rate_without_finishing(family: ModelFamily) -> None:
    made = shape(family)
    assert (made.width, made.height) == (made.delivery.width, made.delivery.height) == family.default_size
    assert made.num_frames == made.delivery.num_frames == family.default_frames
    assert made.delivery.fps == family.fps


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_every_row_of_the_vendors_tables_works_or_is_refused_by_name(family: ModelFamily) -> None:
    upright = any(height > width for width, height in family.sizes)
    refused_sizes = TOO_SQUARE.get(family.name, set()) | (set() if upright else TOO_NARROW)
    for size, fps, seconds in itertools.product(SIZES, RATES, LENGTHS):
        row = f"{size[0]}x{size[1]} at {fps} fps for {seconds} s"
        blamed = "seconds" if seconds > family.max_seconds else "size" if size in refused_sizes else None
        if blamed is not None:
            with pytest.raises(Unsupported) as refused:
                shape(family, size=size, seconds=seconds, fps=fps)
            assert refused.value.param == blamed, row
            continue
        made = shape(family, size=size, seconds=seconds, fps=fps)
        assert made.delivery == Delivery(width=size[0], height=size[1], num_frames=seconds * fps, fps=fps)
        assert made.num_frames in family.legal_frames(), row
        assert made.num_frames >= seconds * family.fps, row


@given(families, sides, sides, st.floats(0.05, 11), st.integers(1, 70))
def test_whatever_is_planned_keeps_its_promises(
    family: ModelFamily, width: int, height: int, seconds: float, fps: int
) -> None:
    try:
        made = shape(family, size=(width, height), seconds=seconds, fps=fps)
    except Unsupported:
        return
    wanted = made.delivery
    assert (wanted.width, wanted.height, wanted.fps) == (width, height, fps)
    assert (made.width, made.height) in family.sizes
    assert made.num_frames in family.legal_frames()
    # No frame is shown later than it was rendered for, nor beyond the last one: time is cut, never stretched.
    assert wanted.num_frames == max(1, round(seconds * fps))
    assert wanted.seconds <= made.num_frames / family.fps + 1 / fps
    assert abs(wanted.seconds - seconds) <= max(0.5 / fps, 1 / fps - seconds) + 1e-9
    if (width, height) not in family.sizes:
        assert crop_loss((made.width, made.height), (width, height)) <= MAX_CROP
        assert all(
            crop_loss((made.width, made.height), (width, height)) <= crop_loss(other, (width, height)) + 1e-6
            for other in family.sizes
        )


@given(families, st.data())
def test_a_frame_count_is_rendered_exactly_and_shown_whole(family: ModelFamily, data: st.DataObject) -> None:
    fps = data.draw(st.integers(family.fps, MAX_FPS))
    frames = data.draw(st.sampled_from(family.legal_frames()))
    made = shape(family, num_frames=frames, seconds=1, fps=fps)  # it wins over the seconds
    assert made.num_frames == frames
    assert abs(made.delivery.seconds - frames / family.fps) <= 0.5 / fps + 1e-9


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_size_and_length_of_a_family_is_rendered_as_it_is(family: ModelFamily) -> None:
    for size, frames in itertools.product(family.sizes, family.legal_frames()):
        made = shape(family, size=size, num_frames=frames)
        assert (made.width, made.height, made.num_frames) == (*size, frames)
        assert (made.delivery.width, made.delivery.height, made.delivery.num_frames) == (*size, frames)


@given(families, st.data())
def test_a_small_render_has_a_draft_size_and_the_delivery_that_was_asked_for(
    family: ModelFamily, data: st.DataObject
) -> None:
    size = data.draw(st.sampled_from(family.sizes))
    made, small = shape(family, size=size), shape(family, size=size, small=True)
    assert (small.num_frames, small.delivery) == (made.num_frames, made.delivery)
    assert (small.width, small.height) == family.draft_size(size)
    assert small.width <= made.width
    assert small.height <= made.height


@given(families, st.integers(-10, 200))
def test_a_frame_count_that_the_model_does_not_render_is_refused(family: ModelFamily, frames: int) -> None:
    assume(frames not in family.legal_frames())
    with pytest.raises(Unsupported) as refused:
        shape(family, num_frames=frames)
    assert refused.value.param == "num_frames"


@pytest.mark.parametrize("fps", [7, 0, -8, 61, 10**9])
def test_a_rate_below_the_models_own_or_beyond_60_is_refused(fps: int) -> None:
    with pytest.raises(Unsupported) as refused:
        shape(fps=fps)
    assert refused.value.param == "fps"


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
def test_a_length_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidField) as refused:
        shape(seconds=seconds)
    assert refused.value.param == "seconds"


@pytest.mark.parametrize(
    "size", [(0, 0), (-720, -480), (14, 14), (4098, 4098), (4096, 2160), (721, 480), (720, 481), (10**9, 10**9)]
)
def test_a_size_that_no_file_may_have_is_refused(size: Size) -> None:
    with pytest.raises(Unsupported) as refused:
        shape(size=size)
    assert refused.value.param == "size"


def test_an_image_model_renders_its_one_shape_whatever_is_shown_of_it() -> None:
    made = shape(IMAGE_5B, seconds=2, fps=8)
    assert (made.num_frames, made.delivery.num_frames) == (49, 16)


# ------------------------------------------------------------ the picture that a video begins at

IMAGE_15 = FAMILIES["cogvideox-1.5-5b-i2v"]
image_families = st.sampled_from([family for family in FAMILIES.values() if family.image_to_video])
pictures = st.tuples(st.integers(16, 8000), st.integers(16, 8000))


@given(image_families, pictures)
def test_without_a_size_the_legal_one_nearest_to_the_pictures_shape_is_rendered(
    family: ModelFamily, picture: Size
) -> None:
    losses = {size: crop_loss(picture, size) for size in family.sizes}
    assume(min(losses.values()) <= MAX_CROP)
    made = shape(family, picture=picture)
    chosen = (made.width, made.height)
    assert chosen == (made.delivery.width, made.delivery.height)
    assert losses[chosen] <= min(losses.values()) + 1e-6


@pytest.mark.parametrize(
    ("picture", "size"),
    [
        ((4032, 3024), (1024, 768)),
        ((3024, 4032), (768, 1024)),
        ((1080, 1920), (768, 1360)),
        ((1920, 1080), (1360, 768)),
        ((500, 500), (768, 768)),
    ],
)
def test_a_phones_picture_is_rendered_by_15_in_its_own_shape(picture: Size, size: Size) -> None:
    made = shape(IMAGE_15, picture=picture)
    assert (made.width, made.height) == size


@given(image_families, pictures, st.none() | st.tuples(sides, sides))
def test_no_more_of_a_picture_is_lost_than_may_be(family: ModelFamily, picture: Size, size: Size | None) -> None:
    blamed, made = None, None
    try:
        made = shape(family, picture=picture, size=size)
    except Unsupported as refused:
        blamed = refused.param
    if made is None:
        assert blamed in ("size", "image")
        return
    rendered, target = (made.width, made.height), (made.delivery.width, made.delivery.height)
    assert 1 - (1 - crop_loss(picture, rendered)) * (1 - crop_loss(rendered, target)) <= MAX_CROP + 1e-9


def test_a_picture_that_no_size_fits_is_refused_with_what_would_do() -> None:
    with pytest.raises(Unsupported) as refused:
        shape(IMAGE_5B, picture=(400, 1600))
    assert (refused.value.param, refused.value.message) == (
        "image",
        "has 400x1600 pixels, of which 720x480 would crop 83% away, and at most 40% are allowed; cogvideox-5b-i2v "
        "renders 720x480: crop the picture to between 0.90 and 2.50 times as wide as high",
    )


def test_a_picture_that_the_asked_for_size_does_not_fit_is_refused_with_those_that_would() -> None:
    with pytest.raises(Unsupported) as refused:
        shape(IMAGE_15, picture=(3024, 4032), size=(1360, 768))
    assert refused.value.param == "image"
    assert refused.value.message.endswith(
        "of which 1360x768 would crop 58% away, and at most 40% are allowed; size 768x1024 or 768x1040 or 768x1008 "
        "would do"
    )


def test_what_the_delivery_crops_counts_for_the_picture_too() -> None:
    """A square loses a third to 720x480, which would be allowed, and a sixth of the rest to 16:9."""
    assert shape(IMAGE_5B, picture=(800, 800)).width == 720
    with pytest.raises(Unsupported) as refused:
        shape(IMAGE_5B, picture=(800, 800), size=(1280, 720))
    assert "1280x720 would crop 44% away" in refused.value.message
    assert "size 720x480 would do" in refused.value.message


@given(image_families, pictures)
def test_sizes_that_a_refusal_names_are_rendered(family: ModelFamily, picture: Size) -> None:
    for size in family.sizes[:: max(1, len(family.sizes) // 4)]:
        try:
            shape(family, picture=picture, size=size)
        except Unsupported as refused:
            for named in re.findall(r"(\d+)x(\d+)(?= or| would do)", refused.message):
                shape(family, picture=picture, size=(int(named[0]), int(named[1])))
