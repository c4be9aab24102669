"""A picture's colours and transparency come as a person would see them, whatever its kind of file and of pixel."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator.config import FetchSettings
from tests.support import colours
from tests.support.checked import check_picture
from tests.support.colours import ADOBE_RGB, DISPLAY_P3, SRGB, Space
from tests.support.pngs import GREY, GREY_ALPHA, PALETTE, RGB, RGB_ALPHA, chunk, png
from workers.bucket.picture import fit

WHITE = (255, 255, 255)


def seen(data: bytes) -> list[tuple[int, ...]]:
    """The colours in the middle of the left and the right half, of a picture that is accepted at the door."""
    picture = check_picture(data, FetchSettings())
    width, height = picture.upright
    pixels = fit(data, width, height)
    return [tuple(int(level) for level in pixels[height // 2, at]) for at in (width // 4, 3 * width // 4)]


def halves(left: Any, right: Any) -> list[Any]:
    return [left] * 16 + [right] * 16


# For each kind of PNG (section 11.2.1, table 11.1) the samples of its left half, which is transparent, and of its
# right, which is not; how that is said; and what the right half looks like.
KINDS_OF_PNG = [
    (GREY, 1, (0,), (1,), [struct.pack(">H", 0)], WHITE),
    (GREY, 1, (1,), (0,), [struct.pack(">H", 1)], (0, 0, 0)),
    (GREY, 2, (3,), (1,), [struct.pack(">H", 3)], (85, 85, 85)),
    (GREY, 2, (1,), (2,), [struct.pack(">H", 1)], (170, 170, 170)),
    (GREY, 4, (15,), (2,), [struct.pack(">H", 15)], (34, 34, 34)),
    (GREY, 8, (0,), (77,), [struct.pack(">H", 0)], (77, 77, 77)),
    (GREY, 8, (200,), (77,), [struct.pack(">H", 200)], (77, 77, 77)),
    (GREY, 16, (0,), (0x8080,), [struct.pack(">H", 0)], (128, 128, 128)),
    (GREY, 16, (0x1234,), (0x1235,), [struct.pack(">H", 0x1234)], (18, 18, 18)),
    (GREY, 16, (0xFFFF,), (0,), [struct.pack(">H", 0xFFFF)], (0, 0, 0)),
    (RGB, 8, (0, 0, 0), (9, 80, 200), [struct.pack(">3H", 0, 0, 0)], (9, 80, 200)),
    (RGB, 8, (9, 80, 201), (9, 80, 200), [struct.pack(">3H", 9, 80, 201)], (9, 80, 200)),
    (RGB, 16, (0, 0, 0), (0x0909, 0x5050, 0xC8C8), [struct.pack(">3H", 0, 0, 0)], (9, 80, 200)),
    (RGB, 16, (4660, 22136, 39612), (0x0909, 0x5050, 0xC8C8), [struct.pack(">3H", 4660, 22136, 39612)], (9, 80, 200)),
    *((PALETTE, depth, (0,), (1,), [b"\0"], (9, 80, 200)) for depth in (1, 2, 4, 8)),
    *((PALETTE, depth, (1,), (0,), [b"\xff\0"], (250, 1, 2)) for depth in (1, 2, 4, 8)),
    (GREY_ALPHA, 8, (0, 0), (77, 255), [], (77, 77, 77)),
    (GREY_ALPHA, 16, (0, 0), (0x4D4D, 0xFFFF), [], (77, 77, 77)),
    (RGB_ALPHA, 8, (0, 0, 0, 0), (9, 80, 200, 255), [], (9, 80, 200)),
    (RGB_ALPHA, 16, (0, 0, 0, 0), (0x0909, 0x5050, 0xC8C8, 0xFFFF), [], (9, 80, 200)),
]  # fmt: skip


@pytest.mark.parametrize(("colour", "depth", "left", "right", "said", "shown"), KINDS_OF_PNG)
def test_every_kind_of_png_shows_its_transparency_as_white_and_the_rest_as_it_is(
    colour: int, depth: int, left: tuple[int, ...], right: tuple[int, ...], said: list[bytes], shown: tuple[int, ...]
) -> None:
    palette = [chunk(b"PLTE", bytes([250, 1, 2, 9, 80, 200]))] if colour == PALETTE else []
    transparency = [chunk(b"tRNS", body) for body in said]
    data = png(colour, depth, halves(left, right), *palette, *transparency)
    assert seen(data) == [WHITE, shown]


@pytest.mark.parametrize("colour", [GREY, RGB])
@pytest.mark.parametrize("depth", [8, 16])
def test_without_transparency_the_same_kinds_hide_nothing(colour: int, depth: int) -> None:
    samples = 1 if colour == GREY else 3
    assert seen(png(colour, depth, halves((0,) * samples, (2**depth - 1,) * samples))) == [(0, 0, 0), WHITE]


def test_half_transparent_pixels_let_as_much_white_through_in_8_bits_as_in_16() -> None:
    for colour, depth, dark in (
        (GREY_ALPHA, 8, (0, 128)),
        (GREY_ALPHA, 16, (0, 0x8080)),
        (RGB_ALPHA, 16, (0, 0, 0, 0x8080)),
    ):
        assert seen(png(colour, depth, halves(dark, dark))) == [(127, 127, 127)] * 2


# ------------------------------------------------------------ colour profiles

LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "JPEG": {"quality": 100, "subsampling": 0},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    "HEIF": {"quality": -1, "chroma": "444"},
}
SOME = [(200, 60, 60), (60, 170, 90), (128, 128, 128), (30, 40, 160), (255, 255, 255), (0, 0, 0)]
# Some that sRGB has not: there it shows its nearest.
BEYOND = [(255, 0, 0), (0, 255, 0), (20, 255, 90)]


def filled(mode: str, colour: Any, kind: str, profile: bytes | None, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (32, 16), colour).save(out, kind, icc_profile=profile, **LOSSLESS[kind], **options)
    return out.getvalue()


@pytest.mark.parametrize("space", [DISPLAY_P3, ADOBE_RGB, SRGB], ids=["Display P3", "Adobe RGB", "sRGB"])
@pytest.mark.parametrize("kind", LOSSLESS)
def test_colours_of_another_space_come_as_the_same_ones_of_srgb(kind: str, space: Space) -> None:
    profile = colours.rgb_profile(space)
    for colour in SOME + (BEYOND if kind == "PNG" else []):
        shown = seen(filled("RGB", colour, kind, profile))[0]
        expected = colours.in_srgb(space, colour)
        assert np.abs(shown - expected).max() <= (2 if kind in ("PNG", "WEBP") else 6), (colour, shown, expected)


def test_the_reference_knows_what_is_published_of_p3() -> None:
    """Of CSS Color 4's examples: color(display-p3 0 1 0) is beyond sRGB, and this grey-green is not."""
    assert np.allclose(colours.in_srgb(SRGB, (200, 60, 60)), (200, 60, 60))
    assert np.allclose(colours.in_srgb(DISPLAY_P3, (128, 128, 128)), (128, 128, 128), atol=0.5)
    assert np.allclose(colours.in_srgb(DISPLAY_P3, (0, 255, 0)), (0, 255, 0))
    assert np.linalg.inv(SRGB.to_xyz) @ DISPLAY_P3.to_xyz == pytest.approx(
        np.array([[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]]), abs=5e-4
    )


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA", "L"])
def test_a_profile_holds_for_every_kind_of_pixel_that_it_can_be_about(mode: str) -> None:
    space, colour = ADOBE_RGB, (90, 90, 90) if mode.startswith("L") else (200, 60, 60)
    image = Image.new("RGB", (32, 16), colour)
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    out = io.BytesIO()
    image.save(out, "PNG", icc_profile=colours.rgb_profile(space))
    assert np.allclose(seen(out.getvalue())[0], colours.in_srgb(space, colour), atol=2)


