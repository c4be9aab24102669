"""Whether a file is the manifest that it says it is: read once, line by line, whatever its size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.campaigns.signing import Keys
from orchestrator.domain import jsontext
from orchestrator.domain.canonical import read
from orchestrator.domain.errors import IntegrityError
from orchestrator.domain.manifest import HEADER, VERSION, ManifestRow, ManifestSignature, Tally, row_of

# Far more than a line of ours has: a file that is none of ours is not read into memory.
_MAX_LINE = 16 * 2**20
_HEADER_NAMES = {
    "object", "version", "campaign", "name", "revision", "final", "template_versions", "rows", "counts", "input",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What a whole file says."""

    header: dict[str, Any]
    rows: int
    # Of all its bytes.
    sha256: str


def check(path: Path, signature: Path, keys: Keys, tell: Callable[[int], None] = lambda rows: None) -> Read:
    """Read a manifest and its signature; what it says. `tell` is called with the rows so far.

    Raises `IntegrityError` with the first thing that is wrong, and `OSError`.
    """
    signed = read_signature(signature)
    keys.verify(signed)
    found = read_manifest(path, tell)
    if found.sha256 != signed.sha256:
        raise IntegrityError(f"its SHA-256 is {found.sha256}; signed is {signed.sha256}")
    for name in ("campaign", "revision", "final", "rows"):
        if found.header[name] != getattr(signed, name):
            raise IntegrityError(f"line 1: {name} is {found.header[name]!r}; signed is {getattr(signed, name)!r}")
    return found


def read_signature(path: Path) -> ManifestSignature:
    """The signature in a file. Raises `IntegrityError` and `OSError`."""
    try:
        return ManifestSignature.from_dict(jsontext.parse(path.read_bytes()))
    except ValueError as error:
        raise IntegrityError(f"{path.name} is no JSON: {error}") from None
    except IntegrityError as error:
        raise IntegrityError(f"{path.name} {error}") from None


def read_manifest(path: Path, tell: Callable[[int], None] = lambda rows: None) -> Read:
    """Read all lines: each canonical, rows in order, as many as the header says. Raises `IntegrityError`."""
    digest, tally = hashlib.sha256(), Tally()
    lines = _lines(path, digest.update)
    header = _header(next(lines, (1, None))[1])
    last = -1
    for number, fields in lines:
        row = _row(number, fields)
        if row.row <= last:
            raise IntegrityError(f"line {number}: row {row.row} comes after row {last}")
        last = row.row
        tally.add(row, fields["flags"])
        tell(tally.rows)
    if tally.rows != header["rows"]:
        raise IntegrityError(f"line 1: says {header['rows']} rows; there are {tally.rows}")
    if header["counts"] != (found := tally.counts(header["counts"].get("bad", 0))):
        raise IntegrityError(f"line 1: counts are {header['counts']}; the rows' are {found}")
    return Read(header=header, rows=tally.rows, sha256=digest.hexdigest())


def videos_of(path: Path) -> Iterator[tuple[int, ManifestRow]]:
    """The rows of a manifest that have a video, each with the number of its line."""
    for number, fields in _lines(path, lambda line: None):
        if number > 1 and (row := _row(number, fields)).has_video:
            yield number, row


def _lines(path: Path, pass_by: Callable[[bytes], None]) -> Iterator[tuple[int, Any]]:
    """Each line's number, from 1, and what it says."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_MAX_LINE):
            number += 1
            pass_by(line)
            if not line.endswith(b"\n"):
                raise IntegrityError(f"line {number}: has no end; the file was cut, or is no manifest")
            try:
                fields = read(line[:-1].decode())
            except ValueError as error:
                raise IntegrityError(f"line {number}: {error}") from None
            yield number, fields


def _header(header: Any) -> dict[str, Any]:
    if not isinstance(header, dict) or header.get("object") != HEADER:
        raise IntegrityError("line 1: is no header of a manifest")
    if header.get("version") != VERSION:
        raise IntegrityError(f"line 1: is of version {header.get('version')}; this release reads version {VERSION}")
    if header.keys() != _HEADER_NAMES or not isinstance(header["counts"], dict):
        raise IntegrityError("line 1: is no header of a manifest of this version")
    return header


def _row(number: int, fields: Any) -> ManifestRow:
    try:
        row = row_of(fields if isinstance(fields, dict) else {})
        counts = all(isinstance(each, int) for each in (row.row, row.attempts, row.size or 0))
        texts = all(isinstance(each, str) for each in (row.custom_id, row.state, row.key or "", row.sha256 or ""))
        if not counts or not texts or not isinstance(row.incidents, list):
            raise IntegrityError("is no row of a manifest of this version")
    except IntegrityError as error:
        raise IntegrityError(f"line {number}: {error}") from None
    return row
