"""CSV (RFC 4180), as spreadsheets and programs write it: a header, then records that may hold line ends in quotes.

The delimiter is a comma; or a semicolon or a tab, where the header has no comma outside quotes, but that one. Excel's
own first line, `sep=;`, says it, too. Quotes must be whole: `"a" b` is a bad row, not a guess.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import chain

from orchestrator.campaigns.reading.lines import ENDS, pieces
from orchestrator.campaigns.reading.records import BadRecord, Record, broken, empty, too_long

# The process's bound for a cell is off: records are bounded before they get there.
csv.field_size_limit(2**31 - 1)

_QUOTED = re.compile(r'"[^"]*"?')
_EXCEL_HINT = re.compile(r"sep=([,;\t])\s*", re.IGNORECASE)


class _TooLong(Exception):
    """More bytes in a record than it may have."""


class _Lines:
    """The lines that `csv.reader` asks for, one record's at a time, numbered and counted."""

    def __init__(self, chunks: Iterator[bytes], limit: int) -> None:
        self._pieces = pieces(chunks, limit)
        self._limit = limit
        # Lines read so far, and those of the record.
        self.number = 0
        self.start = 1
        # Of the record.
        self.size = 0
        self.undecodable = False
        self._last = b""

    def begin(self) -> None:
        """A new record begins with the next line."""
        self.start = self.number + 1
        self.size = 0
        self.undecodable = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        piece = next(self._pieces)
        self.number += 1
        self.size += len(piece)
        if self.size > self._limit:
            self._last = piece
            raise _TooLong
        try:
            return piece.decode()
        except UnicodeDecodeError:
            self.undecodable = True
            return piece.decode(errors="replace")

    def leave(self) -> None:
        """Go to the end of a record that is too long: the first line end that is not within quotes."""
        piece: bytes | None = self._last
        quoted = self.number > self.start  # only quotes go on beyond a line
        while piece is not None:
            quoted ^= piece.count(b'"') % 2 == 1
            ended = piece.endswith(ENDS)
            if ended and not quoted:
                return
            piece = next(self._pieces, None)
            self.number += ended and piece is not None


def opened(
    chunks: Iterator[bytes], *, max_record_bytes: int, skip: int = 0
) -> tuple[tuple[str, ...], Iterator[Record | BadRecord]]:
    """Names of the columns, and the records behind the first `skip`. Raises `InvalidField`, now and later."""
    lines = _Lines(chunks, max_record_bytes)
    try:
        first = _first_line(lines)
        hint = _EXCEL_HINT.fullmatch(first)
        reader = csv.reader(lines if hint else chain([first], lines), delimiter=_delimiter(first, hint), strict=True)
        header = next((cells for cells in reader if cells), [])
    except _TooLong:
        raise broken(f"the header has more than {max_record_bytes} bytes", "too_large") from None
    except csv.Error as error:
        raise broken(f"the header cannot be read: {error}", "invalid_header") from None
    if lines.undecodable:
        raise broken("must be UTF-8: the header is not", "not_utf8")
    if not header:
        raise empty()
    names = tuple(header)
    return names, _records(lines, reader, names, max_record_bytes, skip)


def _first_line(lines: _Lines) -> str:
    for line in lines:
        if line.strip():
            return line
        lines.begin()
    raise empty()


def _delimiter(header: str, hint: re.Match[str] | None) -> str:
    if hint:
        return hint[1]
    bare = _QUOTED.sub("", header)
    return next((mark for mark in ";\t" if mark in bare and "," not in bare), ",")


def _records(
    lines: _Lines, reader: Iterator[list[str]], names: tuple[str, ...], limit: int, skip: int
) -> Iterator[Record | BadRecord]:
    count, width = 0, len(names)
    while True:
        lines.begin()
        found: Record | BadRecord
        try:
            cells = next(reader)
            if not any(cells):  # a blank line, or one of delimiters, of which spreadsheets leave many
                continue
            start = lines.start
            if lines.undecodable:
                found = BadRecord(start, "not_utf8", "the row is not valid UTF-8")
            elif len(cells) != width:
                found = BadRecord(start, "ragged_row", f"the row has {len(cells)} cells, and the header {width}")
            else:
                found = Record(start, names, cells, lines.size)
        except StopIteration:
            break
        except _TooLong:
            found = too_long(lines.start, limit, "; a quote in it may never be closed")
            lines.leave()
        except csv.Error as error:
            found = _misquoted(lines, error)
        count += 1
        if count > skip:
            yield found
    if not count:
        raise empty()


def _misquoted(lines: _Lines, error: csv.Error) -> BadRecord:
    if "unexpected end" in str(error):
        reason = f"a quote that opens in the row is never closed: all up to line {lines.number} belongs to it"
    else:
        reason = f"the quotes are not as CSV has them: {error}"
    return BadRecord(lines.start, "invalid_quotes", reason)
