"""Pictures: how callers may write them down, and which bytes are one."""

from __future__ import annotations

import base64
import random
import struct
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from orchestrator.config import FetchSettings
from orchestrator.domain.errors import InvalidField, RequestError, TooLarge
from orchestrator.domain.request import ImageBytes, ImageUrl
from orchestrator.intake import images
from orchestrator.intake.images import parse_image
from orchestrator.pictures import opening
from tests.support.checked import check_picture

SETTINGS = FetchSettings()
KINDS = ["PNG", "JPEG", "WEBP", "AVIF", "HEIF"]
OTHERS = Path(__file__).parents[2] / "support" / "pictures"


def encoded(kind: str, size: tuple[int, int] = (64, 48), mode: str = "RGB", **options: Any) -> bytes:
    """A picture with detail everywhere, so that every byte of it is needed; always the same one."""
    noise = Image.frombytes("L", size, random.Random(7).randbytes(size[0] * size[1])).convert(mode)
    file = BytesIO()
    noise.save(file, kind, **options)
    return file.getvalue()


def refusal(data: bytes, **changes: int) -> RequestError:
    with pytest.raises(RequestError) as refused:
        check_picture(data, SETTINGS.model_copy(update=changes))
    assert refused.value.param == "image"
    return refused.value


# ------------------------------------------------------------ how it is written down


@given(st.binary(min_size=1), st.booleans(), st.booleans(), st.sampled_from(["", "\n", "\r\n ", "\t"]))
def test_base64_is_read_in_either_alphabet_padded_or_not_and_broken_into_lines(
    data: bytes, urlsafe: bool, padded: bool, white: str
) -> None:
    text = (base64.urlsafe_b64encode(data) if urlsafe else base64.b64encode(data)).decode()
    text = text if padded else text.rstrip("=")
    text = white.join(text[at : at + 7] for at in range(0, len(text), 7)) + white
    assert parse_image(text, "image") == ImageBytes(data)
    assert parse_image(f"data:image/png;base64,{text}", "image") == ImageBytes(data)


@given(st.binary(min_size=1))
def test_a_data_uri_without_base64_is_percent_encoded(data: bytes) -> None:
    assert parse_image(f"data:image/webp,{quote_from_bytes(data)}", "image") == ImageBytes(data)


@pytest.mark.parametrize(
    "head",
    ["data:;base64,", "DATA:image/x-anything;BASE64,", "data:image/png;name=a.png;base64,", "data:text/html;base64,"],
)
def test_what_a_data_uri_claims_to_be_is_not_believed(head: str) -> None:
    assert parse_image(head + "AP8Q", "image") == ImageBytes(b"\x00\xff\x10")


@pytest.mark.parametrize("url", ["https://pictures.example/a.png", "HTTP://10.0.0.1/a b", "https://ü.example/ä"])
def test_a_url_is_left_to_whoever_fetches_it(url: str) -> None:
    assert parse_image(f" {url}\n", "image") == ImageUrl(url)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "=",
            "a",
            "abc=d",
            "ab===",
            "päng",
            "not base64!",
            "ftp://host/a.png",
            "file:///etc/passwd",
            "http:/x",
        ),
        *("data:image/png", "data:,", "data:;base64,", "data:;base64,!", "data:image/png,ä", "javascript:1"),
    ],
)
def test_anything_else_is_refused_by_the_name_of_its_field(text: str) -> None:
    with pytest.raises(InvalidField) as refused:
        parse_image(text, "input_reference")
    assert refused.value.param == "input_reference"


def test_an_endless_text_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_MAX_CHARS", 100)
    assert isinstance(parse_image("A" * 100, "image"), ImageBytes)
    with pytest.raises(TooLarge, match="100 characters"):
        parse_image("A" * 101, "image")


@given(st.text() | st.builds("data:{},{}".format, st.text(), st.text()) | st.text("AZaz09+/-_=\n ", max_size=20))
@example("data:;base64,%")
@example("data:%2C;base64,%3D")
def test_no_text_makes_the_parser_fail_in_another_way(text: str) -> None:
    with suppress(RequestError):
        found = parse_image(text, "image")
        assert found.url if isinstance(found, ImageUrl) else isinstance(found, ImageBytes) and found.data


# ------------------------------------------------------------ whether it is a picture


