"""What a checkpoint or an adapter is as files: which are wanted, and whether those that must be there are whole."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from orchestrator.domain import jsontext
from orchestrator.domain.errors import ConfigError
from workers.modelfiles import header, manifest, vocabulary
from workers.modelfiles.header import Header

INDEX = "model_index.json"
_WANTED = frozenset({".json", ".safetensors", ".model", ".txt"})
# Of a pipeline's parts, by their class: those with a vocabulary, which transformers makes up when it is missing, and
# those with neither vocabulary nor weights. All others are models.
_TOKENIZER = re.compile(r"Tokenizer(Fast)?$")
_SCHEDULER = re.compile(r"Scheduler$")
_WEIGHTLESS = re.compile(r"(Processor|Extractor)$")
# The JSON files that a load reads, wherever they lie, and what each library calls a model's weights.
_CONFIGS = frozenset(
    {
        "model_index.json",
        "config.json",
        "scheduler_config.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "generation_config.json",
        "preprocessor_config.json",
    }
)
_STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
_INDEX_SUFFIX = ".safetensors.index.json"
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
# As diffusers' own training scripts save an adapter (its `LORA_WEIGHT_NAME_SAFE`), and as peft does (its
# `SAFETENSORS_WEIGHTS_NAME`).
_USUAL_ADAPTERS = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
# Beside an adapter's weights: how strongly they are meant (peft's `CONFIG_NAME`).
ADAPTER_CONFIG = "adapter_config.json"
# What a clone without Git LFS leaves in a large file's place, and what downloads that have not ended are called.
_POINTER = b"version https://git-lfs.github.com/spec/v1"
_UNFINISHED = frozenset({".part", ".incomplete", ".aria2", ".crdownload"})


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
    """All that keeps the files from being loaded, as a load opens them; headers and JSON are read, and no tensor."""
    files = weights(path)
    if not files:
        yield "there are no safetensors"
    pointers = _pointers(path)
    yield from (f"{name} is a pointer of Git LFS, and not the file itself (git lfs pull)" for name in pointers.values())
    headers = {file: header.read(file) for file in files if file not in pointers}
    for file, found in headers.items():
        if found.problem is not None:
            yield f"{_name(file, path)} {found.problem}"
    for file in files:
        config = file.with_name(ADAPTER_CONFIG)
        if config.is_file() and config not in pointers and _object(config) is None:
            yield f"{ADAPTER_CONFIG} is no JSON object"
    if not path.is_dir():
        return
    yield from _unfinished(path)
    for config in _visible(path):
        if config.name in _CONFIGS and config not in pointers and _object(config) is None:
            yield f"{_name(config, path)} is cut off, or no JSON object"
    if (path / INDEX).is_file():
        yield from _missing_parts(path, pointers)
    elif any(path.glob("*/config.json")):
        yield f"{INDEX} is missing"
    for index in sorted(path.rglob(f"*{_INDEX_SUFFIX}")):
        if index not in pointers:
            yield from _missing_shards(index, path, headers)


def _name(file: Path, path: Path) -> str:
    return str(file.relative_to(path)) if file != path else file.name


def _visible(path: Path) -> list[Path]:
    """The files below a directory that are not hidden, in order."""
    names = sorted(path.rglob("*"))
    return [file for file in names if not any(part.startswith(".") for part in file.relative_to(path).parts)]


def _pointers(path: Path) -> dict[Path, str]:
    """Of the files that a load opens those in whose place Git LFS has left a note, with their names."""
    files = [path] if path.is_file() else [file for file in _visible(path) if file.is_file()]
    found = {}
    for file in files:
        if file.suffix in _WANTED:
            with file.open("rb") as opened:
                if opened.read(len(_POINTER)) == _POINTER:
                    found[file] = _name(file, path)
    return found


def _unfinished(path: Path) -> Iterator[str]:
    for file in _visible(path):
        whole = file.with_suffix("")
        if file.suffix in _UNFINISHED and whole.suffix in _WANTED and not whole.exists():
            yield f"{_name(whole, path)} has not been downloaded to its end ({file.name})"


def _missing_parts(path: Path, pointers: Mapping[Path, str]) -> Iterator[str]:
    document = None if path / INDEX in pointers else _object(path / INDEX)
    if document is None:
        return  # said above
    for name, what in document.items():
        # Other entries are settings; a part is [library, class], and [null, null] when it is left out.
        if isinstance(what, list) and len(what) == 2 and what[0] is not None:
            library, kind = map(str, what)
            yield from _missing_files(path / name, library, kind, pointers)


def _missing_files(part: Path, library: str, kind: str, pointers: Mapping[Path, str]) -> Iterator[str]:
    """What a pipeline's part of the class `kind` lacks."""
    if not (part.is_dir() and any(part.iterdir())):
        yield f"{INDEX} names {part.name}, which is missing"
    elif _TOKENIZER.search(kind):
        if not any(file.parent == part and file.name in (vocabulary.PIECES, vocabulary.TOKENIZER) for file in pointers):
            yield from vocabulary.problems(part)
    elif _SCHEDULER.search(kind):
        if not (part / "scheduler_config.json").is_file():
            yield f"{part.name} has no scheduler_config.json"
    elif not _WEIGHTLESS.search(kind):
        if not (part / "config.json").is_file():
            yield f"{part.name} has no config.json"
        yield from _missing_weights(part, library)


def _missing_weights(part: Path, library: str) -> Iterator[str]:
    """What keeps the library from finding a model's weights under the names that it knows."""
    files = sorted(part.glob("*.safetensors"))
    stem = _STEMS.get(library)
    if not files:
        yield f"{part.name} has no safetensors"
    elif stem is None or (part / f"{stem}.safetensors").exists() or (part / f"{stem}{_INDEX_SUFFIX}").is_file():
        return
    elif any(_SHARD.search(file.stem) for file in files):
        yield f"{part.name} has shards, and no {stem}{_INDEX_SUFFIX} that says which holds what"
    elif variants := [file.name for file in files if file.name.startswith(f"{stem}.")]:
        yield f"{part.name} has only a variant, {variants[0]}: a load looks for {stem}.safetensors"
    else:
        yield f"{part.name} has no {stem}.safetensors, under which a load looks for its weights"


def _missing_shards(index: Path, path: Path, headers: Mapping[Path, Header]) -> Iterator[str]:
    """Where an index and the shards that it names disagree."""
    document = _object(index)
    named = document.get("weight_map") if document is not None else None
    if not isinstance(named, dict):
        yield f"{_name(index, path)} has no weight_map"
        return
    for shard in sorted({str(shard) for shard in named.values()}):
        file = index.parent / shard
        if not file.is_file():
            yield f"{_name(index, path)} names {shard}, which is missing"
        elif (found := headers.get(file)) is not None and found.problem is None:
            tensors = {tensor for tensor, place in named.items() if place == shard}
            if absent := sorted(tensors - found.tensors):
                yield f"{shard} lacks {len(absent)} tensors that {_name(index, path)} says it holds, {absent[0]} first"
            # A load that goes by the index never asks for these; one that finds all in one file needs no index.
            if _SHARD.search(file.stem) and (more := sorted(found.tensors - tensors)):
                yield f"{_name(index, path)} does not name {len(more)} tensors of {shard}, {more[0]} first"


def _object(path: Path) -> dict[str, object] | None:
    try:
        document = jsontext.parse(path.read_bytes())
    except (ValueError, IsADirectoryError):
        return None
    return document if isinstance(document, dict) else None
