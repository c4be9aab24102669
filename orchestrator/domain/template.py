"""A text with named places, like `a {product} on a table`, that every row fills with its own words. Pure.

Nothing but names stands between braces. Python's own formatting would also follow attributes, `{row.__class__}`, and
pad to any width, `{a:>9999999999}`: it is used nowhere here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from orchestrator.domain.errors import InvalidField
from orchestrator.domain.texts import check_text

# Of a template, of the name of a variable, and of what a row makes of it.
MAX_CHARS = 20_000
MAX_NAME_CHARS = 64
MAX_RENDERED_CHARS = 100_000

_CODE = "invalid_template"
# An escaped brace, a place, or a brace that belongs to neither.
_BRACES = re.compile(r"(?P<escaped>\{\{|\}\})|\{(?P<place>[^{}]*)\}|(?P<lone>[{}])")


@dataclass(frozen=True, slots=True)
class Template:
    """What it was made of, and the names of its variables in the order of their first use."""

    text: str
    variables: tuple[str, ...]
    # Texts and, between them, room for variables: which of them goes where.
    _parts: tuple[str, ...] = field(repr=False)
    _places: tuple[tuple[int, str], ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str, param: str) -> Template:
        """Raises `InvalidField` about `param`, with the place that is wrong."""
        check_text(text, param, max_chars=MAX_CHARS)
        parts: list[str] = []
        places: list[tuple[int, str]] = []
        for part, is_name in _split(text, param):
            if is_name:
                places.append((len(parts), part))
            parts.append("" if is_name else part)
        names = dict.fromkeys(name for _, name in places)
        return cls(text=text, variables=tuple(names), _parts=tuple(parts), _places=tuple(places))

    @property
    def sole(self) -> str | None:
        """The variable that the whole template is, if it is just one: `prompt` for `{prompt}`."""
        return self.variables[0] if len(self._places) == 1 and not "".join(self._parts).strip() else None

    def render(self, variables: Mapping[str, str]) -> str:
        """The text of one row. Raises `InvalidField` that names a variable without a value, or when it is too long."""
        parts = list(self._parts)
        try:
            for at, name in self._places:
                parts[at] = variables[name]
        except KeyError as error:
            raise InvalidField("has no value", param=str(error.args[0]), code="missing") from None
        # Counted before they are joined: a long value in thousands of places would fill the memory.
        if sum(map(len, parts)) > MAX_RENDERED_CHARS:
            longest = max((name for _, name in self._places), key=lambda name: len(variables[name]), default=None)
            raise InvalidField(
                f"makes a text of more than {MAX_RENDERED_CHARS} characters", param=longest, code="too_long"
            )
        return "".join(parts)


def name_of(text: str) -> str:
    """The one spelling of a name: the same letters, however its accents are encoded, are the same variable."""
    return unicodedata.normalize("NFC", text.strip())


def _split(text: str, param: str) -> Iterator[tuple[str, bool]]:
    """Its texts and names in order; the second of each pair says whether it is a name."""
    done = 0
    for match in _BRACES.finditer(text):
        if match.start() > done:
            yield text[done : match.start()], False
        done = match.end()
        if match["lone"]:
            _refuse_lone(text, match.start(), param)
        elif match["escaped"]:
            yield match[0][0], False
        else:
            yield _name(match["place"], param), True
    if done < len(text):
        yield text[done:], False


def _refuse_lone(text: str, at: int, param: str) -> NoReturn:
    brace = text[at]
    raise InvalidField(
        f"has a lone {brace} at position {at}, before {text[at + 1 : at + 21]!r}: a variable is a name in braces, like "
        f"{{product}}, and a brace that is meant as such is written twice, {brace * 2}",
        param=param,
        code=_CODE,
    )


def _name(place: str, param: str) -> str:
    name = name_of(place)
    if not name:
        raise InvalidField("has {} without a name between the braces", param=param, code=_CODE)
    if len(name) > MAX_NAME_CHARS:
        raise InvalidField(
            f"has a variable of more than {MAX_NAME_CHARS} characters: {{{name[:40]}...}}", param=param, code=_CODE
        )
    if not _is_letter(name[0]) or not all(map(_is_word, name)):
        raise InvalidField(
            f"has {{{name}}}, which is no variable: a name begins with a letter, and goes on with letters, digits, _ "
            "and spaces only",
            param=param,
            code=_CODE,
        )
    return name


def _is_letter(character: str) -> bool:
    return character == "_" or unicodedata.category(character)[0] == "L"


def _is_word(character: str) -> bool:
    """Marks are parts of letters in many scripts."""
    return character in "_ " or unicodedata.category(character)[0] in "LMN"
