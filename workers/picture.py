"""A picture as a render begins at it: whatever PNG, JPEG or WebP holds, as RGB of the size to render."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from orchestrator.domain.errors import RenderFailed

# What a transparent picture is laid on, as a web page would.
_PAPER = (255, 255, 255)


def fit(data: bytes, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Decode an image file and fill [height, width, 3] RGB with it, upright: scaled by Lanczos, both overhangs cropped.

    Upright is what EXIF says (tag 274 of TIFF 6.0); transparency is laid on white; colour profiles are ignored,
    as diffusers does. Raises `RenderFailed` (`image_unreadable`), which no retry mends.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as opened:
            picture = _rgb(ImageOps.exif_transpose(opened))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise RenderFailed("image_unreadable", f"the image cannot be decoded: {error}", retryable=False) from error
    return np.asarray(ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16 bits of grey, of which Pillow's own conversion would clip all but the darkest 256 levels.
        image = Image.fromarray((np.asarray(image, np.float64) / 257).round().clip(0, 255).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    paper = Image.new("RGBA", image.size, _PAPER)
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")
