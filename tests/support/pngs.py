"""PNG files by their bytes, of every kind of pixel, with whatever chunks beside."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    colour: int, depth: int, pixels: Sequence[Sequence[int]], *chunks: bytes, height: int = 16, tail: bytes = b""
) -> bytes:
    """Every row has these pixels, each with its samples; `chunks` precede the image data, `tail` follows it."""
    bits = "".join(f"{sample:0{depth}b}" for pixel in pixels for sample in pixel)
    bits += "0" * (-len(bits) % 8)
    row = b"\0" + bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    head = struct.pack(">IIBBBBB", len(pixels), height, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(row * height))
    return SIGNATURE + chunk(b"IHDR", head) + b"".join(chunks) + data + tail + chunk(b"IEND", b"")
