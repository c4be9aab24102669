"""Under which names a team wants its videos in its own part of the bucket. Pure.

`s3://bucket/exports/acme/{custom_id}.mp4`: a pattern with at least one of `{custom_id}`, `{place}` and `{job}`, so that
no two rows of a campaign have one name, and perhaps `{campaign}`, so that no two campaigns have.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.domain import objects
from orchestrator.domain.errors import InvalidField, Unsupported

PARAM: Final = "output"
# Each tells the rows of a campaign apart.
TELLING: Final = ("custom_id", "place", "job")
_NAMES: Final = (*TELLING, "campaign")

_BRACES: Final = re.compile(r"\{([^{}]*)\}")
# What S3 promises to take everywhere, URLs and file systems too.
_LITERAL: Final = re.compile(r"[A-Za-z0-9!_.*'()=/-]*")
_MAX_KEY_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class OutputPattern:
    """A pattern that was checked. `parts` are literal and name by turns, a literal first and last."""

    parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, *, bucket: str, allowed: Sequence[str]) -> OutputPattern:
        """The pattern that a text says, below one of the prefixes `allowed`. Raises `RequestError` naming `output`."""
        scheme, _, rest = text.partition("://")
        named, _, key = rest.partition("/")
        if scheme != "s3" or not key:
            raise InvalidField("must be s3://bucket/prefix/{custom_id}.mp4", param=PARAM)
        if named != bucket:
            raise Unsupported(f"must lie in this deployment's own bucket, {bucket}", param=PARAM)
        parts = tuple(_BRACES.split(key))
        _check_names(parts[1::2])
        _check_literals(parts[::2])
        example = "".join("x" if place % 2 else part for place, part in enumerate(parts))
        if any(step in ("", ".", "..") for step in example.split("/")):
            raise InvalidField("must have no empty step in its path, and none of dots alone", param=PARAM)
        _check_prefix(parts[0], allowed)
        return cls(parts)

    def key(self, *, custom_id: str, place: int, job: str, campaign: str) -> str:
        """The key of a row's video; `job` and `campaign` are public ids. Raises `InvalidField` for too long a one."""
        values = {"custom_id": step_of(custom_id), "place": str(place), "job": job, "campaign": campaign}
        key = "".join(values[part] if index % 2 else part for index, part in enumerate(self.parts))
        if len(key.encode()) > _MAX_KEY_BYTES:
            raise InvalidField(f"makes a key of more than {_MAX_KEY_BYTES} bytes for row {place}", param=PARAM)
        return key


def step_of(custom_id: str) -> str:
    """A custom id as part of one step of a path: no other id has the same.

    Letters and digits of any language and `-_.~` are kept, the bytes of everything else percent-encoded; so are the
    dots of an id that has nothing else, which would lead elsewhere.
    """
    if not custom_id.strip("."):
        return custom_id.replace(".", "%2E")
    return "".join(letter if _kept(letter) else _encoded(letter) for letter in custom_id)


def _kept(letter: str) -> bool:
    return letter in "-_.~" or unicodedata.category(letter)[0] in "LMN"


def _encoded(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if name not in _NAMES:
            known = ", ".join(f"{{{each}}}" for each in _NAMES)
            raise InvalidField(f"has {{{name[:40]}}}; known are {known}", param=PARAM)
    if len(set(names)) < len(names):
        raise InvalidField("has one name twice", param=PARAM)
    if not set(names) & set(TELLING):
        raise InvalidField(
            "must have {custom_id}, {place} or {job}, or all rows would have one name", param=PARAM, code="missing"
        )


def _check_literals(literals: Sequence[str]) -> None:
    for literal in literals:
        if not _LITERAL.fullmatch(literal):
            raise InvalidField("may have letters of ASCII, digits, /, !_.*'()=- and {names}", param=PARAM)
    # Places are digits, jobs and campaigns of one length: with this between them, a key can be taken apart again.
    if any(not re.search(r"[^A-Za-z0-9]", between) for between in literals[1:-1]):
        raise InvalidField("must have something else than letters and digits between two names", param=PARAM)


def _check_prefix(literal: str, allowed: Sequence[str]) -> None:
    """Refuse a key that does not lie below a prefix that is allowed, or could lie among our own."""
    prefixes = [f"{prefix.strip('/')}/" for prefix in allowed if prefix.strip("/")]
    if not prefixes:
        raise Unsupported("this deployment delivers nowhere: its operator allows no prefix", param=PARAM)
    if literal.startswith(objects.OWN) or not literal.startswith(tuple(prefixes)):
        raise InvalidField(f"must lie below {' or '.join(prefixes)}", param=PARAM)
