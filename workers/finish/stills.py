"""The pictures beside a video: its first frame, a small copy of that, and a sheet of frames."""

from __future__ import annotations

import io
import math
from pathlib import Path

from PIL import Image

from orchestrator.domain.delivery import Delivery
from workers.finish.frames import Frame

# Pixels of the longer side.
_THUMBNAIL = 512
_TILE = 192
# The sheet has as many columns as rows: 5x5 at most.
_MOST_TILES = 25
# Of the two that lose some.
_QUALITY = 85


class Stills:
    """Takes what it needs from the delivered frames as they pass by.

    The cover is the first frame, so that a player which shows it as its poster begins to play without a jump. The sheet
    shows frames at even distances, row by row.
    """

    def __init__(self, delivery: Delivery, *, cover: Path, thumbnail: Path, spritesheet: Path) -> None:
        self._cover, self._thumbnail, self._spritesheet = cover, thumbnail, spritesheet
        tiles = min(_MOST_TILES, delivery.num_frames)
        self._columns = math.ceil(math.sqrt(tiles))
        self._places = {index * delivery.num_frames // tiles: index for index in range(tiles)}
        self._tile = _within(delivery.width, delivery.height, _TILE)
        self._small = _within(delivery.width, delivery.height, _THUMBNAIL)
        rows = math.ceil(tiles / self._columns)
        self._sheet = Image.new("RGB", (self._columns * self._tile[0], rows * self._tile[1]))

    def take(self, index: int, frame: Frame) -> None:
        """Look at a frame. Writes cover and thumbnail at the first, the sheet at the last that is on it."""
        if index not in self._places:
            return
        picture = Image.fromarray(frame)
        if index == 0:
            _save(picture, self._cover, "PNG")
            _save(picture.resize(self._small, Image.Resampling.LANCZOS), self._thumbnail, "WEBP")
        place = self._places[index]
        row, column = divmod(place, self._columns)
        tile = picture.resize(self._tile, Image.Resampling.LANCZOS, reducing_gap=3)
        self._sheet.paste(tile, (column * self._tile[0], row * self._tile[1]))
        if place == len(self._places) - 1:
            _save(self._sheet, self._spritesheet, "JPEG")


def _within(width: int, height: int, longest: int) -> tuple[int, int]:
    """The size with its longer side cut to `longest`; never larger than it is."""
    scale = min(1.0, longest / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _save(picture: Image.Image, path: Path, kind: str) -> None:
    # By way of memory: Pillow's encoders do not notice when a disk takes only the beginning of what they write.
    data = io.BytesIO()
    picture.save(data, kind, quality=_QUALITY)
    path.write_bytes(data.getvalue())