@pytest.mark.parametrize(
    ("kind", "content_type", "options"),
    [
        ("PNG", "image/png", {}),
        ("PNG", "image/png", {"mode": "RGBA"}),
        ("PNG", "image/png", {"mode": "P"}),
        ("PNG", "image/png", {"mode": "I;16"}),
        ("JPEG", "image/jpeg", {}),
        ("JPEG", "image/jpeg", {"progressive": True, "mode": "CMYK"}),
        ("JPEG", "image/jpeg", {"exif": b"Exif\0\0MM\0*\0\0\0\x08" + bytes(40_000), "comment": b"\xff\xc0" * 99}),
        ("WEBP", "image/webp", {}),
        ("WEBP", "image/webp", {"lossless": True}),
        ("WEBP", "image/webp", {"mode": "RGBA"}),
        ("WEBP", "image/webp", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),
        ("AVIF", "image/avif", {}),
        ("AVIF", "image/avif", {"mode": "RGBA", "subsampling": "4:4:4"}),
        ("HEIF", "image/heic", {}),
        ("HEIF", "image/heic", {"mode": "RGBA"}),
    ],
)
def test_a_picture_is_told_by_its_content(kind: str, content_type: str, options: dict[str, Any]) -> None:
    data = encoded(kind, (61, 37), **options)
    found = check_picture(data, SETTINGS)
    assert (found.content_type, found.width, found.height, found.data) == (content_type, 61, 37, data)


@pytest.mark.parametrize("data", [b"", b"\x89PNG", b"GIF89a" + bytes(50), b"BM" + bytes(50), b"<svg/>", b"%PDF-1.7"])
def test_other_kinds_are_refused(data: bytes) -> None:
    assert refusal(data).code == "image_format"
    assert refusal(encoded("GIF", mode="L")).code == "image_format"


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_that_is_cut_off_anywhere_before_its_last_pixel_is_refused(kind: str) -> None:
    data = encoded(kind, (32, 32))
    needed = data.index(b"IEND") - 12 if kind == "PNG" else len(data)  # checksums follow the pixels
    for end in range(12, needed, 5 if kind in ("PNG", "JPEG", "WEBP") else 23):
        assert refusal(data[:end]).code in ("image_broken", "image_format"), end


@pytest.mark.parametrize("kind", KINDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 800), st.integers(1, 255)), min_size=1, max_size=8))
def test_no_damage_makes_the_check_fail_in_another_way(kind: str, flips: list[tuple[int, int]]) -> None:
    data = bytearray(_VICTIMS[kind])
    for at, bits in flips:
        data[at % len(data)] ^= bits
    with suppress(RequestError):
        check_picture(bytes(data), FetchSettings(max_image_pixels=10_000))


_VICTIMS = {kind: encoded(kind, (20, 20)) for kind in KINDS}


@given(
    st.binary(max_size=64),
    st.sampled_from(
        [
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff",
            b"RIFF\0\0\0\0WEBP",
            b"\0\0\0\x14ftypavif\0\0\0\0mif1",
            b"\0\0\0\x14ftypmif1\0\0\0\0heic\0\0\0\x40meta\0\0\0\0",
        ]
    ),
)
def test_no_bytes_behind_a_right_beginning_make_it_fail_in_another_way(tail: bytes, head: bytes) -> None:
    with pytest.raises(RequestError):
        check_picture(head + tail, SETTINGS)


def test_too_many_bytes_are_refused() -> None:
    data = encoded("PNG")
    assert isinstance(refusal(data, max_image_bytes=len(data) - 1), TooLarge)


def _bombs() -> dict[str, bytes]:
    png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + struct.pack(">II", 60_000, 60_000) + bytes(30)
    jpeg = b"\xff\xd8\xff\xe0\x00\x04\0\0\xff\xff\xc2\x00\x11\x08" + struct.pack(">HH", 60_000, 60_000) + bytes(30)
    canvas = (16_383).to_bytes(3, "little") * 2
    return {
        "PNG": png,
        "JPEG": jpeg,
        "WebP, extended": b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + canvas,
        "WebP, lossless": b"RIFF\0\0\0\0WEBPVP8L\x0a\0\0\0\x2f\xff\xff\xff\x0f" + bytes(9),
        "WebP, lossy": b"RIFF\0\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(9),
    }


@pytest.mark.parametrize("data", _bombs().values(), ids=_bombs())
def test_a_decompression_bomb_is_refused_before_any_decoder_sees_it(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening.Image, "open", None)
    assert refusal(data).code == "image_too_large"


def test_the_bounds_hold_to_the_pixel() -> None:
    data = encoded("PNG", (40, 30))
    assert check_picture(data, SETTINGS.model_copy(update={"max_image_pixels": 1200})).width == 40
    assert refusal(data, max_image_pixels=1199).code == "image_too_large"
    assert check_picture(encoded("PNG", (16, 16)), SETTINGS).height == 16
    assert refusal(encoded("PNG", (15, 400))).code == "image_too_small"


def test_a_second_larger_frame_header_does_not_get_past_the_bound() -> None:
    small, large = encoded("JPEG", (32, 32)), encoded("JPEG", (640, 640))
    frame = small.index(b"\xff\xc0")
    header = small[frame : frame + 19]
    disguised = large[:2] + header + large[2:]
    assert refusal(disguised, max_image_pixels=10_000).code == "image_broken"


