"""PNG as it is handed to the decoder: without text and colour profile, which it reads within bounds that whole
pictures exceed, and with transparency that it understands. Pure.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

# Of an unpacked profile. Those of printers and of scanners have a few MiB.
_MAX_PROFILE = 16 * 2**20
# The decoder's own bound for a text. Which texts say how the picture is turned, in want of eXIf.
_MAX_TEXT = 2**20
_TURNING = (b"Raw profile type exif", b"XML:com.adobe.xmp")

_SIGNATURE = 8
_GREY, _RGB = 0, 2


@dataclass(frozen=True, slots=True)
class Png:
    """A PNG file to decode, and the ICC profile that it had; None for one that is not there or not readable."""

    data: bytes
    profile: bytes | None


def prepare(data: bytes) -> Png:
    """Drop what no picture needs and a decoder may stumble over; what is damaged beside that stays as it is."""
    kept, profile, turning = [data[:_SIGNATURE]], None, set[bytes]()
    at, depth, colour = _SIGNATURE, data[24:25], data[25:26]
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : end - 4]
        if end > len(data):
            break
        match kind:
            case b"iCCP":
                profile = profile or _profile(body)
            case b"tEXt" | b"zTXt" | b"iTXt":
                keyword = body.partition(b"\0")[0]
                if keyword in _TURNING and keyword not in turning and _short(kind, body):
                    turning.add(keyword)
                    kept.append(data[at:end])
            case b"tRNS" if depth and colour:
                kept.append(_chunk(kind, _transparency(body, depth[0], colour[0])))
            case _:
                kept.append(data[at:end])
        at = end
    return Png(b"".join([*kept, data[at:]]), profile)


def _profile(body: bytes) -> bytes | None:
    """From iCCP (section 11.3.2.3): a name, the method, and the packed profile."""
    _, _, packed = body.partition(b"\0")
    return _unpacked(packed[1:], _MAX_PROFILE)


def _short(kind: bytes, body: bytes) -> bool:
    """Whether a text (section 11.3.3) is within the decoder's bounds, unpacked."""
    if len(body) > _MAX_TEXT:
        return False
    rest = body.partition(b"\0")[2]
    if kind == b"iTXt" and rest[:1] == b"\1":
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif kind == b"zTXt":
        rest = rest[1:]
    else:
        return True
    return _unpacked(rest, _MAX_TEXT) is not None


def _unpacked(packed: bytes, limit: int) -> bytes | None:
    """None for what is damaged, or longer than the limit."""
    unpacking = zlib.decompressobj()
    try:
        found = unpacking.decompress(packed, limit + 1)
    except zlib.error:
        return None
    return found if unpacking.eof and len(found) <= limit else None


def _transparency(body: bytes, depth: int, colour: int) -> bytes:
    """The transparent colour (section 11.3.2.1) in the levels that are decoded: 8 bits each, but for 16 of grey.

    Of 16-bit colours the decoder keeps the upper half, and so do we: the neighbours within it turn transparent, too.
    """
    if colour == _GREY and depth < 8 and len(body) == 2:
        return (int.from_bytes(body) * 255 // (2**depth - 1)).to_bytes(2) if body < bytes([0, 2**depth]) else body
    if colour == _RGB and depth == 16 and len(body) == 6:
        return b"".join(bytes([0, body[at]]) for at in (0, 2, 4))
    return body


def _chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)
