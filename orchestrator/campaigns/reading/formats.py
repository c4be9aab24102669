"""Which format a file is in, told by how it begins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum

from orchestrator.domain.errors import InvalidField


class Format(StrEnum):
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    # Our own: the lines of a campaign that was rendered before.
    MANIFEST = "manifest"


HEAD_BYTES = 4096

_PARQUET_MAGIC = b"PAR1"
_BOM = b"\xef\xbb\xbf"
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_MANIFEST = re.compile(rb'\s*\{[^\r\n]*"object"\s*:\s*"campaign\.manifest"')
# More NULs than this share of its beginning is UTF-16 or UTF-32, or no text at all; a stray one is its row's affair.
_NUL_SHARE = 0.2


def peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The beginning, `HEAD_BYTES` of it where there are as many, and all of it again, without the mark of UTF-8."""
    head = bytearray()
    for chunk in chunks:
        head += chunk
        if len(head) >= HEAD_BYTES:
            break
    start = bytes(head.removeprefix(_BOM))
    return start[:HEAD_BYTES], _chained(start, chunks)


def detect(head: bytes) -> Format:
    """The format, for a caller who did not say. Raises `InvalidField` for what is none of them."""
    if head.startswith(_PARQUET_MAGIC):
        return Format.PARQUET
    check_text_file(head)
    if _MANIFEST.match(head):
        return Format.MANIFEST
    match head.lstrip()[:1]:
        case b"{":
            return Format.JSONL
        case b"[":
            raise _wrong("must be JSON Lines, one object a line, and not a JSON list", "unknown_format")
    return Format.CSV


def check_text_file(head: bytes) -> None:
    """Raise `InvalidField` for what cannot be text in UTF-8."""
    if head.startswith(b"PK\x03\x04"):
        raise _wrong("is a spreadsheet or another ZIP file: save it as CSV in UTF-8", "unknown_format")
    if head.startswith(_PARQUET_MAGIC):
        raise _wrong("is a Parquet file, and not what its format says", "unknown_format")
    if head.startswith(_WIDE_BOMS) or head.count(0) > len(head) * _NUL_SHARE:
        raise _wrong("must be UTF-8, not UTF-16, UTF-32 or binary", "not_utf8")


def _wrong(message: str, code: str) -> InvalidField:
    return InvalidField(message, param="input", code=code)


def _chained(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest
