"""A picture as a render begins at it: whatever PNG, JPEG or WebP holds, as RGB of the size to render."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.failure import FailureCode

# What a transparent picture is laid on, as a web page would.
_PAPER = (255, 255, 255)

# How each orientation of EXIF becomes upright; 1 is.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def fit(data: bytes, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Decode an image file and fill [height, width, 3] RGB with it, upright: scaled by Lanczos, both overhangs cropped.

    Upright is what EXIF says (tag 274 of TIFF 6.0); transparency is laid on white; colour profiles are ignored,
    as diffusers does. Raises `RenderFailed` (`image_unreadable`), which no retry mends.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as opened:
            turn = _turn(opened)
            picture = _rgb(opened if turn is None else opened.transpose(turn))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise RenderFailed(
            FailureCode.IMAGE_UNREADABLE, f"the image cannot be decoded: {error}", retryable=False
        ) from error
    return np.asarray(ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS))


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What EXIF asks for. Damaged EXIF, which a whole picture may carry, asks for nothing."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow raises whatever the damage leads it to
        return None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits of grey, of which Pillow's own conversion would clip all but the darkest 256 levels.
        image = Image.fromarray((np.asarray(image, np.float64) / 257).round().clip(0, 255).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    paper = Image.new("RGBA", image.size, _PAPER)
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")
