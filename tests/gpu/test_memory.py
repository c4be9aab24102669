"""Out of memory for real: the ladder of ways to decode, and what the largest video needs."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.job import Incident, RenderSpec
from tests.benchmarks.engine.queue import Queue
from tests.support.bare import Made, advance, frames_of, make, native_spec
from tests.support.random_weights import FULL, SMALL, Scale
from workers.engine.parts import Decoding

# The decoder at full size, a text encoder worth putting out of its way, and next to no transformer.
DECODING = Scale(layers=SMALL.layers, heads=SMALL.heads, text=FULL.text, vae=FULL.vae)
INCIDENTS = {
    Decoding.TILED: (Incident.TILED_DECODE,),
    Decoding.OFFLOADED: (Incident.TILED_DECODE, Incident.OFFLOADED_DECODE),
}
LARGEST = FAMILIES["cogvideox-1.5-5b"]

# bfloat16: 5.57 billion parameters of the transformer, which DECODING has not got.
TRANSFORMER_BYTES = 2 * 5.571e9


@pytest.fixture
def limited(gpu: torch.device) -> Iterator[Callable[[float], None]]:
    """Sets how many bytes torch may take of the device; all of them again afterwards."""
    total = torch.cuda.get_device_properties(gpu).total_memory

    def limit(most: float) -> None:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(min(1.0, most / total), gpu)

    yield limit
    limit(total)


@dataclass(frozen=True, slots=True)
class Peak:
    """The most bytes of the device that were in use, and that torch had taken for them."""

    used: float
    taken: float


def peak(work: Callable[[], object]) -> Peak:
    """Of `work`, from an empty cache on; without bounds when the device has not got what it needs."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        work()
    except RenderFailed as failure:
        if failure.code != "out_of_memory":
            raise
        return Peak(float("inf"), float("inf"))
    return Peak(torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved())


@pytest.fixture(scope="module")
def made(gpu: torch.device) -> Made:
    return make("cogvideox-5b", gpu, DECODING)


@pytest.mark.parametrize("least", [Decoding.TILED, Decoding.OFFLOADED])
def test_a_decode_that_does_not_fit_goes_down_the_ladder_and_the_video_is_there(
    made: Made, limited: Callable[[float], None], least: Decoding
) -> None:
    spec = replace(native_spec(made.family), width=720, height=480)
    whole, tiled = _peaks(made, spec)
    assert tiled.taken < whole.used
    # Between what the way above needs at least and what this one does; an offload makes room for the tiles.
    room = (tiled.taken + whole.used) / 2 if least is Decoding.TILED else (_resident() + tiled.used) / 2
    finished: list[NDArray[np.uint8]] = []

    with Queue(made.family, made.model, finished.append) as queue:
        limited(room)
        incidents = queue.render(spec)
        limited(float("inf"))
        unlimited = queue.render(spec)

    assert incidents == [INCIDENTS[least]]
    assert unlimited == [()]
    assert [frames.shape for frames in finished] == [(spec.num_frames, 480, 720, 3)] * 2
    assert np.array_equal(finished[1], frames_of(made.model, spec))


def _peaks(made: Made, spec: RenderSpec) -> list[Peak]:
    """Of decoding as a whole, and in tiles."""
    render = advance(made.model, made.model.begin(spec, None))
    return [peak(partial(made.model.decode, render, how)) for how in (Decoding.WHOLE, Decoding.TILED)]


def _resident() -> int:
    gc.collect()
    return torch.cuda.memory_allocated()


def test_the_largest_video_is_decoded_within_80_gb_with_all_weights_resident(
    gpu: torch.device, record_property: Callable[[str, object], None]
) -> None:
    made = make(LARGEST.name, gpu, DECODING)
    width, height = LARGEST.default_size
    spec = replace(native_spec(made.family), width=width, height=height, num_frames=81, num_inference_steps=1)
    whole, tiled = (found.used + TRANSFORMER_BYTES for found in _peaks(made, spec))

    record_property("whole_bytes", whole)
    record_property("tiled_bytes", tiled)
    print(f"81x768x1360 with all weights resident: {whole / 1e9:.1f} GB as a whole, {tiled / 1e9:.1f} GB in tiles")
    assert tiled < 80e9