@pytest.mark.parametrize(("mode", "colour"), [("L", 90), ("LA", (90, 255)), ("I;16", 90 * 257)])
def test_grey_of_a_profile_of_its_own_comes_as_the_grey_of_srgb(mode: str, colour: Any) -> None:
    out = io.BytesIO()
    Image.new(mode, (32, 16), colour).save(out, "PNG", icc_profile=colours.grey_profile(1.0))
    assert np.allclose(seen(out.getvalue())[0], colours.encoded(np.full(3, 90 / 255)), atol=2)


INKS = {
    (0, 0, 0, 0): (100.0, 0.0, 0.0),
    (1, 0, 0, 0): (60.0, -20.0, -30.0),
    (0, 1, 0, 0): (55.0, 50.0, 0.0),
    (0, 0, 1, 0): (88.0, 0.0, 60.0),
}


@pytest.mark.parametrize("inks", INKS)
def test_inks_come_as_their_profile_says_that_they_look(inks: tuple[int, int, int, int]) -> None:
    data = filled("CMYK", tuple(255 * ink for ink in inks), "JPEG", colours.cmyk_profile(INKS))
    assert np.allclose(seen(data)[0], colours.lab_in_srgb(*INKS[inks]), atol=4)


@pytest.mark.parametrize(
    ("profile", "mode", "colour", "expected"),
    [
        pytest.param(b"no profile", "RGB", (200, 60, 60), (200, 60, 60), id="no profile"),
        pytest.param(colours.rgb_profile(DISPLAY_P3)[:300], "RGB", (200, 60, 60), (200, 60, 60), id="cut off"),
        pytest.param(b"\0" * 500, "RGB", (200, 60, 60), (200, 60, 60), id="zeros"),
        pytest.param(colours.grey_profile(1.0), "RGB", (200, 60, 60), (200, 60, 60), id="grey of colours"),
        pytest.param(colours.cmyk_profile(INKS), "RGB", (200, 60, 60), (200, 60, 60), id="inks of lights"),
        pytest.param(colours.rgb_profile(DISPLAY_P3), "CMYK", (0, 255, 255, 0), (255, 0, 0), id="lights of inks"),
        pytest.param(
            colours.rgb_profile(DISPLAY_P3).replace(b"RGB XYZ ", b"Lab XYZ "),
            "RGB",
            (9, 80, 200),
            (9, 80, 200),
            id="Lab",
        ),
    ],
)
def test_a_profile_that_is_broken_or_about_something_else_costs_nothing(
    profile: bytes, mode: str, colour: Any, expected: tuple[int, int, int]
) -> None:
    for kind in ("JPEG", "PNG") if mode == "RGB" else ("JPEG",):
        assert np.allclose(seen(filled(mode, colour, kind, profile))[0], expected, atol=3), kind


