"""What a checkpoint or an adapter is as files: which are wanted, and whether those that must be there are whole."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Container, Iterable, Iterator
from pathlib import Path, PurePosixPath

from orchestrator.domain.errors import ConfigError
from workers.modelfiles import manifest

INDEX = "model_index.json"
_WANTED = frozenset({".json", ".safetensors", ".model", ".txt"})
# Of a pipeline's parts, by their class: those with a vocabulary, which transformers makes up when it is missing, and
# those with neither vocabulary nor weights. All others are models.
_TOKENIZER = re.compile(r"Tokenizer(Fast)?$")
_WEIGHTLESS = re.compile(r"(Scheduler|Processor|Extractor)$")
_VOCABULARIES = ("spiece.model", "tokenizer.json")
# As diffusers' own training scripts save an adapter (its `LORA_WEIGHT_NAME_SAFE`), and as peft does (its
# `SAFETENSORS_WEIGHTS_NAME`).
_USUAL_ADAPTERS = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
# Beside an adapter's weights: how strongly they are meant (peft's `CONFIG_NAME`).
ADAPTER_CONFIG = "adapter_config.json"
# What safetensors itself accepts at most (its MAX_HEADER_SIZE).
_MAX_HEADER = 100_000_000


def wanted(names: Iterable[str]) -> list[str]:
    """Of all files of a source those that a diffusers pipeline or an adapter is loaded from, in order.

    Weights come as safetensors: the same in other formats would double the download. So would those beside a pipeline's
    index, which are the same weights in one file.
    """
    every = [name for name in names if _is_wanted(PurePosixPath(name))]
    if INDEX not in every:
        return sorted(every)
    return sorted(name for name in every if "/" in name or not name.endswith(".safetensors"))


def require_whole(path: Path) -> None:
    """Raise `ConfigError` unless `path` is a pipeline or an adapter whose parts are all there and parse."""
    if problems := list(_problems(path)):
        raise ConfigError(f"{path} is not whole: {'; '.join(problems)}")


def require_model(path: Path) -> None:
    """Raise `ConfigError` unless `path` is a whole pipeline."""
    if not (path / INDEX).is_file():
        raise ConfigError(f"{path} is no diffusers checkpoint: {INDEX} is missing")
    require_whole(path)


def require_adapter(path: Path) -> None:
    """Raise `ConfigError` unless `path` is a whole adapter."""
    adapter_file(path)
    require_whole(path)


def adapter_file(path: Path) -> Path:
    """The file that an adapter is loaded from: `path`, or of a directory a usual one, or the only one below it.

    Raises `ConfigError` when it could be several, or none.
    """
    for usual in _USUAL_ADAPTERS:
        if (path / usual).is_file():
            return path / usual
    found = weights(path)
    if len(found) != 1:
        raise ConfigError(f"{path} holds {len(found)} safetensors files; name one")
    return found[0]


def single(name: str, every: Container[str]) -> list[str]:
    """Of all files of a source those that belong to one of them, if it is there: itself, and its settings beside it."""
    beside = str(PurePosixPath(name).with_name(ADAPTER_CONFIG))
    return [found for found in (name, beside) if found in every] if name in every else []


def weights(path: Path) -> list[Path]:
    """The safetensors files of a file or of a directory, in order."""
    return [path] if path.is_file() else sorted(path.rglob("*.safetensors"))


def _is_wanted(name: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") for part in name.parts)  # notes of whoever brought the files
    return name.suffix in _WANTED and not hidden and str(name) != manifest.NAME


def _problems(path: Path) -> Iterator[str]:
    files = weights(path)
    if not files:
        yield "there are no safetensors"
    for file in files:
        if problem := _header_problem(file):
            yield f"{file.relative_to(path) if file != path else file.name} {problem}"
    for file in files:
        if (config := file.with_name(ADAPTER_CONFIG)).is_file() and _object(config) is None:
            yield f"{ADAPTER_CONFIG} is no JSON object"
    if (path / INDEX).is_file():
        yield from _missing_parts(path)
    elif path.is_dir() and any(path.glob("*/config.json")):
        yield f"{INDEX} is missing"
    for index in sorted(path.rglob("*.safetensors.index.json")) if path.is_dir() else ():
        yield from _missing_shards(index, path)


def _missing_parts(path: Path) -> Iterator[str]:
    document = _object(path / INDEX)
    if document is None:
        yield f"{INDEX} is no JSON object"
        return
    for name, what in document.items():
        # Other entries are settings; a part is [library, class], and [null, null] when it is left out.
        if isinstance(what, list) and len(what) == 2 and what[0] is not None:
            yield from _missing_files(path / name, str(what[1]))


def _missing_files(part: Path, kind: str) -> Iterator[str]:
    """What a pipeline's part of the class `kind` lacks."""
    if not (part.is_dir() and any(part.iterdir())):
        yield f"{INDEX} names {part.name}, which is missing"
    elif _TOKENIZER.search(kind):
        if not any((part / name).is_file() for name in _VOCABULARIES):
            yield f"{part.name} has no vocabulary: neither {' nor '.join(_VOCABULARIES)}"
    elif not _WEIGHTLESS.search(kind):
        if not (part / "config.json").is_file():
            yield f"{part.name} has no config.json"
        if not any(part.glob("*.safetensors")):
            yield f"{part.name} has no safetensors"


def _missing_shards(index: Path, path: Path) -> Iterator[str]:
    document = _object(index)
    shards = document.get("weight_map") if document is not None else None
    if not isinstance(shards, dict):
        yield f"{index.relative_to(path)} has no weight_map"
        return
    for shard in sorted({str(shard) for shard in shards.values()}):
        if not (index.parent / shard).is_file():
            yield f"{index.relative_to(path)} names {shard}, which is missing"


def _header_problem(file: Path) -> str | None:
    """What is wrong with a safetensors file, by its header (eight bytes of length, then JSON) and its size alone."""
    if not file.is_file():
        return "is a link to nothing" if file.is_symlink() else "is no file"
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < length <= min(_MAX_HEADER, size - 8):
            return "is no safetensors file"
        try:
            header = json.loads(opened.read(length))
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
            expected = 8 + length + max(ends, default=0)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            return "has a broken header"
    return None if size == expected else f"has {size} bytes, and its header says {expected}"


def _object(path: Path) -> dict[str, object] | None:
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
