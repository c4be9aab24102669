"""Records made into rows, piece by piece: each is tried as the request that it will be; a bad one stops no other."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.campaigns.reading.columns import CUSTOM_ID, PICTURES, SEED, Columns, Layout
from orchestrator.campaigns.reading.formats import Format
from orchestrator.campaigns.reading.records import BadRecord, Record, Source, Written
from orchestrator.campaigns.reading.values import MAX_CUSTOM_ID, custom_id_of, image_of, seed_of, text_of
from orchestrator.campaigns.requests import Priced
from orchestrator.domain.campaign_rows import BadRow, NewRow
from orchestrator.domain.errors import InvalidField, RequestError, StaleEpoch, Unavailable
from orchestrator.domain.template import Template, name_of
from orchestrator.domain.texts import check_text, storable
from orchestrator.telemetry import aside

# About so many characters of rows are taken at once.
TAKE_CHARS = 8 * 2**20
# Of all variants of one record together: a picture within the row is in each of them.
_MAX_VARIANTS_CHARS = 64 * 2**20
# A row that we could not deal with, whosever fault that is; the log has more.
_BROKEN = ("internal_error", "this row could not be dealt with: internal error")
# The one parameter that is an object.
_OBJECTS = frozenset(("metadata",))

# What a row costs with its parameters: its own, its texts as rendered, its seed, its picture as `input_reference`.
Check = Callable[[Mapping[str, Any]], Priced]

_quoted = json.encoder.encode_basestring
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True, slots=True)
class Taken:
    """What a piece of the input came to; empty when it is over."""

    rows: list[NewRow]
    # Of each of the rows. Variants cost the same.
    prices: list[Priced]
    bad: list[BadRow]
    # Records of the file, good and bad: what `skip` counts.
    records: int


class RowReader:
    """Takes in an input piece by piece. Its `RequestError`s, from making it on, are about the file as a whole."""

    def __init__(
        self,
        source: Source,
        *,
        prompt: Template | None,
        negative_prompt: Template | None = None,
        parameters: frozenset[str],
        check: Check,
        variants: int = 1,
        seeds: Sequence[int] = (),
    ) -> None:
        """`seeds` make a variant each; without them there are `variants`, whose seeds are made later.

        `check` raises a `RequestError` for a row that cannot be rendered. The campaign's defaults are its own affair.
        """
        if source.form is Format.MANIFEST:
            prompt = negative_prompt = None  # its texts are rendered already, and may have braces
        self._source = source
        self._prompt, self._negative = prompt, negative_prompt
        self._columns = Columns(prompt, negative_prompt, parameters)
        self._table = None if source.header is None else self._columns.of_table(source.header)
        self._check = check
        self._seeds = tuple(seeds)
        self._variants = len(seeds) or variants
        if self._table is not None and self._table.seed is not None and self._variants > 1:
            raise _seed_beside_variants()
        self._stopped: Exception | None = None

    def take(self, records: int, *, chars: int = TAKE_CHARS) -> Taken:
        """The next `records`, or fewer where they have more than `chars`."""
        if self._stopped is not None:
            raise self._stopped
        rows: list[NewRow] = []
        prices: list[Priced] = []
        bad: list[BadRow] = []
        seen: set[str] = set()
        count = size = 0
        while count < records and size < chars:
            try:
                record = next(self._source.records, None)
            except Exception as error:
                self._stopped = error  # what is read after that would look like the end
                raise
            if record is None:
                break
            count += 1
            found = self._rows(record, seen)
            if isinstance(found, BadRow):
                bad.append(found)
            else:
                variants, price = found
                rows += variants
                prices += [price] * len(variants)
                size += len(variants) * len(variants[0].body)
        return Taken(rows, prices, bad, count)

    def _rows(self, record: Record | BadRecord, seen: set[str]) -> tuple[list[NewRow], Priced] | BadRow:
        """The variants of a record, and what each of them costs."""
        if isinstance(record, BadRecord):
            return BadRow(record.line, None, None, record.code, storable(record.reason))
        custom_id = None
        try:
            layout = self._table or self._columns.of_names(record.names)
            said = None if layout.custom_id is None else record.values[layout.custom_id]
            custom_id = custom_id_of(said, record.line)
            if record.size > self._source.max_record_bytes:
                _check_size(record, layout, self._source.max_record_bytes)
            names = self._names(custom_id)
            if not seen.isdisjoint(names):
                raise InvalidField("comes twice in this input", param=CUSTOM_ID, code="duplicate_custom_id")
            found = self._good(record, layout, names)
            seen.update(names)
            return found
        except RequestError as error:
            field = None if error.param is None else storable(error.param)
            return BadRow(record.line, custom_id or _named(record), field, error.code, storable(error.message))
        except (Unavailable, StaleEpoch):
            raise
        except Exception as error:
            aside.put("campaign_rows", error, line=record.line)
            return BadRow(record.line, custom_id, None, *_BROKEN)

    def _names(self, custom_id: str) -> tuple[str, ...]:
        if self._variants == 1:
            return (custom_id,)
        check_text(custom_id, CUSTOM_ID, max_chars=MAX_CUSTOM_ID - len(f"-{self._variants}"))
        return tuple(f"{custom_id}-{number}" for number in range(1, self._variants + 1))

    def _good(self, record: Record, layout: Layout, names: tuple[str, ...]) -> tuple[list[NewRow], Priced]:
        values = record.values
        variables: dict[str, str] = {}
        written = []
        for at, name, key in layout.variables:
            value = values[at]
            if value is None or value == "":
                continue
            text = value if type(value) is str else text_of(value, name)
            variables[name] = text
            written.append(key + _quoted(text))
        params = _params(layout, values) if layout.params else {}
        image = None if layout.image is None else image_of(values[layout.image], layout.image_name)
        if layout.seed is not None and (seed := seed_of(values[layout.seed])) is not None:
            if self._variants > 1:
                raise _seed_beside_variants()
            params[SEED] = seed
        head = f'{{"vars":{{{",".join(written)}}},"params":'
        tail = f',"image":{_encode(image)}' if image else ""
        # Nearly every row is plain: only for others each text is looked at.
        if params or tail or not head.isprintable() or "\\" in head:
            _check_texts(variables, None)
            _check_texts(params, None)
            _check_texts(image, layout.image_name)
        price = self._try(variables, params, image)
        return self._variants_of(record.line, names, head, params, tail), price

    def _try(self, variables: Mapping[str, str], params: dict[str, Any], image: Mapping[str, str] | None) -> Priced:
        """What the row costs. Raises what the request would be refused with."""
        wish = params.copy()
        if self._prompt is not None:
            wish["prompt"] = self._prompt.render(variables)
        if self._negative is not None:
            wish["negative_prompt"] = self._negative.render(variables)
        if image is not None:
            wish["input_reference"] = image
        return self._check(wish)

    def _variants_of(
        self, line: int, names: tuple[str, ...], head: str, params: dict[str, Any], tail: str
    ) -> list[NewRow]:
        if len(names) == 1 and not params and not self._seeds:
            return [NewRow(line, names[0], f"{head}{{}}{tail}}}", bool(tail))]
        if (len(head) + len(tail)) * len(names) > _MAX_VARIANTS_CHARS:
            raise InvalidField(
                "the picture is within the row and so in each variant; upload it, or give its URL",
                param=PICTURES[0],
                code="too_large",
            )
        rows = []
        for number, name in enumerate(names):
            if self._seeds and (SEED not in params or len(names) > 1):
                params[SEED] = self._seeds[number]
            which = f',"variant":{number + 1}' if len(names) > 1 and not self._seeds else ""
            own = _encode(params) if params else "{}"
            rows.append(NewRow(line, name, f"{head}{own}{tail}{which}}}", bool(tail)))
        return rows


def _params(layout: Layout, values: Sequence[object]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for at, name in layout.params:
        value = values[at]
        if value is None or value == "":
            continue
        if isinstance(value, (dict, list)) and name not in _OBJECTS:
            raise InvalidField("must be a text, a number or a boolean, not a list or an object", param=name)
        params[name] = value
    return params


def _check_size(record: Record, layout: Layout, most: int) -> None:
    """Raise `InvalidField`, about the largest of its values, for a record that has too much beside its picture."""
    sizes = [0 if at == layout.image else _size_of(value) for at, value in enumerate(record.values)]
    if sum(sizes) > most:
        raise InvalidField(
            f"the row has more than {most} bytes, most of them here; only a picture may be larger",
            param=name_of(record.names[sizes.index(max(sizes))]),
            code="too_long",
        )


def _size_of(value: object) -> int:
    match value:
        case str():
            text = value
        case Written():
            text = value.text
        case _:
            text = _encode(value)
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _check_texts(value: object, name: str | None) -> None:
    """Raise `InvalidField` for what PostgreSQL refuses or no text means, wherever in the value it is."""
    match value:
        case str():
            check_text(value, name or "", max_chars=sys.maxsize)
        case Mapping():
            for key, inner in value.items():
                check_text(key, name or key, max_chars=sys.maxsize)
                _check_texts(inner, name or key)
        case list():
            for inner in value:
                _check_texts(inner, name)


def _seed_beside_variants() -> InvalidField:
    return InvalidField("is given beside variants, which have a seed each", param=SEED)


def _named(record: Record) -> str | None:
    """The row's own name where its names cannot be meant, if it has one."""
    said = dict(zip(record.names, record.values, strict=False)).get(CUSTOM_ID)
    try:
        return custom_id_of(said, record.line)
    except RequestError:
        return None
