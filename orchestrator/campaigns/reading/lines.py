"""Bytes to lines, however they end (LF, CRLF, CR) and wherever the pieces were cut, within a bound."""

from __future__ import annotations

from collections.abc import Iterator

ENDS = (b"\n", b"\r")


def pieces(chunks: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """Lines with their ends. One of more than `limit` bytes may come in several pieces, the first longer than that."""
    rest = bytearray()
    for chunk in chunks:
        ends = b"\n" in chunk or b"\r" in chunk or rest.endswith(b"\r")
        rest += chunk
        if ends:
            lines = bytes(rest).splitlines(keepends=True)
            # The last CR may be the first half of CRLF.
            rest = bytearray(b"" if lines[-1].endswith(b"\n") else lines.pop())
            yield from lines
        if len(rest) > limit + 1:
            half = rest.endswith(b"\r")
            yield bytes(rest[:-1] if half else rest)
            rest = bytearray(b"\r" if half else b"")
    if rest:
        yield bytes(rest)


def lines(chunks: Iterator[bytes], limit: int) -> Iterator[tuple[int, bytes | None]]:
    """Numbers (from 1) and bytes of the lines that are not blank; None for one of more than `limit` bytes."""
    number = 0
    ended = True
    for piece in pieces(chunks, limit):
        number += ended
        began, ended = ended, piece.endswith(ENDS)
        if not began:
            continue
        if len(piece) > limit:
            yield number, None
        elif line := piece.strip():
            yield number, line
