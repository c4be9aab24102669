"""A manifest of ours as input: every row that it names is rendered again, with the words and the seed it had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.campaigns.reading import jsonl
from orchestrator.campaigns.reading.lines import lines
from orchestrator.campaigns.reading.records import BadRecord, Record, empty, too_long

# What made the video. The rest of a manifest's line says what came of it.
_KEPT = ("custom_id", "prompt", "negative_prompt", "seed", "model", "profile", "image")
_HEADER = "campaign.manifest"


def records(chunks: Iterator[bytes], *, max_record_bytes: int, skip: int = 0) -> Iterator[Record | BadRecord]:
    """Records behind the first `skip`; a header in the first line is none of them. Raises `InvalidField`."""
    count, first = 0, True
    for number, line in lines(chunks, max_record_bytes):
        found = too_long(number, max_record_bytes) if line is None else jsonl.record(number, line)
        if first and _is_header(found):
            first = False
            continue
        first = False
        count += 1
        if count > skip:
            yield _flat(found)
    if not count:
        raise empty()


def _is_header(found: Record | BadRecord) -> bool:
    return isinstance(found, Record) and dict(zip(found.names, found.values, strict=True)).get("object") == _HEADER


def _flat(found: Record | BadRecord) -> Record | BadRecord:
    """Its parameters beside its own fields, which win."""
    if isinstance(found, BadRecord):
        return found
    line = dict(zip(found.names, found.values, strict=True))
    params = line.get("params")
    if params is not None and not isinstance(params, Mapping):
        return BadRecord(found.line, "invalid_value", "params must be an object")
    flat = dict(params or {}) | {name: line[name] for name in _KEPT if line.get(name) is not None}
    return Record(found.line, tuple(flat), tuple(flat.values()), found.size)
