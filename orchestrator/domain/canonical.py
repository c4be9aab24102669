"""One text for each JSON value: what is signed and compared byte by byte. Pure.

RFC 8785 (the JSON Canonicalization Scheme): keys in the order of their UTF-16 units, no spaces, every character as
itself but for `"`, the backslash and control characters, numbers as ECMAScript writes them. Two things come before:

- A number that is not whole is rounded to six decimal places, half to even; so what one machine's last bit says does
  not make another text. One that is whole then is written without a point: 6.0 and 6 are equal, and so are their texts.
- What is not finite is null, for JSON has no word for it.

Integers are written in full, also beyond 2**53, where a reader of doubles would round them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring
from math import isfinite
from typing import Any

from orchestrator.domain import jsontext

# A text as JSON.
quoted = encode_basestring

# What ECMAScript writes with an exponent begins there.
_EXPONENT = 1e21

# Where both orders of names differ.
_SUPPLEMENTARY = re.compile("[\U00010000-\U0010ffff]")
# Writes what is no float as `text_of` does, in C.
_quickly = json.JSONEncoder(ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":")).encode


def text_of(value: Any) -> str:
    """The text of a value made of mappings with keys that are texts, sequences, texts, numbers, booleans and None."""
    kind = type(value)
    if kind is str:
        return quoted(value)
    if kind is int:
        return repr(value)
    if kind is dict:
        return "{" + ",".join([f"{quoted(name)}:{text_of(value[name])}" for name in _ordered(value)]) + "}"
    if value is None:
        return "null"
    if kind is float:
        return number(value)
    if kind is bool:
        return "true" if value else "false"
    return _of_another(value)


def _of_another(value: Any) -> str:
    """Of what is none of JSON's own types, such as an enum's member."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        return text_of(dict(value))
    if isinstance(value, Sequence):
        return "[" + ",".join([text_of(each) for each in value]) + "]"
    raise TypeError(f"JSON has no {type(value).__name__}")


def _ordered(value: dict[str, Any]) -> list[str]:
    """The names of an object, as they are to follow each other."""
    names = sorted(value)
    return names if "".join(names).isascii() else sorted(names, key=_utf_16)


def _utf_16(name: str) -> bytes:
    return name.encode("utf-16-be", "surrogatepass")


def number(value: float) -> str:
    """The text of a number."""
    if not isfinite(value):
        return "null"
    rounded = round(value, 6)
    if rounded == (whole := int(rounded)):
        return repr(whole) if abs(rounded) < _EXPONENT else repr(float(rounded))
    if -1e-4 < rounded < 1e-4:  # where Python has an exponent, and ECMAScript has not yet
        return f"{rounded:.6f}".rstrip("0")
    return repr(rounded)


def read(text: str) -> Any:
    """What a canonical text says. Raises `ValueError` for a text that is not the one of its value."""
    jsontext.check_depth(text)
    value = jsontext.parse(text, parse_float=_float, parse_constant=_no_constant)
    # In C where that is sure to be the same, since a million lines are read so.
    if (_SUPPLEMENTARY.search(text) or _quickly(value) != text) and text_of(value) != text:
        raise ValueError("it is not written in the canonical way")
    return value


def _float(text: str) -> float:
    value = float(text)
    if number(value) != text:
        raise ValueError(f"the number {text[:40]} is not written in the canonical way")
    return value


def _no_constant(text: str) -> Any:
    raise ValueError(f"JSON has no {text}")
