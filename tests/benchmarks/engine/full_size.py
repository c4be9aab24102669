"""The GPU part: each model at full size with random weights, on plain diffusers and on each profile of ours."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from orchestrator.config import PoolSettings
from orchestrator.domain.catalog import RECIPES, ModelFamily, Profile
from orchestrator.domain.job import RenderSpec
from orchestrator.policy.cost import predict_decode_s, predict_step_s, tokens
from tests.benchmarks.engine.flops import Shape, floor_s, step_flops
from tests.benchmarks.engine.idle import idle_s
from tests.benchmarks.engine.queue import Queue
from tests.benchmarks.engine.record import PLAIN, Measurement
from tests.benchmarks.engine.subjects import Timing, render_ours, render_plain
from tests.support.bare import native_spec, ours
from tests.support.random_weights import FULL, Pipeline, Scale, pipeline
from workers.cogvideox.acceleration import Acceleration
from workers.cogvideox.model import CogVideoX

# Seconds to make a model on the device, to compile it and to warm it up, as far as anybody has guessed.
_SETUP_S = 90.0
_QUEUED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where and how it is measured: `steps` of each render (None all), nothing begun that would outlast `deadline`."""

    device: torch.device
    steps: int | None
    deadline: float
    scale: Scale = FULL
    quantization: Literal["fp8", "int8"] = "fp8"

    def dtype(self, family: ModelFamily) -> torch.dtype:
        kept: torch.dtype = getattr(torch, family.dtype) if self.device.type == "cuda" else torch.float32
        return kept

    def steps_of(self, spec: RenderSpec) -> int:
        return min(self.steps or spec.num_inference_steps, spec.num_inference_steps)

    def fits(self, family: ModelFamily, spec: RenderSpec) -> bool:
        """Whether one measurement would probably be over before the deadline, on the family's reference device."""
        one = self.steps_of(spec) * predict_step_s(family, spec) + predict_decode_s(family, spec)
        return time.monotonic() + _SETUP_S + 2 * one < self.deadline


def measure(bench: Bench, family: ModelFamily, profiles: Sequence[str]) -> Iterator[Measurement | str]:
    """Each profile that was asked for, as soon as it is measured; a sentence for one that could not be.

    Every way to make a model quick starts from a new one, because it changes the modules in place.
    """
    if PLAIN in profiles:
        yield from _guarded(bench, family, [Profile.EXACT], lambda: iter([_measure_plain(bench, family)]))
    for served, quantization in (((Profile.EXACT,), "none"), ((Profile.FAST, Profile.DRAFT), bench.quantization)):
        wanted = [profile for profile in served if profile in profiles]
        if wanted:
            warm = {shape(native_spec(family, profile)) for profile in wanted}
            settings = PoolSettings(
                model=family.name, profiles=served, quantization=quantization, warm_shapes=tuple(sorted(warm))
            )
            yield from _guarded(bench, family, wanted, lambda s=settings, w=wanted: _measure_ours(bench, family, s, w))


def _guarded(
    bench: Bench, family: ModelFamily, profiles: list[Profile], work: Callable[[], Iterator[Measurement]]
) -> Iterator[Measurement | str]:
    """One way's failure, and a budget that is spent, cost that way's figures and no others."""
    what = f"{family.name} {'+'.join(profiles)}"
    if not bench.fits(family, native_spec(family, profiles[0])):
        yield f"{what}: not measured, the time left does not do"
        return
    try:
        yield from work()
    except Exception as error:
        yield f"{what}: not measured, {type(error).__name__}: {str(error)[:300]}"
    finally:
        gc.collect()
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()


def _measure_plain(bench: Bench, family: ModelFamily) -> Measurement:
    plain = pipeline(family, bench.device, bench.dtype(family), bench.scale)
    spec = native_spec(family, Profile.EXACT)

    def render(steps: int) -> Timing:
        return render_plain(plain, family, spec, bench.device, steps)

    try:
        render(1)
    except torch.OutOfMemoryError:
        plain.vae.enable_tiling()  # what its users do then; it stays on for the figures
        render(1)
    _reset_peak(bench.device)
    timing = render(bench.steps_of(spec))
    return _measurement(bench, plain, family, spec, PLAIN, timing, facts={"attention": "torch's choice"})


def _measure_ours(
    bench: Bench, family: ModelFamily, settings: PoolSettings, profiles: Sequence[Profile]
) -> Iterator[Measurement]:
    made = pipeline(family, bench.device, bench.dtype(family), bench.scale)
    started = time.perf_counter()
    acceleration = Acceleration.prepare(made.transformer, family, bench.device, settings)
    model = ours(made, family, bench.device, acceleration)
    for profile in profiles:
        spec = native_spec(family, profile)
        # Without the profile's step cache: with random weights it shows how these change, not how a model's do.
        computed = replace(spec, profile=Profile.EXACT)
        unseen, steps = replace(computed, prompt="one that no cache has seen"), bench.steps_of(spec)
        render_ours(model, computed, bench.device, 1)
        prepare_s = time.perf_counter() - started
        _reset_peak(bench.device)
        timing = render_ours(model, unseen, bench.device, steps)
        one = _measurement(
            bench, made, family, spec, profile, timing, facts=acceleration.facts(computed), prepare_s=prepare_s
        )
        if RECIPES[profile].approximates:
            saved = (1 - RECIPES[profile].compute_share) * spec.num_inference_steps * timing.step_s
            one = replace(one, cached_s=one.video_s - saved)
        yield replace(one, between_s=_between_s(bench, family, model, computed))
        started = time.perf_counter()


def _between_s(bench: Bench, family: ModelFamily, model: CogVideoX, spec: RenderSpec) -> float | None:
    """What the device idles for each render of a queue, each a few steps long: their number does not change it."""
    if bench.device.type != "cuda":
        return None
    short = replace(spec, num_inference_steps=2)
    with Queue(family, model, lambda frames: time.sleep(1)) as queue:
        queue.render(short)
        idle = idle_s(lambda: queue.render(*(replace(short, seed=seed) for seed in range(_QUEUED))))
    return idle / (_QUEUED - 1)


def _measurement(
    bench: Bench, made: Pipeline, family: ModelFamily, spec: RenderSpec, profile: str, timing: Timing, **told: object
) -> Measurement:
    steps = spec.num_inference_steps
    flops = step_flops(Shape.of(made.transformer), tokens(family, spec.width, spec.height, spec.num_frames))
    video_s = timing.video_s(steps)
    values = {
        "model": family.name,
        "profile": str(profile),
        "shape": shape(spec),
        "steps": len(timing.steps_s),
        "of_steps": steps,
        "prepare_s": 0.0,
        "begin_s": timing.begin_s,
        "step_s": timing.step_s,
        "decode_s": timing.decode_s,
        "decoding": str(timing.decoding),
        "video_s": video_s,
        "floor_s": floor_s(steps * flops),
        "tflops": flops / timing.step_s / 1e12,
        "peak_gib": _peak_gib(bench.device),
    }
    return Measurement(**{**values, **told})


def shape(spec: RenderSpec) -> str:
    return f"{spec.width}x{spec.height}x{spec.num_frames}"


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_gib(device: torch.device) -> float | None:
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
