"""JSON Lines: an object each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn

from orchestrator.campaigns.reading.lines import lines
from orchestrator.campaigns.reading.records import BadRecord, Record, Written, empty, too_long
from orchestrator.domain import jsontext

_CODE = "invalid_json_line"


def records(chunks: Iterator[bytes], *, max_record_bytes: int, skip: int = 0) -> Iterator[Record | BadRecord]:
    """Records behind the first `skip`. Raises `InvalidField` at the end of a file that has none."""
    count = 0
    for number, line in lines(chunks, max_record_bytes):
        count += 1
        if count > skip:
            yield too_long(number, max_record_bytes) if line is None else record(number, line)
    if not count:
        raise empty()


def record(number: int, line: bytes) -> Record | BadRecord:
    """One line."""
    try:
        value = parse(line)
    except UnicodeDecodeError as error:
        return BadRecord(number, "not_utf8", f"the row is not valid UTF-8, at byte {error.start + 1}")
    except ValueError as error:
        return BadRecord(number, _CODE, f"the row is not valid JSON: {error}")
    if not isinstance(value, dict):
        return BadRecord(number, _CODE, "the row must be a JSON object")
    return Record(number, tuple(value), tuple(value.values()), len(line))


def parse(line: bytes) -> Any:
    """Like `jsontext.parse`, but strict, and numbers know how they were written. Raises `ValueError`."""
    text = line.decode()
    jsontext.check_depth(text)
    value, end = _decoder.raw_decode(text)
    if end != len(text):
        raise ValueError(f"something follows the object at position {end}")
    return value


def _integer(digits: str) -> int:
    if len(digits) > jsontext.MAX_DIGITS:
        raise ValueError(f"it holds an integer of more than {jsontext.MAX_DIGITS} digits")
    return int(digits)


def _fraction(text: str) -> Written:
    number = Written(text)
    if not math.isfinite(number):
        raise ValueError(f"it holds {text[:40]}, which is beyond all bounds")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Made once: making it takes longer than most lines do.
_decoder = json.JSONDecoder(parse_int=_integer, parse_float=_fraction, parse_constant=_no_constant)