def test_no_damage_to_a_profile_costs_the_picture() -> None:
    whole = colours.rgb_profile(DISPLAY_P3)
    for at in range(0, 400, 7):
        seen(filled("RGB", (200, 60, 60), "PNG", whole[:at] + b"\xff" + whole[at + 1 :]))


# ------------------------------------------------------------ what a PNG carries beside its pixels

NOISE = np.random.default_rng(2).bytes(1_200_000)
LETTERS = b"the very same words " * 150_000  # 3 MB, that pack into some kB


def iccp(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"P3\0\0" + zlib.compress(profile))


def packed_text(text: bytes, keyword: bytes = b"Comment") -> bytes:
    return chunk(b"zTXt", keyword + b"\0\0" + zlib.compress(text))


def packed_international(text: bytes, keyword: bytes = b"XML:com.adobe.xmp") -> bytes:
    return chunk(b"iTXt", keyword + b"\0\1\0\0\0" + zlib.compress(text))


@pytest.mark.parametrize(
    "beside",
    [
        pytest.param([packed_text(LETTERS)], id="3 MB of packed text"),
        pytest.param([packed_international(LETTERS)], id="3 MB of packed XMP"),
        pytest.param([packed_text(LETTERS, b"Raw profile type exif")], id="3 MB of packed EXIF"),
        pytest.param([chunk(b"tEXt", b"Comment\0" + LETTERS)], id="3 MB of text"),
        pytest.param([packed_text(LETTERS[:900_000], b"%d" % number) for number in range(80)], id="72 MB in all"),
        pytest.param([packed_text(b"")[:-1] + b"?"], id="text with a wrong checksum"),
        pytest.param([chunk(b"zTXt", b"Comment\0\0not packed at all")], id="damaged text"),
        pytest.param([chunk(b"iCCP", b"P3\0\0not packed at all")], id="a damaged profile"),
        pytest.param([chunk(b"iCCP", b"P3\0\0" + zlib.compress(bytes(64 * 2**20)))], id="64 MiB of a profile"),
    ],
)
@pytest.mark.parametrize("behind", [False, True])
def test_whatever_a_whole_png_carries_beside_its_pixels_it_is_a_picture(beside: list[bytes], behind: bool) -> None:
    pixels = halves((200, 60, 60), (60, 60, 200))
    data = png(RGB, 8, pixels, tail=b"".join(beside)) if behind else png(RGB, 8, pixels, *beside)
    assert seen(data) == [(200, 60, 60), (60, 60, 200)]


def test_a_profile_of_more_than_a_mebibyte_is_obeyed() -> None:
    profile = colours.rgb_profile(DISPLAY_P3, padding=len(NOISE))
    assert len(profile) > 2**20
    shown = seen(png(RGB, 8, halves((200, 60, 60), (60, 60, 200)), iccp(profile)))
    assert np.allclose(shown[0], colours.in_srgb(DISPLAY_P3, (200, 60, 60)), atol=2)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"), id="eXIf"),
        pytest.param(chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'), id="XMP"),
        pytest.param(packed_international(b'<x tiff:Orientation="6"/>'), id="packed XMP"),
    ],
)
def test_text_that_says_how_a_png_is_turned_is_heard(said: bytes) -> None:
    data = png(RGB, 8, halves((200, 60, 60), (60, 60, 200)), said, packed_text(LETTERS))
    assert check_picture(data, FetchSettings()).upright == (16, 32)
    pixels = fit(data, 16, 32)
    assert (pixels[8, 8].tolist(), pixels[24, 8].tolist()) == ([200, 60, 60], [60, 60, 200])
