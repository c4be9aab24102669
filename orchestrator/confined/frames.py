"""What a parent and its confined child say to each other: two lengths, some JSON, some bytes. Never a pickle. Pure."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, Protocol

from orchestrator.domain import jsontext

# The length of the words and that of the bytes behind them.
_HEAD = struct.Struct(">II")

# What one side believes of the other, at most.
MAX_WORDS = 64 * 1024
MAX_BLOB = 64 * 2**20


class Reader(Protocol):
    """A buffered file: fewer bytes than were asked for are its end."""

    def read(self, size: int, /) -> bytes:
        """That many bytes."""
        ...


def pack(words: Mapping[str, Any], blob: bytes = b"") -> bytes:
    """A frame."""
    said = json.dumps(words, separators=(",", ":"), allow_nan=False).encode()
    return _HEAD.pack(len(said), len(blob)) + said + blob


def read(file: Reader) -> tuple[dict[str, Any], bytes] | None:
    """The next frame; None at the end of the file. Raises `ValueError` for what is no frame."""
    head = file.read(_HEAD.size)
    if not head:
        return None
    if len(head) < _HEAD.size:
        raise ValueError("a frame that is cut off")
    size, more = _HEAD.unpack(head)
    if size > MAX_WORDS or more > MAX_BLOB:
        raise ValueError("a frame that is too long")
    said, blob = file.read(size), file.read(more)
    if len(said) < size or len(blob) < more:
        raise ValueError("a frame that is cut off")
    words = jsontext.parse(said)
    if not isinstance(words, dict):
        raise ValueError("a frame without words")
    return words, blob
