"""The formats that pictures come in: told by their first bytes, measured by their headers. Pure.

The headers are read by code of our own: some decoders take memory for the whole canvas as soon as they open it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.domain.catalog import Size
from orchestrator.pictures import boxes, jpegs


@dataclass(frozen=True, slots=True)
class Kind:
    """A format: its name for people and Pillow's name for it.

    `size` reads (width, height) from the header, None when there is none. It is what the decoder will hold, to the
    pixel, but of `boxed` formats: there a picture may be cut, turned or put together from what the header lists, and
    the size is that of the largest piece. `excess` says what there is too much of to be decoded in a moment.
    """

    name: str
    plugin: str
    content_type: str
    matches: Callable[[bytes], object]
    size: Callable[[bytes], Size | None]
    boxed: bool = False
    excess: Callable[[bytes], str | None] = lambda data: None


def kind_of(data: bytes) -> Kind | None:
    """The format that these bytes are in; None when it is none that is read here."""
    return next((kind for kind in KINDS if kind.matches(data)), None)


def _png_size(data: bytes) -> Size | None:
    """From IHDR, the first chunk (PNG, section 11.2.1)."""
    if data[12:16] != b"IHDR" or len(data) < 24:
        return None
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def _jpeg_size(data: bytes) -> Size | None:
    """From the frame header, behind whatever segments precede it."""
    return jpegs.read(data).size


def _jpeg_excess(data: bytes) -> str | None:
    return jpegs.read(data).excess


def _webp_size(data: bytes) -> Size | None:
    """From the first chunk, of one of three kinds (RFC 9649, section 2)."""
    chunk, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if chunk == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    return None


_AVIF = frozenset((b"avif", b"avis"))
# HEVC alone (ISO/IEC 23008-12, annex B): stills, and sequences that have one.
_HEIC = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"))


def _begins(magic: bytes) -> Callable[[bytes], object]:
    return re.compile(magic, re.DOTALL).match


def _is_heic(data: bytes) -> bool:
    return not _HEIC.isdisjoint(boxes.brands(data))


def _is_avif(data: bytes) -> bool:
    return not _AVIF.isdisjoint(boxes.brands(data))


KINDS = (
    Kind("PNG", "PNG", "image/png", _begins(rb"\x89PNG\r\n\x1a\n"), _png_size),
    Kind("JPEG", "JPEG", "image/jpeg", _begins(rb"\xff\xd8\xff"), _jpeg_size, excess=_jpeg_excess),
    Kind("WebP", "WEBP", "image/webp", _begins(rb"RIFF....WEBP"), _webp_size),
    Kind("AVIF", "AVIF", "image/avif", _is_avif, boxes.largest_picture, boxed=True),
    Kind("HEIC", "HEIF", "image/heic", _is_heic, boxes.largest_picture, boxed=True),
)
NAMES = f"{', '.join(kind.name for kind in KINDS[:-1])} or {KINDS[-1].name}"
