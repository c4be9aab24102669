"""Bytes as they were sent, gzip or plain, to plain bytes: piece by piece, within bounds however they were packed."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator

from orchestrator.campaigns.reading.records import broken

# What is handed on at once, and what is unpacked at once: a bomb makes a thousand bytes of each of these.
STEP = 256 * 1024
_PACKED_STEP = 16 * 1024

_MAGIC = b"\x1f\x8b"
_GZIP_FORMAT = 31  # zlib's number for gzip with the largest window


def unpack(chunks: Iterator[bytes], *, max_bytes: int) -> Iterator[bytes]:
    """Pieces of at most `STEP` bytes. A file of several members, as `cat a.gz b.gz` makes it, is one.

    Raises `InvalidField`: `broken_gzip`, or `too_large` beyond `max_bytes`, unpacked.
    """
    plain = _pieces(chunks, STEP)
    head = bytearray()
    for piece in plain:
        head += piece
        if len(head) >= len(_MAGIC):
            break
    whole = _chained(bytes(head), plain)
    total = 0
    for piece in _gunzip(_pieces(whole, _PACKED_STEP)) if head.startswith(_MAGIC) else whole:
        total += len(piece)
        if total > max_bytes:
            raise broken(f"the input has more than {max_bytes} bytes, unpacked", "too_large")
        yield piece


def _chained(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest


def _pieces(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    for chunk in chunks:
        for at in range(0, len(chunk), size):
            yield chunk[at : at + size]


def _gunzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    member = None  # the one that is being unpacked
    for chunk in chunks:
        data = chunk
        while data:
            if member is None:
                data = data.lstrip(b"\0")  # what tapes are padded with
                if not data:
                    break
                member = zlib.decompressobj(_GZIP_FORMAT)
            data = yield from _member(member, data)
            if member.eof:
                member = None
    if member is not None:
        raise broken("the gzip file is cut off", "broken_gzip")


def _member(member: zlib._Decompress, data: bytes) -> Generator[bytes, None, bytes]:
    """Unpack what there is; returns the bytes behind the member, once that has ended."""
    full = True
    # A full piece may have left some in the decompressor, even where it has read all.
    while not member.eof and (data or full):
        try:
            piece = member.decompress(data, STEP)
        except zlib.error as error:
            raise broken(f"the gzip file is damaged: {error}", "broken_gzip") from None
        data, full = member.unconsumed_tail, len(piece) == STEP
        if piece:
            yield piece
    return member.unused_data
