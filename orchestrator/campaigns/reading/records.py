"""What every format is read into: numbered records of named values, good or bad, in the order of the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.campaigns.reading.formats import Format
from orchestrator.domain.errors import InvalidField


class Record(NamedTuple):  # made a million times, and a frozen dataclass takes three times as long to make
    """One record as its file has it. None and "" are absent values."""

    # The line that it begins in, or its number in a Parquet file; from 1.
    line: int
    # The same object for all records of a table; of lines of JSON, each has its own.
    names: tuple[str, ...]
    values: Sequence[object]
    # Bytes that it has in its file, or more than that: who wants to know exactly looks at the values.
    size: int


@dataclass(frozen=True, slots=True)
class BadRecord:
    """One that cannot be read."""

    line: int
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Source:
    """A file that is being read."""

    form: Format
    # Of a table; None where each record has names of its own.
    header: tuple[str, ...] | None
    # Of each record, apart from a picture that is within it. What has more than both is no record any more.
    max_record_bytes: int
    # Raises `InvalidField` about `input` where the file as a whole turns out to be broken.
    records: Iterator[Record | BadRecord]


class Written(float):
    """A number with a fraction, and how its file writes it: `1.50` is no `1.5` to somebody who prints it."""

    __slots__ = ("text",)

    text: str

    def __new__(cls, text: str) -> Written:
        number = super().__new__(cls, text)
        number.text = text
        return number


def broken(message: str, code: str) -> InvalidField:
    """The file as a whole cannot be read."""
    return InvalidField(message, param="input", code=code)


def empty() -> InvalidField:
    return broken("the input has no rows", "empty_file")


def too_long(line: int, limit: int, hint: str = "") -> BadRecord:
    return BadRecord(line, "too_long", f"the row has more than {limit} bytes{hint}")
