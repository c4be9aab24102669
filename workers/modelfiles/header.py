"""What a safetensors file says of itself: eight bytes of length, then JSON, then as many bytes as the JSON counts."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from orchestrator.domain import jsontext

# What safetensors itself accepts at most (its MAX_HEADER_SIZE).
_MAX_HEADER = 100_000_000


@dataclass(frozen=True, slots=True)
class Header:
    """A file's tensors by name; `problem` is what is wrong with the file, and then there are none."""

    tensors: frozenset[str] = frozenset()
    problem: str | None = None


def read(file: Path) -> Header:
    """The header of a file, judged by itself and by the file's size; no tensor is read."""
    if not file.is_file():
        return Header(problem="is a link to nothing" if file.is_symlink() else "is no file")
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= min(_MAX_HEADER, size - 8):
            return Header(problem="is no safetensors file")
        try:
            header = jsontext.parse(opened.read(length))
            ends = {name: tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"}
            expected = 8 + length + max(ends.values(), default=0)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return Header(problem="has a broken header")
    if size != expected:
        return Header(problem=f"has {size} bytes, and its header says {expected}")
    return Header(tensors=frozenset(ends))
