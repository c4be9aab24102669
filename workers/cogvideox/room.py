"""In which precision a model is loaded, and whether it fits: decided from its files' headers, before memory is spent.

Pure: what the machine has is given. Weights are counted exactly. What a render needs beside them is estimated for the
least that a worker does, a step and the decode of one tile, so that nothing is refused that could have rendered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from orchestrator.domain.catalog import ModelFamily, Size
from orchestrator.domain.errors import ConfigError
from orchestrator.policy.cost import tokens
from workers.cogvideox.hostmemory import HostMemory
from workers.cogvideox.weights import Weights

Setting = Literal["auto", "float32", "bfloat16", "float16"]

# Ray ends workers on a machine whose memory is used to 95% (RAY_memory_usage_threshold).
_USABLE_PERCENT = 95
# The process itself: Python, torch, diffusers, Ray.
_PROCESS = 1 << 30
# Of the VAE's decode, per pixel, channel of its widest layer and byte of a number: 12 GB for 720x480 in 16 bits, as the
# model cards have it (5B at its peak 31.7 GB, weights 19.8).
_DECODE_FACTOR = 137
# The tile of a 720x480 video, in pixels, which `workers/cogvideox/decoding.py` falls back to.
_TILE = (360, 240)
# Values of the transformer's width that a block holds of each token at once: the feed-forward's four, in and out,
# attention's three, and what is added to.
_BLOCK_WIDTHS = 12
_PASSES = 2  # with the prompt and without
_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What there is: the host's memory, and the device's free bytes, None where the CPU renders."""

    host: HostMemory
    device: int | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """A dtype, by torch's name; `instead_of` is the one that `auto` would have liked better, and why it is not that."""

    dtype: str
    instead_of: str | None = None


@dataclass(frozen=True, slots=True)
class _Need:
    """Bytes needed of one kind of memory at the worst moment: for each part what it adds, and what work takes."""

    where: str
    parts: Sequence[tuple[str, int]]
    work: int
    available: int

    @property
    def size(self) -> int:
        return sum(size for _, size in self.parts) + self.work


def choose(setting: Setting, family: ModelFamily, weights: Sequence[Weights], room: Room, *, channels: int) -> Chosen:
    """The dtype to load these parts in, which are loaded in this order; `channels` are the VAE's at full size.

    `auto` is the family's own on a GPU; on a CPU float32 where it fits, else bfloat16. Raises `ConfigError`, one line,
    when it does not fit.
    """
    if setting != "auto":
        return Chosen(_fitting(setting, family, weights, room, channels))
    if room.device is not None:
        return Chosen(_fitting(family.dtype, family, weights, room, channels))
    if (lack := _lack("float32", family, weights, room, channels)) is None:
        return Chosen("float32")
    return Chosen(_fitting("bfloat16", family, weights, room, channels), _words("float32", lack))


def decode_bytes(size: Size, channels: int, itemsize: int) -> int:
    """What a whole decode of frames of this size takes beside the weights: nine frames at a time, however many."""
    return _DECODE_FACTOR * channels * itemsize * size[0] * size[1]


def left(host: HostMemory) -> int:
    """What a worker may take of the host's memory, before Ray ends it."""
    return max(0, host.available - host.total * (100 - _USABLE_PERCENT) // 100)


def _fitting(dtype: str, family: ModelFamily, weights: Sequence[Weights], room: Room, channels: int) -> str:
    if lack := _lack(dtype, family, weights, room, channels):
        ways = ["a bigger machine" if lack.where == "memory" else "a bigger GPU", "another model"]
        if dtype == "float32":
            ways.insert(0, "dtype bfloat16")
        raise ConfigError(
            f"{family.name} does not fit: {_words(dtype, lack)}; what would help: {', '.join(ways[:-1])} or {ways[-1]}"
        )
    return dtype


def _words(dtype: str, lack: _Need) -> str:
    """Which component is too much, how much is needed for what, and how much there is."""
    sums = accumulate(size for _, size in lack.parts)
    over = next((part for (part, _), total in zip(lack.parts, sums, strict=True) if total > lack.available), None)
    told = " + ".join(f"{part} {_gib(size)}" for part, size in lack.parts)
    where = "of the GPU's memory" if lack.where == "device" else "of this machine's memory"
    too_much = "there is no room left to render in" if over is None else f"its {over} is too much"
    return (
        f"in {dtype} {too_much}: {told} + {_gib(lack.work)} to work in = {_gib(lack.size)} GiB are needed {where}, "
        f"and {_gib(lack.available)} GiB can be had"
    )


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f}"


def _lack(dtype: str, family: ModelFamily, weights: Sequence[Weights], room: Room, channels: int) -> _Need | None:
    """The need that is larger than what there is; None when all fit."""
    itemsize = 4 if dtype == "float32" else 2
    sizes = [(each.part, each.size(dtype)) for each in weights]
    if room.device is None:
        total = sum(size for _, size in sizes)
        # While a part is loaded those after it are not there yet.
        so_far = accumulate(size for _, size in sizes)
        peaks = (held + _beside(each, dtype) for held, each in zip(so_far, weights, strict=True))
        rendering = max(_step_bytes(family, itemsize), _tile_bytes(family, channels, itemsize))
        work = _PROCESS + max(rendering, *(peak - total for peak in peaks))
        needs = [_Need("memory", sizes, work, left(room.host))]
    else:
        # Each part goes to the device before the next one is read.
        largest = max(weights, key=lambda each: each.size(dtype) + _beside(each, dtype))
        held = [(largest.part, largest.size(dtype))]
        needs = [
            _Need("memory", held, _PROCESS + _beside(largest, dtype), left(room.host)),
            _Need("device", sizes, _step_bytes(family, itemsize), room.device),
        ]
    return next((need for need in needs if need.size > need.available), None)


def _beside(weights: Weights, dtype: str) -> int:
    """The largest file, which is mapped while its numbers are cast into another dtype, and so held beside them.

    The text encoder's numbers are read one tensor at a time (`workers/cogvideox/loading.py`).
    """
    return 0 if weights.part == "text_encoder" or weights.in_dtype == dtype else weights.largest_file


def _step_bytes(family: ModelFamily, itemsize: int) -> int:
    """What a step of the smallest video takes beside the weights."""
    width, height = min((*family.sizes, *map(family.draft_size, family.sizes)), key=lambda size: size[0] * size[1])
    sequence = tokens(family, width, height, family.min_frames)
    return _PASSES * sequence * family.token_dim * _BLOCK_WIDTHS * itemsize


def _tile_bytes(family: ModelFamily, channels: int, itemsize: int) -> int:
    """What the decode of one tile takes: of half the smallest video's sides, up to the largest tile."""
    tiles = ((min(_TILE[0], width // 2), min(_TILE[1], height // 2)) for width, height in family.sizes)
    return min(decode_bytes(tile, channels, itemsize) for tile in tiles)
