"""Draws stills under their captions on one picture, as a contact sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_CELL = (224, 148)
_GAP = 16
_CAPTION = 38
_TITLE = 44
_PAPER, _INK, _GREY = (250, 249, 246), (32, 32, 32), (110, 110, 110)


def draw(path: Path, title: str, stills: Sequence[tuple[Path, str, str]], *, columns: int = 6) -> None:
    """Save a PNG of these stills, in their order; each has a caption of two lines, the second one in grey.

    A caption that is wider than its still is cut.
    """
    width, height = _CELL[0] + _GAP, _CELL[1] + _CAPTION + _GAP
    lines = math.ceil(len(stills) / columns)
    sheet = Image.new("RGB", (columns * width + _GAP, lines * height + _TITLE + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP, _GAP), title, _INK, ImageFont.load_default(20))
    for place, (still, caption, more) in enumerate(stills):
        row, column = divmod(place, columns)
        corner = column * width + _GAP, row * height + _TITLE + _GAP
        with Image.open(still) as opened:
            picture = opened.convert("RGB")
        # Tiny pictures are shown as the pixels that they are.
        scale = min(_CELL[0] / picture.width, _CELL[1] / picture.height)
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        picture = picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
        sheet.paste(picture, (corner[0] + (_CELL[0] - size[0]) // 2, corner[1] + (_CELL[1] - size[1]) // 2))
        for line, (text, colour, points) in enumerate(((caption, _INK, 13), (more, _GREY, 12))):
            font = ImageFont.load_default(points)
            below = corner[0], corner[1] + _CELL[1] + 4 + 16 * line
            pen.text(below, _cut(text, font, _CELL[0]), colour, font)
    sheet.save(path)


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    while text and font.getlength(text) > width:
        text = text[:-2].rstrip() + "…" if len(text) > 2 else ""
    return text
