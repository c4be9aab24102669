"""A picture's file as the decoder is given it, at the door and where a render begins at it: one way for both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

from PIL import ExifTags, Image
from pillow_heif import register_heif_opener

from orchestrator.pictures import pngs
from orchestrator.pictures.kinds import Kind

# Neither thumbnails nor depths are decoded; one thread, as the pictures of several callers wait for each other anyway.
register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)

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
_SIDEWAYS = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)


@dataclass(frozen=True, slots=True)
class Opened:
    """A file whose header is read: its first frame, not yet decoded, and its ICC profile if it has one."""

    image: Image.Image
    profile: bytes | None

    @property
    def turn(self) -> Image.Transpose | None:
        """What EXIF (tag 274 of TIFF 6.0) asks for. Damaged EXIF, which a whole picture may carry, asks for nothing."""
        try:
            return _TURNS.get(self.image.getexif().get(ExifTags.Base.Orientation, 1))
        except Exception:  # Pillow raises whatever the damage leads it to
            return None

    @property
    def sideways(self) -> bool:
        """Whether width and height change places on its way upright."""
        return self.turn in _SIDEWAYS


@contextmanager
def opened(data: bytes, kind: Kind) -> Iterator[Opened]:
    """Read the header. Raises whatever Pillow's readers raise; they have no error in common."""
    profile = None
    if kind.plugin == "PNG":
        png = pngs.prepare(data)
        data, profile = png.data, png.profile
    elif data[8:12] == b"avis":
        # A sequence: what it is a sequence of is measured nowhere, so it is the still picture in it that counts.
        data = data[:8] + b"avif" + data[12:]
    with Image.open(BytesIO(data), formats=[kind.plugin]) as image:
        yield Opened(image, profile or image.info.get("icc_profile"))
