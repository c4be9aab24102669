"""What each column of an input is for: a name, a seed, a picture, a parameter of the video, or a variable."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.errors import InvalidField
from orchestrator.domain.template import Template, name_of
from orchestrator.domain.texts import check_text

MAX_COLUMNS = 200
_MAX_NAME = 128

CUSTOM_ID, SEED = "custom_id", "seed"
# The picture's column, and the names that the dialects' requests have for it.
PICTURES = ("image", "input_reference", "image_reference", "reference_url")
TEXTS = ("prompt", "negative_prompt")
# What is the campaign's affair, and cannot differ from row to row.
FORBIDDEN = frozenset(
    ("priority", "webhook_url", "run_at", "deadline", "idempotency_key", "idempotency-key")
) | frozenset(("extra_body", "extra_params", "n"))

_LIKENESS = 0.8
# Words of their own, a letter away from a parameter.
_WORDS = frozenset(("weight", "speed"))
_SEPARATORS = re.compile(r"[\s_-]+")
# How many names one file may have looked up, and how many sets of names it may have kept ready.
_MAX_LOOKED_AT = 5000
_MAX_LAYOUTS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where in a record's values everything is. None is a column that is not there."""

    custom_id: int | None
    seed: int | None
    image: int | None
    # What the picture's column is called.
    image_name: str
    # Of each its place and its name; of variables also the name as a key in JSON.
    params: tuple[tuple[int, str], ...]
    variables: tuple[tuple[int, str, str], ...]


class Columns:
    """The columns of one campaign's input."""

    def __init__(self, prompt: Template | None, negative: Template | None, parameters: frozenset[str]) -> None:
        """`parameters` are the fields of a video request. Raises `InvalidField` as `check_variables` does."""
        check_variables(prompt, negative, parameters)
        self._parameters = parameters
        self._variables = _variables(prompt, negative)
        self._made = {name for name, template in zip(TEXTS, (prompt, negative), strict=True) if template is not None}
        self._reserved = {CUSTOM_ID, SEED, *PICTURES[:1], *FORBIDDEN, *parameters}
        self._plain = {_plain(name): name for name in sorted(self._reserved)}
        self._alike: dict[str, str | None] = {}
        self._layouts: dict[tuple[str, ...], Layout] = {}

    def of_table(self, names: tuple[str, ...]) -> Layout:
        """For a header. Raises `InvalidField` for a column that cannot be meant, or one that is missing."""
        layout = self.of_names(names)
        there = [name for _, name, _ in layout.variables]
        for variable in self._variables:
            if variable not in there:
                near = difflib.get_close_matches(variable.casefold(), [name.casefold() for name in there], 1)
                hint = next((f'; is it "{name}"?' for name in there if [name.casefold()] == near), "")
                raise InvalidField(
                    f"is a variable of the template, and there is no column of that name{hint}",
                    param=variable,
                    code="missing_column",
                )
        return layout

    def of_names(self, names: tuple[str, ...]) -> Layout:
        """For a record that brings names of its own. Raises `InvalidField` for one that cannot be meant."""
        layout = self._layouts.get(names)
        if layout is None:
            layout = self._layout(names)
            if len(self._layouts) >= _MAX_LAYOUTS:
                self._layouts.clear()
            self._layouts[names] = layout
        return layout

    def _layout(self, raw: Sequence[str]) -> Layout:
        places = _places(raw)
        pictures = [name for name in PICTURES if name in places and (name == PICTURES[0] or name in self._parameters)]
        if len(pictures) > 1:
            raise InvalidField(f"is given beside {pictures[0]}", param=pictures[1], code="duplicate_column")
        params, variables = [], []
        for name, at in places.items():
            if name not in self._variables and name in (CUSTOM_ID, SEED, *pictures):
                continue
            if name not in self._variables and self._is_parameter(name):
                params.append((at, name))
            else:
                variables.append((at, name, f"{json.dumps(name, ensure_ascii=False)}:"))
        return Layout(
            custom_id=places.get(CUSTOM_ID),
            seed=places.get(SEED),
            image=places[pictures[0]] if pictures else None,
            image_name=pictures[0] if pictures else PICTURES[0],
            params=tuple(params),
            variables=tuple(variables),
        )

    def _is_parameter(self, name: str) -> bool:
        if name in FORBIDDEN:
            raise InvalidField("is set for the campaign, not for a row", param=name, code="forbidden_column")
        if name in self._made:
            raise InvalidField(
                f"is made by the campaign's template; call the column otherwise, or let the template be {{{name}}}",
                param=name,
                code="forbidden_column",
            )
        if name in self._parameters:
            return True
        if alike := self._like(name):
            raise InvalidField(
                f'looks like a misspelt "{alike}"; call it something else, or use it in the template',
                param=name,
                code="misspelt_column",
            )
        return False

    def _like(self, name: str) -> str | None:
        """The reserved name that this one was probably meant to be."""
        if name not in self._alike:
            if len(self._alike) >= _MAX_LOOKED_AT:
                return None  # thousands of names are data, not slips
            plain = _plain(name)
            near = [] if plain in _WORDS else difflib.get_close_matches(plain, self._plain, 1, _LIKENESS)
            self._alike[name] = self._plain[near[0]] if near else None
        return self._alike[name]


def check_variables(prompt: Template | None, negative: Template | None, parameters: frozenset[str]) -> None:
    """Raise `InvalidField` for a variable whose column would be a parameter, too: who can say which is meant."""
    texts = zip(TEXTS, (prompt, negative), strict=True)
    free = {name for name, template in texts if template is not None and template.sole == name}
    taken = ({CUSTOM_ID, SEED, *PICTURES, *TEXTS} | parameters) - FORBIDDEN - free
    for name in _variables(prompt, negative):
        if name in taken:
            raise InvalidField(
                f"has the variable {{{name}}}, and a column {name} is what a row's {name} is set by: call it otherwise",
                param="prompt" if prompt and name in prompt.variables else "negative_prompt",
                code="invalid_template",
            )


def _variables(prompt: Template | None, negative: Template | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for template in (prompt, negative) if template for name in template.variables))


def _places(raw: Sequence[str]) -> dict[str, int]:
    if len(raw) > MAX_COLUMNS:
        raise InvalidField(
            f"has {len(raw)} columns; at most {MAX_COLUMNS} are allowed", param="input", code="too_many_columns"
        )
    places: dict[str, int] = {}
    for at, text in enumerate(raw):
        name = name_of(text)
        if not name:
            raise InvalidField(f"column {at + 1} has no name", param="input", code="empty_column")
        check_text(name, f"the name of column {at + 1}", max_chars=_MAX_NAME)
        if name in places:
            raise InvalidField("is the name of two columns", param=name, code="duplicate_column")
        places[name] = at
    return places


def _plain(name: str) -> str:
    return _SEPARATORS.sub("_", name).casefold()
