"""Whatever an image file holds, a render begins at what a person would see of it, at its own size."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from orchestrator.domain.errors import RenderFailed
from workers.bucket.picture import fit

ORIENTATION = 274
OTHERS = Path(__file__).parents[2] / "support" / "pictures"


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def fitted(image: Image.Image, kind: str = "PNG", size: tuple[int, int] = (96, 64), **options: Any) -> np.ndarray:
    picture = fit(encoded(image, kind, **options), *size)
    assert (picture.dtype, picture.shape) == (np.uint8, (size[1], size[0], 3))
    return picture.astype(int)


def a_disc(width: int, height: int, radius: int) -> Image.Image:
    """A white disc in the middle of black."""
    image = Image.new("RGB", (width, height))
    ImageDraw.Draw(image).circle((width / 2 - 0.5, height / 2 - 0.5), radius, fill="white")
    return image


@pytest.mark.parametrize("size", [(640, 640), (1280, 320), (200, 900), (96, 64), (48, 32), (97, 63)])
def test_a_disc_stays_round_and_in_the_middle(size: tuple[int, int]) -> None:
    white = fitted(a_disc(*size, radius=min(size) // 5))[..., 0] > 127
    rows, columns = np.flatnonzero(white.any(axis=1)), np.flatnonzero(white.any(axis=0))
    assert abs(len(rows) - len(columns)) <= 1
    assert len(rows) >= 12
    assert (rows[0] + rows[-1]) / 2 == pytest.approx(31.5, abs=1)
    assert (columns[0] + columns[-1]) / 2 == pytest.approx(47.5, abs=1)


def test_a_picture_of_the_size_to_render_is_left_as_it_is() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    assert np.array_equal(fitted(Image.fromarray(pixels)), pixels)


# How a camera that notes this orientation (TIFF 6.0, tag 274) has stored a picture that is upright like this.
STORED = {
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_picture_that_was_stored_turned_comes_upright(kind: str, orientation: int) -> None:
    upright = Image.new("RGB", (192, 128), "black")
    upright.paste("red", (0, 0, 96, 64))
    upright.paste("lime", (96, 0, 192, 64))
    upright.paste("blue", (0, 64, 96, 128))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    pixels = fitted(STORED[orientation](upright), kind, exif=exif, quality=95)
    quarters = [pixels[16, 24], pixels[16, 72], pixels[48, 24], pixels[48, 72]]
    expected = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)]
    assert np.allclose(quarters, expected, atol=12)


def test_transparency_is_laid_on_white() -> None:
    image = Image.new("RGBA", (96, 64), (255, 0, 0, 0))
    image.paste((0, 0, 255, 128), (48, 0, 96, 64))
    pixels = fitted(image)
    assert tuple(pixels[32, 10]) == (255, 255, 255)
    assert np.allclose(pixels[32, 80], (127, 127, 255), atol=1)


def halves(mode: str, left: Any, right: Any) -> Image.Image:
    image = Image.new(mode, (96, 64), left)
    image.paste(right, (48, 0, 96, 64))
    return image


def palette() -> Image.Image:
    image = halves("P", 0, 1)
    image.putpalette([255, 0, 0, 0, 200, 0])
    return image


def grey_16_bits() -> Image.Image:
    levels = np.zeros((64, 96), np.uint16)
    levels[:, 48:] = 0x8080
    return Image.fromarray(levels)


@pytest.mark.parametrize(
    ("image", "kind", "options", "left", "right"),
    [
        pytest.param(palette(), "PNG", {"transparency": 0}, (255, 255, 255), (0, 200, 0), id="palette"),
        pytest.param(grey_16_bits(), "PNG", {}, (0, 0, 0), (128, 128, 128), id="16 bits of grey"),
        pytest.param(halves("L", 40, 200), "PNG", {}, (40, 40, 40), (200, 200, 200), id="grey"),
        pytest.param(halves("1", 0, 1), "PNG", {}, (0, 0, 0), (255, 255, 255), id="one bit"),
        pytest.param(halves("LA", (40, 255), (9, 0)), "PNG", {}, (40, 40, 40), (255, 255, 255), id="grey with alpha"),
        pytest.param(halves("L", 40, 200), "JPEG", {}, (40, 40, 40), (200, 200, 200), id="grey JPEG"),
        pytest.param(
            halves("CMYK", (0, 255, 255, 0), (255, 0, 255, 0)), "JPEG", {}, (255, 0, 0), (0, 255, 0), id="CMYK"
        ),
    ],
)
def test_every_kind_of_pixel_becomes_rgb(
    image: Image.Image,
    kind: str,
    options: dict[str, Any],
    left: tuple[int, int, int],
    right: tuple[int, int, int],
) -> None:
    pixels = fitted(image, kind, **options)
    assert np.allclose(pixels[32, 10], left, atol=3)
    assert np.allclose(pixels[32, 85], right, atol=3)


@pytest.mark.parametrize("path", sorted(OTHERS.iterdir()), ids=lambda path: path.name)
def test_pictures_that_others_wrote_come_upright_and_whole(path: Path) -> None:
    """By heif-enc, avifenc, ImageMagick, cwebp and cjpeg; of a sequence the first picture counts."""
    pixels = fit(path.read_bytes(), 96, 64).astype(int)
    right = (255, 255, 255) if "alpha" in path.name else (60, 60, 200)
    assert np.allclose(pixels[32, 20], (200, 60, 60), atol=3)
    assert np.allclose(pixels[32, 76], right, atol=3)


WHOLE = encoded(a_disc(96, 64, 20))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<svg/>", id="no image"),
        pytest.param(WHOLE[: len(WHOLE) // 2], id="half a PNG"),
        pytest.param(encoded(a_disc(96, 64, 20), "JPEG")[:300], id="a piece of a JPEG"),
        pytest.param(encoded(a_disc(96, 64, 20), "WEBP")[:40], id="the head of a WebP"),
        pytest.param(encoded(a_disc(96, 64, 20), "GIF"), id="another format"),
    ],
)
def test_what_cannot_be_decoded_fails_for_good(data: bytes) -> None:
    with pytest.raises(RenderFailed) as failed:
        fit(data, 96, 64)
    assert (failed.value.code, failed.value.retryable) == ("image_unreadable", False)


def test_damaged_exif_does_not_cost_the_picture() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    whole = exif.tobytes()
    image = Image.effect_noise((24, 24), 90).convert("RGB")
    for at in range(6, len(whole)):
        damaged = whole[:at] + b"\xff" + whole[at + 1 :]
        fitted(image, "JPEG", exif=damaged)
