"""Byte ranges: one `Range` header against the size of one object (RFC 9110, section 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass

# More digits than any object has bytes would only cost time to parse.
_ONE_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.ASCII | re.IGNORECASE)


class NotSatisfiable(Exception):
    """The range lies wholly behind the object's end."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` to `end`, both inclusive."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start + 1


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """The range asked for, cut to `size` bytes; None when the whole object is to be sent.

    Several ranges, other units and malformed headers count as none, as the RFC allows. Raises `NotSatisfiable`.
    """
    match = _ONE_RANGE.fullmatch(header) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        start, end = size - length, size - 1
    else:
        start = int(match[1])
        if match[2] and int(match[2]) < start:
            return None
        end = min(int(match[2]), size - 1) if match[2] else size - 1
    if start > end:
        raise NotSatisfiable
    return ByteRange(start, end)
