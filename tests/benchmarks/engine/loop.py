"""The CPU part: what the engine's loop costs beside `__call__`, and that finishing overlaps the next render."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from orchestrator.config import PoolSettings
from orchestrator.domain.catalog import FAMILIES, ModelFamily
from orchestrator.domain.job import RenderSpec
from tests.benchmarks.engine.queue import Queue, Timed
from tests.support.bare import call, native_spec, ours
from tests.support.random_weights import KINDS, SCHEDULERS
from workers.cogvideox import tiny
from workers.cogvideox.acceleration import Acceleration
from workers.cogvideox.loading import Pipeline
from workers.cogvideox.model import CogVideoX

STEPS = 20
SLOW_FINISH = 0.8  # of a render's seconds: finishing that would nearly halve the rate if it did not overlap


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """CPU seconds of either side, medians, and the median of the rounds' ratios with the least and the most."""

    ours_s: float
    plain_s: float
    ratio: float
    least: float
    most: float

    def __str__(self) -> str:
        spread = f"{self.least:.3f} to {self.most:.3f}"
        return f"engine {self.ours_s:.3f} s, diffusers {self.plain_s:.3f} s, ratio {self.ratio:.3f} ({spread})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Renders in a row whose finishing takes `finish_s` each: wall seconds, and what they would be one by one.

    `gap_s` and `longest_gap_s` are from the end of one decode to the model's next move, median and most.
    """

    renders: int
    finish_s: float
    wall_s: float
    one_by_one_s: float
    gap_s: float
    longest_gap_s: float

    def __str__(self) -> str:
        gaps = f"{self.gap_s * 1e3:.2f} ms, longest {self.longest_gap_s * 1e3:.2f} ms"
        walls = f"{self.wall_s:.2f} s where one by one takes {self.one_by_one_s:.2f} s"
        return f"{self.renders} renders that each finish in {self.finish_s:.2f} s: {walls}; decode to next move {gaps}"


def report(name: str, rounds: int, renders: int) -> dict[str, Any]:
    """Measure one tiny model; prints, and returns the same for the JSON."""
    family, device = FAMILIES[name], torch.device("cpu")
    spec = native_spec(family, num_inference_steps=STEPS, num_frames=family.min_frames)
    with tempfile.TemporaryDirectory() as directory:
        path = tiny.make(family, Path(directory))
        plain, accelerated = load(path, family), load(path, family)
    acceleration = Acceleration.prepare(accelerated.transformer, family, device, PoolSettings(model=name))
    model = ours(accelerated, family, device, acceleration)
    with Queue(family, model, lambda frames: None) as queue:
        ratio = compare(
            lambda seed: queue.render(replace(spec, seed=seed)),
            lambda seed: call(plain, family, replace(spec, seed=seed)),
            rounds,
        )
    overlap = overlapping(family, model, spec, renders)
    shape = f"{spec.width}x{spec.height}x{spec.num_frames}, {STEPS} steps"
    print(f"{name} {shape}: {ratio}", flush=True)
    print(f"{name} {shape}: {overlap}", flush=True)
    return {"model": name, "shape": shape, "ratio": asdict(ratio), "overlap": asdict(overlap)}


def load(path: Path, family: ModelFamily) -> Pipeline:
    """diffusers' pipeline of a checkpoint, with the scheduler that the model card asks for."""
    plain = KINDS[family.image_to_video].from_pretrained(path)
    plain.scheduler = SCHEDULERS[family.scheduler].from_config(plain.scheduler.config, timestep_spacing="trailing")
    plain.set_progress_bar_config(disable=True)
    return plain


def compare(ours: Callable[[int], object], plain: Callable[[int], object], rounds: int) -> Ratio:
    """One round to warm up, then `rounds`; who goes first alternates. CPU seconds of this process, on one thread each.

    They are disturbed less than the wall clock by whatever else the machine does.
    """
    pairs = []
    for seed in range(rounds + 1):
        seconds = {}
        for side in (ours, plain) if seed % 2 else (plain, ours):
            started = time.process_time()
            side(seed)
            seconds[side] = time.process_time() - started
        pairs.append((seconds[ours], seconds[plain]))
    ratios = [ours_s / plain_s for ours_s, plain_s in pairs[1:]]
    return Ratio(
        ours_s=statistics.median(ours_s for ours_s, _ in pairs[1:]),
        plain_s=statistics.median(plain_s for _, plain_s in pairs[1:]),
        ratio=statistics.median(ratios),
        least=min(ratios),
        most=max(ratios),
    )


def overlapping(family: ModelFamily, model: CogVideoX, spec: RenderSpec, renders: int) -> Overlap:
    """A row of renders whose finishing waits, as one does for ffmpeg and S3, beside the same one by one."""
    with Queue(family, model, lambda frames: None) as queue:
        alone_s = statistics.median(_wall(lambda: queue.render(spec)) for _ in range(3))
    finish_s = SLOW_FINISH * alone_s
    timed = Timed(model)
    with Queue(family, timed, lambda frames: time.sleep(finish_s)) as queue:
        wall_s = _wall(lambda: queue.render(*_seeds(spec, renders)))
    return Overlap(
        renders=renders,
        finish_s=finish_s,
        wall_s=wall_s,
        one_by_one_s=renders * (alone_s + finish_s),
        gap_s=statistics.median(timed.gaps),
        longest_gap_s=max(timed.gaps),
    )


def _wall(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _seeds(spec: RenderSpec, count: int) -> Iterator[RenderSpec]:
    return (replace(spec, seed=seed) for seed in range(count))
