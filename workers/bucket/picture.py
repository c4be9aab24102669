"""A picture as a render begins at it: whatever an accepted file holds, as sRGB of the size to render."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.failure import FailureCode
from orchestrator.pictures.kinds import kind_of
from orchestrator.pictures.opening import opened
from workers.bucket.colours import to_srgb

# What a transparent picture is laid on, as a web page would.
_PAPER = (255, 255, 255)


def fit(data: bytes, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Decode an image file and fill [height, width, 3] RGB with it, upright: scaled by Lanczos, both overhangs cropped.

    Upright is what EXIF says (tag 274 of TIFF 6.0); colours are sRGB's (`workers/bucket/colours.py`); transparency is
    laid on white. Raises `RenderFailed` (`image_unreadable`), which no retry mends.
    """
    kind = kind_of(data)
    if kind is None:
        raise _unreadable("it is of no kind that is read here")
    try:
        with opened(data, kind) as found:
            turn = found.turn
            picture = _rgb(found.image if turn is None else found.image.transpose(turn), found.profile)
    except MemoryError:
        raise  # of this worker, not of this picture
    except Exception as error:  # the decoders have no error in common, and bad bytes are the only cause
        raise _unreadable(str(error)) from error
    return np.asarray(ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS))


def _unreadable(why: str) -> RenderFailed:
    return RenderFailed(FailureCode.IMAGE_UNREADABLE, f"the image cannot be decoded: {why}", retryable=False)


def _rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    alpha, grey = None, image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")
    if image.mode.startswith("I"):
        # 16 bits of grey, of which Pillow's own conversion would clip all but the darkest 256 levels.
        levels = np.asarray(image)
        if (hidden := image.info.get("transparency")) is not None:
            alpha = Image.fromarray(np.where(levels == hidden, 0, 255).astype(np.uint8))
        image = Image.fromarray((levels.astype(np.float64) / 257).round().clip(0, 255).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert("L" if grey else "RGB")
    rgb = to_srgb(image, profile)
    if alpha is None:
        return rgb
    paper = Image.new("RGB", rgb.size, _PAPER)
    paper.paste(rgb, mask=alpha)
    return paper
