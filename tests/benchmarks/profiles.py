"""What each profile gives up, and what it saves: its error against `exact`, for the same seed, shape and steps.

    python -m tests.benchmarks.profiles [--model NAME ...] [--steps N] [--threshold X ...]

Without a GPU the tiny models are measured, with one the published architectures, both with random weights. `latents` is
the relative L2 error of the latents, `PSNR` that of the frames in dB, `skipped` the share of steps that the step cache
saved, `seconds` one render without its decode. The profile `draft` is compared with an exact render of its own small
shape and few steps: the figure is the approximation's, not the resolution's. `--threshold` tries step caches of other
thresholds than the profiles', to show what error buys what speed.

Random weights say that the machinery works, and how quantization rounds. They say little about what a step cache does
to a video: how much one step differs from the next is a matter of what a model has learned.
"""

from __future__ import annotations

import argparse
import gc
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.config import PoolSettings
from orchestrator.domain.catalog import FAMILIES, RECIPES, TINY, ModelFamily, Profile
from orchestrator.domain.errors import ConfigError
from orchestrator.domain.job import RenderSpec
from tests.support import random_weights
from tests.support.bare import advance, native_spec, ours, picture_of
from workers.cogvideox import loading, tiny
from workers.cogvideox.acceleration import Acceleration
from workers.cogvideox.attention import relative_error
from workers.cogvideox.loading import Pipeline
from workers.cogvideox.model import CogVideoX

QUANTIZATIONS = ("none", "int8", "fp8")
APPROXIMATE = [profile for profile in Profile if RECIPES[profile].approximates]


@dataclass(frozen=True, slots=True)
class Rendered:
    """Latents on the CPU, frames, the share of steps that were skipped, and seconds without the decode."""

    latents: torch.Tensor
    frames: NDArray[np.uint8]
    skipped: float
    seconds: float


def main() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    options = _options(device)
    where = torch.cuda.get_device_name() if device.type == "cuda" else "the CPU"
    print(f"random weights, on {where}, torch {torch.__version__}\n")
    with tempfile.TemporaryDirectory() as directory:
        for name in options.model:
            family = FAMILIES[name]
            steps = {profile: options.steps or family.steps_of(profile) for profile in Profile}
            specs = {profile: native_spec(family, profile, num_inference_steps=steps[profile]) for profile in Profile}
            print(
                "| model | quantization | profile | threshold | steps | latents | PSNR | skipped | seconds | exact, s |"
            )
            print("|---|---|---|---:|---:|---:|---:|---:|---:|---:|")
            for row in measure(family, device, Path(directory), specs, options.threshold):
                print(row, flush=True)
            print()


def _options(device: torch.device) -> argparse.Namespace:
    known = [family.name for family in TINY] if device.type == "cpu" else list(FAMILIES)
    usual = known if device.type == "cpu" else ["cogvideox-5b"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=known, default=usual)
    parser.add_argument("--steps", type=int, help="of every profile, in place of its own")
    parser.add_argument("--threshold", type=float, nargs="+", default=[], help="of step caches, beside their own")
    return parser.parse_args()


def measure(
    family: ModelFamily,
    device: torch.device,
    directory: Path,
    specs: dict[Profile, RenderSpec],
    thresholds: Sequence[float],
) -> Iterator[str]:
    """A line for each profile, quantization and threshold that the device can."""
    exact: dict[Profile, Rendered] = {}
    for quantization in QUANTIZATIONS:
        # Quantizing changes a model in place, and equal seeds make equal weights: each starts from a new one.
        try:
            model, acceleration = _model(family, device, directory, quantization)
        except ConfigError as refused:
            yield f"| {family.name} | {quantization} | not measured: {refused} |"
            continue
        if quantization == "none":
            _render(model, acceleration, replace(specs[Profile.FAST], profile=Profile.EXACT))  # warms up
            exact = {
                profile: _render(model, acceleration, replace(spec, profile=Profile.EXACT))
                for profile, spec in specs.items()
            }
        for profile in APPROXIMATE:
            recipe = RECIPES[profile]
            for threshold in [recipe.cache_threshold, *thresholds]:
                RECIPES[profile] = replace(recipe, cache_threshold=threshold)
                found = _render(model, acceleration, specs[profile])
                told = f"{threshold:g} | {specs[profile].num_inference_steps}"
                yield f"| {family.name} | {quantization} | {profile} | {told} | {_compared(found, exact[profile])} |"
            RECIPES[profile] = recipe
        del model, acceleration
        gc.collect()


def _compared(found: Rendered, exact: Rendered) -> str:
    error = relative_error(found.latents, exact.latents.float())
    mean_square = float(np.mean((found.frames.astype(np.float32) - exact.frames) ** 2))
    decibel = "equal" if mean_square == 0 else f"{20 * math.log10(255 / math.sqrt(mean_square)):.1f}"
    return f"{error:.4f} | {decibel} | {found.skipped:.0%} | {found.seconds:.2f} | {exact.seconds:.2f}"


def _render(model: CogVideoX, acceleration: Acceleration, spec: RenderSpec) -> Rendered:
    render = model.begin(spec, picture_of(spec))
    started = time.perf_counter()
    advance(model, render)
    seconds = time.perf_counter() - started
    cache = acceleration.cache(render)
    skipped = len(cache.skipped) / spec.num_inference_steps if cache else 0.0
    found = Rendered(render.latents.cpu(), model.decode(render), skipped, seconds)
    model.drop(render)
    return found


def _model(
    family: ModelFamily, device: torch.device, directory: Path, quantization: str
) -> tuple[CogVideoX, Acceleration]:
    pipeline = _pipeline(family, device, directory)
    settings = PoolSettings.model_validate({"model": family.name, "quantization": quantization})
    acceleration = Acceleration.prepare(pipeline.transformer, family, device, settings)
    return ours(pipeline, family, device, acceleration), acceleration


def _pipeline(family: ModelFamily, device: torch.device, directory: Path) -> Pipeline:
    if family in TINY:
        path = tiny.make(family, directory)
        return loading.load(path, family, device, loading.dtype_for(path, family, device))
    return random_weights.pipeline(
        family, device, getattr(torch, family.dtype) if device.type == "cuda" else torch.float32
    )


if __name__ == "__main__":
    main()