def test_a_jpeg_that_takes_long_is_refused_by_what_there_is_too_much_of(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded("JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")
    monkeypatch.setattr(opening.Image, "open", None)
    for slow, reason in (
        (data[:scan] + data[scan:-2] * 200 + data[-2:], "has more than 20 scans"),
        (data[:2] + b"\xff" * 70_000 + data[2:], "has more than 65536 bytes of fill"),
        (data[:scan] + b"\xff" * 70_000 + data[scan:], "has more than 65536 bytes of fill"),
        (data[:2] + b"\xff\xe1\0\2" * 10_001 + data[2:], "has more than 10000 segments"),
    ):
        assert (refusal(slow).message, refusal(slow).code) == (reason, "image_too_slow")


def _boxed(kind: str, size: tuple[int, int]) -> bytes:
    """A plain picture of this size that says it has 64 x 64 pixels."""
    data = encoded_plain(kind, size)
    at = -1
    while (at := data.find(b"ispe", at + 1)) >= 0:
        data = data[: at + 8] + struct.pack(">II", 64, 64) + data[at + 16 :]
    return data


def encoded_plain(kind: str, size: tuple[int, int], **options: Any) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, "teal").save(file, kind, **({"speed": 10} if kind == "AVIF" else {}), **options)
    return file.getvalue()


def _grid(data: bytes, width: int, height: int) -> bytes:
    """An AVIF whose only item claims to be a grid, of this size, in the bytes where its picture was."""
    items = data.index(b"av01", data.index(b"infe"))
    data = data[:items] + b"grid" + data[items + 4 :]
    content = data.index(b"mdat") + 4
    grid = bytes([0, 1, 0, 0]) + struct.pack(">II", width, height)
    return data[:content] + grid + data[content + len(grid) :]


def test_a_boxed_picture_is_measured_by_what_its_decoder_goes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """By each item's size; in AVIF, whose decoder believes others, by the frames and the grids themselves."""
    for kind in ("AVIF", "HEIF"):
        data = encoded_plain(kind, (640, 480))
        assert check_picture(data, SETTINGS.model_copy(update={"max_image_pixels": 640 * 480})).width == 640
    heif = _boxed("HEIF", (640, 480))
    assert refusal(heif, max_image_pixels=100_000).code == "image_broken"  # by its own library
    monkeypatch.setattr(opening.Image, "open", None)
    for data in (
        encoded_plain("AVIF", (640, 480)),
        encoded_plain("HEIF", (640, 480)),
        _boxed("AVIF", (640, 480)),
        _grid(encoded_plain("AVIF", (64, 64)), 60_000, 60_000),
    ):
        assert refusal(data, max_image_pixels=100_000).code == "image_too_large"


@pytest.mark.parametrize("path", sorted(OTHERS.iterdir()), ids=lambda path: path.name)
def test_pictures_that_others_wrote_are_measured_upright(path: Path) -> None:
    """By heif-enc (libheif 1.15), avifenc (libavif 0.11), ImageMagick, cwebp and cjpeg."""
    found = check_picture(path.read_bytes(), SETTINGS)
    assert found.upright == ((320, 200) if "thumbnail" in path.name else (48, 32))
    assert found.content_type == {
        ".avif": "image/avif", ".heic": "image/heic", ".jpg": "image/jpeg", ".webp": "image/webp"
    }[path.suffix]  # fmt: skip


def test_a_container_of_isos_that_is_no_picture_is_refused_by_what_it_is() -> None:
    head = b"\0\0\0\x18ftyp"
    for brands in (b"isom\0\0\0\0mp42", b"qt  \0\0\0\0qt  ", b"mif1\0\0\0\0miaf", b"crx \0\0\0\0isom"):
        assert refusal((head + brands).ljust(64, b"\0")).code == "image_format"
    for brands in (b"avif\0\0\0\0mif1", b"heic\0\0\0\0mif1", b"hevc\0\0\0\0msf1"):
        assert refusal((head + brands).ljust(64, b"\0")).code == "image_broken"


def test_the_refusal_names_every_kind_that_is_read() -> None:
    assert refusal(b"GIF89a").message == "must be a PNG, JPEG, WebP, AVIF or HEIC image"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_picture_that_is_stored_turned_is_known_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    found = check_picture(encoded(kind, (64, 48), exif=exif), SETTINGS)
    assert found.upright == ((48, 64) if orientation >= 5 else (64, 48))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animated_picture_the_first_frame_counts(kind: str) -> None:
    data = encoded(kind, save_all=True, append_images=[Image.new("RGB", (64, 48))] * 3)
    assert check_picture(data, SETTINGS).width == 64
