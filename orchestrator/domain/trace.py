"""Where in a trace something belongs, in the words of W3C Trace Context; it travels in headers and in rows.

https://www.w3.org/TR/trace-context/ says what a header may hold, and that one which does not is as none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MEMBER = re.compile(
    r"[a-z0-9][a-z0-9_*/@-]{0,255}="
    r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_SAMPLED = 1
# What everybody has to pass on, and so what is passed on: more is a stranger's to store with every job.
MOST_STATE_CHARS = 512
_MOST_MEMBERS = 32
# Of those that are too many, these go first.
_LARGE_MEMBER = 128


@dataclass(frozen=True, slots=True)
class TraceContext:
    """One span of one trace: what is begun under it is its child."""

    # 32 and 16 hex digits, neither of them all zeros.
    trace_id: str
    span_id: str
    # Whether whoever began the trace wants it recorded.
    sampled: bool
    # What vendors keep beside it; empty is nothing.
    state: str = ""

    @property
    def parent(self) -> str:
        """The `traceparent` header."""
        return f"00-{self.trace_id}-{self.span_id}-{_SAMPLED if self.sampled else 0:02x}"

    @property
    def headers(self) -> dict[str, str]:
        """What a request under this span carries."""
        return {"traceparent": self.parent} | ({"tracestate": self.state} if self.state else {})

    @property
    def kept(self) -> str:
        """One word for a row, and perhaps a space and the state."""
        return f"{self.parent} {self.state}" if self.state else self.parent


def of_headers(parents: Sequence[str], states: Sequence[str] = ()) -> TraceContext | None:
    """The context that a request came with; None where it has none, several, or one that is not well-formed."""
    if len(parents) != 1:
        return None
    match = _PARENT.fullmatch(parents[0].strip(" \t"))
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    # Later versions may say more behind what this one has.
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED), _bounded(states))


def of_row(kept: str | None) -> TraceContext | None:
    """What `kept` was made of; None where there is none."""
    if not kept:
        return None
    parent, _, state = kept.partition(" ")
    return of_headers([parent], [state] if state else ())


def trace_id_of(kept: str | None) -> str | None:
    """The trace's id alone, which is all that a log line needs."""
    return None if not kept else kept[3:35]


def _bounded(states: Sequence[str]) -> str:
    """The members of all `tracestate` headers together, within what is passed on; nothing where one is malformed."""
    members = [member for header in states for part in header.split(",") if (member := part.strip(" \t"))]
    keys = {member.partition("=")[0] for member in members}
    well_formed = len(members) <= _MOST_MEMBERS and len(keys) == len(members)
    if not well_formed or not all(_MEMBER.fullmatch(member) for member in members):
        return ""
    if sum(len(member) + 1 for member in members) - 1 > MOST_STATE_CHARS:
        members = [member for member in members if len(member) <= _LARGE_MEMBER]
    return ",".join(_fitting(members))


def _fitting(members: Sequence[str]) -> Iterator[str]:
    """The first of them, as many as there is room for: the newest stand first."""
    room = MOST_STATE_CHARS + 1
    for member in members:
        room -= len(member) + 1
        if room < 0:
            return
        yield member
