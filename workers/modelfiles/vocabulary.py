"""Whether a tokenizer's files can be opened: JSON, and a SentencePiece model, which is one protobuf message."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from orchestrator.domain import jsontext

PIECES = "spiece.model"
TOKENIZER = "tokenizer.json"
# The fields of `ModelProto` (sentencepiece_model.proto) that every model has, in the order in which they are written.
_PIECE, _TRAINER, _NORMALIZER = 1, 2, 3
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def problems(part: Path) -> Iterator[str]:
    """What keeps the tokenizer in a directory from being opened, each naming a file in it."""
    vocabularies = [part / name for name in (PIECES, TOKENIZER) if (part / name).is_file()]
    if not vocabularies:
        yield f"{part.name} has no vocabulary: neither {PIECES} nor {TOKENIZER}"
    for file in vocabularies:
        problem = _pieces_problem(file) if file.name == PIECES else _tokenizer_problem(file)
        if problem is not None:
            yield f"{part.name}/{file.name} {problem}"


def _pieces_problem(file: Path) -> str | None:
    data = file.read_bytes()
    try:
        found = {number for number, _ in _fields(data)}
    except ValueError:
        return f"is no SentencePiece model, or is cut off: it has {len(data)} bytes"
    # What is cut off between two pieces still is a message, and lacks what comes behind them.
    if missing := {_PIECE, _TRAINER, _NORMALIZER} - found:
        whole = "is cut off" if _PIECE in found else "is no SentencePiece model"
        return f"{whole}: it has {len(data)} bytes, and lacks its part {min(missing)}"
    return None


def _fields(data: bytes) -> Iterator[tuple[int, int]]:
    """Number and wire type of each field of a protobuf message. Raises `ValueError` for what is none, or is cut off."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            _, position = _varint(data, position)
        elif kind == _BYTES:
            length, position = _varint(data, position)
            position += length
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("no such wire type")
        if number == 0 or position > len(data):
            raise ValueError("no such field, or it ends behind the file")
        yield number, kind


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("no varint")


def _tokenizer_problem(file: Path) -> str | None:
    try:
        vocabulary = jsontext.parse(file.read_bytes())["model"]["vocab"]
    except ValueError:
        return "is cut off, or no JSON"
    except (KeyError, TypeError, IndexError):
        return "has no vocabulary"
    return None if isinstance(vocabulary, list | dict) and vocabulary else "has no vocabulary"
