"""JSON that others wrote, of bounded depth and numbers: the one way in which it is read, at every door. Pure.

Python's own reader goes as deep as its stack allows, which depends on who calls: what one caller could read, the next
could not, nor write again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

# Far deeper than anything that a request, a manifest or a file's header has.
MAX_DEPTH = 64
# Far more than any number here has. Python's own reader refuses thousands of them, with advice for programmers.
MAX_DIGITS = 100

_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


class TooDeep(ValueError):
    """JSON with more than `MAX_DEPTH` objects and lists within each other."""

    def __init__(self) -> None:
        super().__init__(f"it is nested more than {MAX_DEPTH} deep")


def parse(
    raw: bytes | str,
    *,
    parse_constant: Callable[[str], Any] | None = None,
    parse_float: Callable[[str], Any] | None = None,
    once: bool = False,
) -> Any:
    """What the text says; bytes may be UTF-8, UTF-16 or UTF-32. Raises `ValueError`, `TooDeep` among them.

    `once`: also for an object that has a name twice, of which others may read the one that Python's reader passes over.
    """
    text = raw if isinstance(raw, str) else raw.decode(json.detect_encoding(raw), "surrogatepass")
    check_depth(text)
    hook = _once if once else None
    return json.loads(
        text, parse_int=_integer, parse_constant=parse_constant, parse_float=parse_float, object_pairs_hook=hook
    )


def own(text: str) -> Any:
    """JSON that we wrote and kept ourselves, a million rows of it: as quickly as can be, without bounds."""
    return json.loads(text)


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in members:
        if name in found:
            raise ValueError(f"it has {name[:40]!r} twice in one object")
        found[name] = value
    return found


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"it holds an integer of more than {MAX_DIGITS} digits")
    return int(digits)


def check_depth(text: str) -> None:
    """Raise `TooDeep` before a reader goes so deep. One pass, and two counts where there are few brackets."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub("", text)):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > MAX_DEPTH:
            raise TooDeep
