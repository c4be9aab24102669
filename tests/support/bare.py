"""Our model and diffusers' pipeline side by side, without a worker, a bucket or a database around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from orchestrator.config import PoolSettings
from orchestrator.domain.catalog import FAMILIES, RECIPES, ModelFamily, Profile
from orchestrator.domain.delivery import Delivery
from orchestrator.domain.job import Artifact, RenderSpec
from tests.support.random_weights import SMALL, Scale, pipeline, reduced
from workers.cogvideox.acceleration import Acceleration
from workers.cogvideox.adapters import Adapters
from workers.cogvideox.loading import Pipeline
from workers.cogvideox.model import CogVideoX
from workers.cogvideox.render import Render

_PICTURE = Artifact(key="inputs/picture", size=1, sha256="0" * 64, content_type="image/png")


def native_spec(family: ModelFamily, profile: Profile = Profile.EXACT, **changes: Any) -> RenderSpec:
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


def ours(made: Pipeline, family: ModelFamily, device: torch.device, acceleration: Acceleration) -> CogVideoX:
    """Our model of a pipeline whose transformer was accelerated so. It knows no adapters."""
    return CogVideoX(made, family, device, acceleration=acceleration, adapters=Adapters(made, {}, Path, capacity=1))


@dataclass(frozen=True, slots=True)
class Made:
    """A published model, cut down: diffusers' pipeline, what was done to its transformer, and ours of it."""

    family: ModelFamily
    pipeline: Pipeline
    acceleration: Acceleration
    model: CogVideoX


def make(name: str, device: torch.device, scale: Scale = SMALL, **settings: Any) -> Made:
    """A published model of that scale, with the same weights every time. Nothing is done to it but what is asked."""
    family = reduced(FAMILIES[name])
    made = plain(family, device, scale)
    chosen = PoolSettings(model=name, **{"attention": "native", "compile": "off", **settings})
    acceleration = Acceleration.prepare(made.transformer, family, device, chosen)
    return Made(family, made, acceleration, ours(made, family, device, acceleration))


def plain(family: ModelFamily, device: torch.device, scale: Scale = SMALL) -> Pipeline:
    """diffusers' pipeline of it, in the family's own dtype on a GPU, and in float32 on the CPU."""
    return pipeline(family, device, getattr(torch, family.dtype) if device.type == "cuda" else torch.float32, scale)


def advance(model: CogVideoX, render: Render, steps: int | None = None) -> Render:
    """Step a render alone, to its end unless told for how many steps; raises what befell it."""
    for _ in range(render.spec.num_inference_steps - render.step if steps is None else steps):
        (failure,) = model.step([render])
        if failure is not None:
            raise failure
    return render


def frames_of(model: CogVideoX, spec: RenderSpec) -> NDArray[np.uint8]:
    """The spec rendered undisturbed."""
    render = advance(model, model.begin(spec, picture_of(spec)))
    frames = model.decode(render)
    model.drop(render)
    return frames


def call(
    made: Pipeline,
    family: ModelFamily,
    spec: RenderSpec,
    on_step: Callable[..., dict[str, Any]] | None = None,
) -> list[Image.Image]:
    """Render the spec with diffusers' own `__call__`; the frames."""
    picture = picture_of(spec)
    frames: list[Image.Image] = made(
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
    return frames
