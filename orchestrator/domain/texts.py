"""What texts may hold that callers send: prompts, keys, names, metadata. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from orchestrator.domain.errors import InvalidField

MAX_KEY_CHARS = 255

# OpenAI's bounds for what is kept beside an object.
_MAX_METADATA = 16
_MAX_METADATA_NAME = 64
_MAX_METADATA_VALUE = 512

# Of a reason that is kept: long enough to say what is wrong, short enough for a hundred thousand rows.
_MAX_REASON = 500

# What Unicode counts among letters and symbols and shows as nothing: fillers and the empty Braille cell.
_INVISIBLE = frozenset("\u115f\u1160\u2800\u3164\uffa0")

# Control characters but for tab, newline and carriage return; and half surrogate pairs, which UTF-8 cannot say.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

# Neither `.` nor `..`: on their way clients and proxies take them out of a path, and what is left is another route's.
_TENANT = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,64}")


def check_tenant(name: str, param: str = "tenant") -> str:
    """The same. Raises `InvalidField` for what no tenant can be called."""
    if not _TENANT.fullmatch(name):
        raise InvalidField("a tenant is 1 to 64 letters, digits or ._-, and neither . nor ..", param=param)
    return name


def check_prompt(prompt: str, *, max_chars: int) -> None:
    """Raise `InvalidField` for a prompt that is blank, too long, or no text."""
    check_text(prompt, "prompt", max_chars=max_chars)
    if is_blank(prompt):
        raise InvalidField("must not be blank", param="prompt")


def check_key(key: str | None) -> None:
    """Raise `InvalidField` for a key of repetition that is too long, or no text."""
    check_text(key or "", "idempotency_key", max_chars=MAX_KEY_CHARS)


def check_metadata(metadata: Mapping[str, str], param: str = "metadata") -> None:
    """Raise `InvalidField` unless it is at most 16 short texts by short names."""
    if len(metadata) > _MAX_METADATA:
        raise InvalidField(f"has {len(metadata)} entries; at most {_MAX_METADATA} are allowed", param=param)
    for name, value in metadata.items():
        check_text(name, param, max_chars=_MAX_METADATA_NAME)
        check_text(value, f"{param}[{name}]", max_chars=_MAX_METADATA_VALUE)


def check_text(text: str, param: str, *, max_chars: int) -> None:
    """Raise `InvalidField` when a text is too long, or holds what no prompt means and PostgreSQL or UTF-8 refuse."""
    if len(text) > max_chars:
        raise InvalidField(f"has {len(text)} characters; at most {max_chars} are allowed", param=param, code="too_long")
    # Nearly every text is printable, which is quicker to see, and nothing that is forbidden is.
    forbidden = None if text.isprintable() else _FORBIDDEN.search(text)
    if forbidden:
        raise InvalidField(
            f"holds U+{ord(forbidden[0]):04X} at position {forbidden.start()}, which no text may", param=param
        )


def storable(reason: str) -> str:
    """The beginning of a text of an error, without what JSON in the database cannot hold."""
    return reason[:_MAX_REASON].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen."""
    return not any(map(_shows, text))


def _shows(character: str) -> bool:
    """Whether a character leaves a mark of its own: spaces, format characters and accents without a base do not."""
    return unicodedata.category(character)[0] in "LNPS" and character not in _INVISIBLE
