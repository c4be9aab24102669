"""Parquet, read by a confined child: what Arrow makes of users' bytes happens where nothing is secret."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from orchestrator.campaigns.reading.records import BadRecord, Record, broken
from orchestrator.confined.child import Answer, Child
from orchestrator.domain import jsontext
from orchestrator.domain.errors import InvalidField, Unavailable, Unsupported
from orchestrator.telemetry import logs

_log = logs.get("campaigns")

_MODULE = "orchestrator.campaigns.reading.parquet_child"

# For a thousand records, or fewer.
ANSWER_S = 30
# What Arrow may take beside a batch: pages, and the texts that its columns list once.
MEMORY = 384 * 2**20

_PLAIN = frozenset((str, int, float, bool, type(None)))


def opened(
    path: Path, *, max_bytes: int, max_record_bytes: int, skip: int = 0
) -> tuple[tuple[str, ...], Iterator[Record | BadRecord]]:
    """Names of the columns, and the records behind the first `skip`; `line` is a record's number.

    Raises `Unsupported` where pyarrow is not installed, `InvalidField`, now and later, and `Unavailable` for what is no
    fault of the file.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise Unsupported(
            "this deployment does not read Parquet (pip install 'cogmill[parquet]'); send CSV or JSON Lines",
            param="input",
        )
    bounds = {"max_bytes": max_bytes, "max_record_bytes": max_record_bytes, "skip": skip}
    limits = {"memory": MEMORY, "seconds": ANSWER_S}
    with path.open("rb") as file:
        child = Child(_MODULE, {**bounds, **limits}, handed=file)
        try:
            names = _names(_asked(child))
        except BaseException:
            child.end()
            raise
    return names, chain.from_iterable(_pieces(child, names))


def _names(said: Any) -> tuple[str, ...]:
    if not isinstance(said, list) or set(map(type, said)) != {str}:
        raise _odd()
    return tuple(said)


def _pieces(child: Child, names: tuple[str, ...]) -> Iterator[list[Record | BadRecord]]:
    try:
        while (said := _asked(child)) is not None:
            yield [_record(each, names) for each in said]
    finally:
        child.end()


def _asked(child: Child) -> Any:
    """What the child says next; None at the end. Raises `InvalidField`, and `Unavailable`."""
    said = child.ask({}, within_s=ANSWER_S)
    if not isinstance(said, Answer):
        if said.blameless(ANSWER_S):
            raise Unavailable(f"the Parquet file could not be read within {ANSWER_S} s: this machine is too busy")
        raise broken("the Parquet file takes too long to read, or breaks its reader", "broken_parquet")
    words = said.words
    if "memory" in words:
        raise broken("the Parquet file takes too much memory to read: write smaller pages", "too_large")
    if "unable" in words:
        _log.error("decoder_unable", error=str(words["unable"])[:200])
        raise Unavailable("the Parquet file cannot be read at this moment")
    if "refused" in words:
        raise InvalidField(str(words["refused"]), param=words.get("param"), code=words.get("code"))
    if "end" in words:
        return None
    try:
        return jsontext.own(said.blob.decode())
    except (ValueError, RecursionError):
        raise _odd() from None


def _record(said: Any, names: tuple[str, ...]) -> Record | BadRecord:
    """What is said of a record, held to what a child of ours says."""
    match said:
        case [int(line), int(size), list(values)] if len(values) == len(names) and _PLAIN.issuperset(map(type, values)):
            return Record(line, names, tuple(values), size)
        case [int(line), str(code), str(reason)]:
            return BadRecord(line, code, reason)
    raise _odd()


def _odd() -> InvalidField:
    return broken("the Parquet file is damaged: its reader makes no sense", "broken_parquet")
