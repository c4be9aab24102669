"""JSON of others is read to a bounded depth, through every door alike."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import TypeAdapter, ValidationError

from api.wire.bodies import Texts, parse_object
from orchestrator.batches.lines import Line, LineReader
from orchestrator.domain import jsontext
from orchestrator.domain.errors import ConfigError, InvalidField, Unauthenticated
from orchestrator.domain.jsontext import MAX_DEPTH, TooDeep
from orchestrator.objects import results
from orchestrator.tenants import keys
from workers.bucket.checkpoints import _metadata
from workers.modelfiles.manifest import Manifest

ROOT = Path(__file__).parents[3]
DEEP = (MAX_DEPTH + 1, 500, 980, 100_000)


def nested(depth: int) -> str:
    """An object in which lists lie within each other, `depth` levels in all."""
    return '{"a":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


@pytest.mark.parametrize("digits", [jsontext.MAX_DIGITS + 1, 5000, 1_000_000])
def test_an_integer_that_nobody_can_mean_is_refused_in_words_for_its_author(digits: int) -> None:
    with pytest.raises(ValueError, match=r"^it holds an integer of more than 100 digits$"):
        jsontext.parse('{"seed": ' + "9" * digits + "}")
    assert jsontext.parse("9" * jsontext.MAX_DIGITS) == int("9" * jsontext.MAX_DIGITS)


def test_what_is_just_deep_enough_is_read() -> None:
    assert jsontext.parse(nested(MAX_DEPTH)) == json.loads(nested(MAX_DEPTH))


@pytest.mark.parametrize("depth", DEEP)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-le"])
def test_what_is_deeper_is_refused_before_it_is_read(depth: int, encoding: str) -> None:
    with pytest.raises(TooDeep):
        jsontext.parse(nested(depth).encode(encoding))


def test_brackets_in_texts_and_beside_each_other_are_no_depth() -> None:
    texts = json.dumps({"a": '"[{' * 500, "b": "\\" * 7 + '"' + "[" * 300, "c": [[] for _ in range(5_000)]})
    assert jsontext.parse(texts) == json.loads(texts)


def _body(text: str) -> object:
    return parse_object(text, "metadata")


def _line(text: str) -> object:
    line = f'{{"custom_id":"a","method":"POST","url":"/v4/videos/generations","body":{text}}}'
    reader = LineReader(iter([Line(7, 0, line.encode())]), "/v4/videos/generations", lambda *_: None, 10)
    assert reader.take(lines=10, size=10**6) == []
    (error,) = reader.errors
    assert (error.line, error.code) == (7, "invalid_json_line")
    raise InvalidField(error.message, param=None)


def _token(text: str) -> object:
    def part(data: str) -> str:
        return base64.urlsafe_b64encode(data.encode()).decode().rstrip("=")

    header = text.replace('{"a"', '{"alg":"HS256","a"')
    return keys.parse(f"{part(header)}.{part('{}')}.c2ln")


def _header(text: str) -> object:
    return _metadata(len(text).to_bytes(8, "little") + text.encode())


DOORS = {
    "bodies and forms' JSON": (_body, InvalidField, "nested|values"),
    "form fields": (TypeAdapter(Texts).validate_python, ValidationError, "must be an object"),
    "batch lines": (_line, InvalidField, "nested"),
    "tokens": (_token, Unauthenticated, "no JSON Web Token"),
    "result.json": (lambda text: results.parse(text.encode(), UUID(int=1), 1), ValueError, "ecursion|xtra"),
    "manifests": (lambda text: Manifest.from_json(text.encode(), "s3://b/p"), ConfigError, "s3://b/p"),
    "checkpoints' headers": (_header, ValueError, "nested"),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_refuses_it_by_name_however_deep(door: str) -> None:
    through, error, words = DOORS[door]
    for depth in (MAX_DEPTH + 1, 300) if door == "tokens" else DEEP:
        if door == "result.json" and depth < 500:
            continue
        with pytest.raises(error, match=words):
            through(nested(depth))


def test_nothing_else_reads_json() -> None:
    """So that no door is forgotten. What pydantic reads has bounds of its own; the client opens no door of ours."""
    # The second begins a child, which reads what we have put into its own arguments.
    homes = {"orchestrator/domain/jsontext.py", "orchestrator/confined/child.py"}
    found = {
        str(path.relative_to(ROOT))
        for folder in ("api", "orchestrator", "workers")
        for path in (ROOT / folder).rglob("*.py")
        if not path.is_relative_to(ROOT / "api/client") and re.search(r"\bjson\.loads?\(", path.read_text())
    }
    assert found == homes
