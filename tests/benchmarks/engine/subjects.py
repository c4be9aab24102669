"""One render of either side, and how long its parts took."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from orchestrator.domain.catalog import ModelFamily
from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.job import RenderSpec
from tests.support.bare import call, picture_of
from workers.cogvideox.loading import Pipeline
from workers.cogvideox.model import CogVideoX
from workers.cogvideox.render import Render
from workers.engine.parts import Decoding


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One render: seconds to encode and begin, of each step, and to decode; and how it had to be decoded."""

    begin_s: float
    steps_s: tuple[float, ...]
    decode_s: float
    decoding: Decoding

    @property
    def step_s(self) -> float:
        """The median, which a first step that warms something up does not move."""
        return statistics.median(self.steps_s)

    def video_s(self, steps: int) -> float:
        """End to end: as it was when all steps were rendered, and otherwise with the median for each that was not."""
        return self.begin_s + sum(self.steps_s) + (steps - len(self.steps_s)) * self.step_s + self.decode_s


def render_ours(model: CogVideoX, spec: RenderSpec, device: torch.device, steps: int | None = None) -> Timing:
    """Render the spec, or only its first `steps` and then the decode; as an engine does, without one."""
    clock = Clock(device)
    render = model.begin(spec, picture_of(spec))
    begin_s = clock.lap()
    steps_s = []
    for _ in range(steps or spec.num_inference_steps):
        (failure,) = model.step([render])
        if failure is not None:
            raise failure
        steps_s.append(clock.lap())
    decoding = _decode(model, render)
    model.drop(render)
    return Timing(begin_s=begin_s, steps_s=tuple(steps_s), decode_s=clock.lap(), decoding=decoding)


def _decode(model: CogVideoX, render: Render) -> Decoding:
    """The first way that the device has memory for."""
    for how in Decoding:
        try:
            model.decode(render, how)
        except RenderFailed as failure:
            if failure.code != "out_of_memory" or how is Decoding.OFFLOADED:
                raise
            model.recover()
        else:
            return how
    raise AssertionError("every way of decoding was tried")


def render_plain(plain: Pipeline, family: ModelFamily, spec: RenderSpec, device: torch.device, steps: int) -> Timing:
    """The same with diffusers, told apart by its callback. The scheduler gets fewer steps, which cost the same each."""
    clock = Clock(device)
    laps: list[float] = []

    def on_step(*_: object) -> dict[str, Any]:
        laps.append(clock.lap())
        return {}

    call(plain, family, replace(spec, num_inference_steps=steps), on_step)
    decode_s = clock.lap()
    # Encoding runs into the first step, which the others tell the length of.
    step_s = statistics.median(laps[1:] or laps)
    return Timing(
        begin_s=max(0.0, laps[0] - step_s),
        steps_s=(min(step_s, laps[0]), *laps[1:]),
        decode_s=decode_s,
        decoding=Decoding.TILED if plain.vae.use_tiling else Decoding.WHOLE,
    )


class Clock:
    """Seconds from lap to lap, all that the device was given included."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._synchronize()
        self._last = time.perf_counter()

    def lap(self) -> float:
        self._synchronize()
        before, self._last = self._last, time.perf_counter()
        return self._last - before

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
