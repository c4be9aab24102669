"""What the ranks of a worker say to each other, as JSON: whoever gets among them is heard, and runs nothing. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from orchestrator.domain import jsontext
from orchestrator.domain.job import RenderSpec

Layout = tuple[torch.Size, torch.dtype]

# Far longer than any word: prompts are a few thousand characters.
MAX_BYTES = 2**20

_DTYPES = {str(dtype): dtype for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int64)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the leader says before each forward: whose it is, and which tensors follow.

    `render` is a number, `done` how many of its steps are; no forward will be of those in `dropped` any more. `layouts`
    are shapes and types by the tensors' names.
    """

    render: int
    spec: RenderSpec
    done: int
    dropped: tuple[int, ...]
    layouts: Mapping[str, Layout]


Word = Step | str | None


def written(word: Word) -> bytes:
    """A word on its way."""
    if not isinstance(word, Step):
        return json.dumps(word).encode()
    layouts = {name: [list(shape), str(dtype)] for name, (shape, dtype) in word.layouts.items()}
    said = {"render": word.render, "done": word.done, "dropped": word.dropped, "layouts": layouts}
    return json.dumps({**said, "spec": word.spec.to_dict()}, default=dataclasses.asdict).encode()


def read(data: bytes) -> Word:
    """A word as it was written. Raises `ValueError` for anything else."""
    said = jsontext.parse(data)
    if said is None or isinstance(said, str):
        return said
    try:
        return _step(said)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no word of a rank: {error}") from None


def _step(said: dict[str, Any]) -> Step:
    return Step(
        render=int(said["render"]),
        spec=RenderSpec.from_dict(said["spec"]),
        done=int(said["done"]),
        dropped=tuple(map(int, said["dropped"])),
        layouts={
            name: (torch.Size(map(int, shape)), _DTYPES[dtype]) for name, (shape, dtype) in said["layouts"].items()
        },
    )
