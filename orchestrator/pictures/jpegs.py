"""What a JPEG's markers say before it is decoded: its size, and what makes its decoding long. Pure.

Source: ITU T.81, annex B.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.domain.catalog import Size

# A progressive JPEG has about ten. Each one passes over the whole picture, however few bytes it has.
MAX_SCANS = 20
# Bytes that only fill up: decoders skip them one by one. Whole pictures have none, or a few for alignment.
MAX_FILL = 64 * 1024
# An ICC profile has 255 at most, the EXIF of a camera one.
MAX_SEGMENTS = 10_000

_SCAN, _END = 0xDA, 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Without a length behind them: TEM, the restarts, a stuffed zero.
_BARE = frozenset((0x00, 0x01, *range(0xD0, 0xD8)))

_CODE = re.compile(rb"[^\xff]")
# What ends entropy-coded bytes: in them 0xff is followed by 0, or it is a restart.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_WITHIN = (b"\xff\x00", *(bytes((0xFF, code)) for code in range(0xD0, 0xD8)))


@dataclass(frozen=True, slots=True)
class Jpeg:
    """Up to the end of the picture, or to where there is more of something than is allowed."""

    size: Size | None
    scans: int
    fill: int
    segments: int

    @property
    def excess(self) -> str | None:
        """What there is too much of."""
        if self.scans > MAX_SCANS:
            return f"has more than {MAX_SCANS} scans"
        if self.fill > MAX_FILL:
            return f"has more than {MAX_FILL} bytes of fill"
        if self.segments > MAX_SEGMENTS:
            return f"has more than {MAX_SEGMENTS} segments"
        return None


def read(data: bytes) -> Jpeg:
    """Marker by marker; what stands between them where none may counts as fill, once the frame is known."""
    size: Size | None = None
    at, scans, fill, segments = 2, 0, 0, 0
    while at < len(data) and scans <= MAX_SCANS and fill <= MAX_FILL and segments <= MAX_SEGMENTS:
        if data[at] != 0xFF:
            if size is None:
                break
            following = data.find(b"\xff", at)
            at, fill = (len(data), fill) if following < 0 else (following, fill + following - at)
            continue
        found = _CODE.search(data, at)
        if found is None:
            return Jpeg(size, scans, fill + len(data) - at, segments)
        code, body = data[found.start()], found.end()
        fill += found.start() - at - 1
        if code == _END:
            break
        if code in _BARE:
            at = body
            fill += 2
            continue
        if code in _FRAMES and size is None:
            if body + 7 > len(data):
                break
            size = int.from_bytes(data[body + 5 : body + 7]), int.from_bytes(data[body + 3 : body + 5])
        segments += 1
        at = body + max(2, int.from_bytes(data[body : body + 2]))
        if code == _SCAN:
            scans += 1
            ending = _MARKER.search(data, at)
            end = len(data) if ending is None else ending.start()
            fill += _filled(data, at, end)
            at = end
    return Jpeg(size, scans, fill, segments)


def _filled(data: bytes, start: int, end: int) -> int:
    """Bytes of fill among entropy-coded ones: each 0xff that begins nothing."""
    return data.count(b"\xff", start, end) - sum(data.count(code, start, end) for code in _WITHIN)
