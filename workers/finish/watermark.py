"""The visible mark of a video that was made by AI: light letters on a dark plate, in the lower right corner."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from workers.finish.frames import Frame

# The longer text where it fits across, the shorter one on stamps.
_TEXTS = ("AI generated", "AI")
# Of the shorter side; below the least size the built-in font (Aileron) cannot be read.
_LETTER = 1 / 22
_LEAST_LETTER = 9
_PLATE_ALPHA = 150
_LETTER_ALPHA = 235


class Watermark:
    """A mark for frames of one size, in pixels."""

    def __init__(self, width: int, height: int) -> None:
        plate = np.asarray(_draw(width, height), dtype=np.uint16)
        gap = max(1, min(width, height) // 40)
        tall, wide = min(plate.shape[0], height), min(plate.shape[1], width)
        bottom, right = max(tall, height - gap), max(wide, width - gap)
        self._where = slice(bottom - tall, bottom), slice(right - wide, right)
        plate = plate[:tall, :wide]
        self._alpha = plate[..., 3:]
        self._colour = plate[..., :3] * self._alpha

    def __call__(self, frame: Frame) -> Frame:
        """A copy of the frame with the mark on it."""
        marked = frame.copy()
        below = marked[self._where]
        marked[self._where] = ((self._colour + below * (255 - self._alpha) + 127) // 255).astype(np.uint8)
        return marked


def _draw(width: int, height: int) -> Image.Image:
    """The letters on their plate, RGBA."""
    font = ImageFont.load_default(max(_LEAST_LETTER, min(width, height) * _LETTER))
    fits = (text for text in _TEXTS if font.getlength(text) <= width * 0.85)
    text = next(fits, _TEXTS[-1])
    left, top, right, bottom = font.getbbox(text)
    padding = max(1, round((bottom - top) * 0.4))
    size = (round(right - left) + 2 * padding, round(bottom - top) + 2 * padding)
    plate, letters = Image.new("RGBA", size), Image.new("RGBA", size, (255, 255, 255, 0))
    ImageDraw.Draw(plate).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), padding, fill=(0, 0, 0, _PLATE_ALPHA))
    place = (padding - left, padding - top)
    ImageDraw.Draw(letters).text(place, text, fill=(255, 255, 255, _LETTER_ALPHA), font=font)
    return Image.alpha_composite(plate, letters)
