"""What a pipeline's parts weigh, and in which files, by the files' headers alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from orchestrator.domain import jsontext
from orchestrator.domain.errors import ConfigError

# A part's weights in one file, as diffusers and as transformers name it, and the index beside those in several.
_SINGLE = ("diffusion_pytorch_model.safetensors", "model.safetensors")
_INDEXES = tuple(f"{name}.index.json" for name in _SINGLE)
_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
_LOADED = {"float32": 4, "bfloat16": 2, "float16": 2}
# T5's output of its feed-forward overflows in float16; transformers keeps it in 32 bits (`_keep_in_fp32_modules`).
_KEPT_WIDE = ".wo."


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One part of a pipeline (`transformer`, ...) as its files have it.

    `numbers` are its floating-point numbers, `wide` those among them that stay in 32 bits when it is loaded in float16;
    `on_disk` is all its bytes, `largest_file` those of the largest file; `in_dtype` is the one dtype of its numbers,
    None when there are several.
    """

    part: str
    numbers: int
    wide: int
    on_disk: int
    largest_file: int
    in_dtype: str | None

    def size(self, dtype: str) -> int:
        """Bytes that it takes in memory in `dtype`, a name of torch's."""
        wide = self.wide if dtype == "float16" else 0
        return (self.numbers - wide) * _LOADED[dtype] + wide * 4


def read(path: Path, parts: tuple[str, ...]) -> tuple[Weights, ...]:
    """Of those of `parts` that the pipeline at `path` has, in that order. Raises `ConfigError` for a broken file."""
    return tuple(_of(path / part) for part in parts if (path / part).is_dir())


def files(part: Path) -> list[Path]:
    """The files that a part of a pipeline is loaded from, in order: its index's, or the single one; none when neither.

    Raises `ConfigError` for an index that is none.
    """
    for index in (part / name for name in _INDEXES):
        if index.is_file():
            try:
                shards = {str(shard) for shard in jsontext.parse(index.read_bytes())["weight_map"].values()}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ConfigError(f"{index} is no index of shards: {type(error).__name__}: {error}") from None
            return [part / shard for shard in sorted(shards)]
    return [part / name for name in _SINGLE if (part / name).is_file()][:1]


def _of(part: Path) -> Weights:
    numbers = wide = largest = on_disk = 0
    dtypes: set[str] = set()
    for file in files(part):
        size = 0
        for name, dtype, count in _tensors(file):
            size += count * _FLOATS[dtype]
            numbers += count
            wide += count if _KEPT_WIDE in name else 0
            dtypes.add(dtype)
        on_disk, largest = on_disk + size, max(largest, size)
    named = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    return Weights(
        part=part.name,
        numbers=numbers,
        wide=wide,
        on_disk=on_disk,
        largest_file=largest,
        in_dtype=named.get(*dtypes) if len(dtypes) == 1 else None,
    )


def _tensors(file: Path) -> Iterator[tuple[str, str, int]]:
    """Name, dtype and count of each tensor of numbers; what else a checkpoint holds is too small to count."""
    try:
        with safe_open(file, framework="numpy") as opened:
            for name in opened.keys():  # noqa: SIM118 (it is no mapping)
                tensor = opened.get_slice(name)
                if (dtype := tensor.get_dtype()) in _FLOATS:
                    yield name, dtype, math.prod(tensor.get_shape())
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{file} is no safetensors file: {error}") from None
