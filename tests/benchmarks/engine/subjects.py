"""The two that are compared: our model and diffusers' pipeline, each made to render one spec and to say how long."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from orchestrator.domain.catalog import RECIPES, ModelFamily, Profile
from orchestrator.domain.delivery import Delivery
from orchestrator.domain.errors import RenderFailed
from orchestrator.domain.job import Artifact, RenderSpec
from workers.acceleration import Acceleration
from workers.adapters import Adapters
from workers.cogvideox import CogVideoX
from workers.loading import Pipeline
from workers.parts import Decoding

_PICTURE = Artifact(key="inputs/picture", size=1, sha256="0" * 64, content_type="image/png")


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


def a_spec(family: ModelFamily, profile: Profile = Profile.EXACT, **changes: Any) -> RenderSpec:
    """The family's native render, as a request that names only the profile would get it."""
    width, height = family.draft_size(family.default_size) if RECIPES[profile].small else family.default_size
    spec = RenderSpec(
        model=family.name,
        prompt="a watermill at dawn, mist over the river",
        width=width,
        height=height,
        num_frames=family.default_frames,
        fps=family.fps,
        num_inference_steps=family.steps_of(profile),
        guidance_scale=family.default_guidance,
        seed=7,
        delivery=Delivery(width=width, height=height, num_frames=family.default_frames, fps=family.fps),
        profile=profile,
        image=_PICTURE if family.image_to_video else None,
    )
    return replace(spec, **changes)


def picture_of(spec: RenderSpec) -> NDArray[np.uint8] | None:
    """What the spec's render begins at, when it begins at anything."""
    if spec.image is None:
        return None
    return np.asarray(Image.linear_gradient("L").convert("RGB").resize((spec.width, spec.height)))


def ours(pipeline: Pipeline, family: ModelFamily, device: torch.device, acceleration: Acceleration) -> CogVideoX:
    """Our model of a pipeline whose transformer was accelerated so. It knows no adapters."""
    adapters = Adapters(pipeline, {}, Path, capacity=1)
    return CogVideoX(pipeline, family, device, acceleration=acceleration, adapters=adapters)


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


def _decode(model: CogVideoX, render: Any) -> Decoding:
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


def call(
    plain: Pipeline,
    family: ModelFamily,
    spec: RenderSpec,
    on_step: Callable[..., dict[str, Any]] | None = None,
) -> list[Image.Image]:
    """Render the spec with diffusers' own `__call__`; the frames."""
    picture = picture_of(spec)
    return plain(
        **({} if picture is None else {"image": Image.fromarray(picture)}),
        prompt=spec.prompt,
        negative_prompt=spec.negative_prompt,
        height=spec.height,
        width=spec.width,
        num_frames=spec.num_frames,
        num_inference_steps=spec.num_inference_steps,
        guidance_scale=spec.guidance_scale,
        use_dynamic_cfg=family.dynamic_cfg,
        max_sequence_length=family.max_prompt_tokens,
        generator=torch.Generator().manual_seed(spec.seed),
        output_type="pil",
        callback_on_step_end=on_step,
    ).frames[0]


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
