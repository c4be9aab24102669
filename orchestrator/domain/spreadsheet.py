"""CSV that a spreadsheet may open: no cell of it runs. Pure.

RFC 4180, UTF-8, lines that end with CR LF. A text that a spreadsheet would take for a formula (OWASP, "CSV Injection")
gets an apostrophe before it, which makes it a text; what was meant exactly, the JSON says. Numbers stay numbers,
negative ones too. Whoever opens the file with another separator than the comma splits texts where nobody can protect
them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from orchestrator.domain import jsontext
from orchestrator.domain.canonical import text_of
from orchestrator.domain.manifest import NAMES

# Full-width signs too, which East Asian versions take for the others; and behind what is blank or shows as nothing,
# since some programs pass over that before they look.
_RUNS = re.compile("[\t\r\n]|[\\s\ufeff\u200b]*[=+\\-@\uff1d\uff0b\uff0d\uff20]")

# What of a row has parts is several columns (the error), words between spaces, or JSON (the parameters).
COLUMNS = (
    "row", "line", "custom_id", "state", "prompt", "negative_prompt", "seed", "model", "revision", "profile", "params",
    "numerics", "continuity", "key", "sha256", "size", "delivered", "job", "attempts", "gpu_seconds", "incidents",
    "flags", "error_code", "error_message", "template_version",
)  # fmt: skip


def cell(value: Any) -> str:
    """A value as a cell: a text that could run is kept from it; None is empty."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if _RUNS.match(value) else value
    return text_of(value)


def rows_of(rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Each row as a line of CSV, its end included."""
    out = io.StringIO()
    writer = csv.writer(out)
    for row in rows:
        writer.writerow([cell(value) for value in row])
        yield out.getvalue()
        out.seek(0)
        out.truncate()


def csv_of(lines: Iterable[str]) -> Iterator[str]:
    """A manifest's lines as CSV, one line at a time; its header becomes the names of the columns."""
    yield from rows_of([COLUMNS])
    yield from rows_of(_cells(jsontext.own(line)) for line in lines if not _heads(line))


def _heads(line: str) -> bool:
    # A row begins with its attempts, and has no `object`.
    return not line.startswith(f'{{"{NAMES[0]}":')


def _cells(fields: dict[str, Any]) -> list[Any]:
    error = fields["error"] or {}
    flat = {
        **fields,
        "incidents": " ".join(fields["incidents"]),
        "flags": " ".join(fields["flags"]),
        "error_code": error.get("code"),
        "error_message": error.get("message"),
    }
    return [flat[name] for name in COLUMNS]
