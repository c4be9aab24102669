"""What finishing costs on the CPU, beside what `predict_finish_s` says, and how much memory it takes.

    python -m tests.benchmarks.finish            as rendered, 1440x960 at 16 fps, 1920x1080 at 30 fps
    python -m tests.benchmarks.finish --4k       3840x2160 at 60 fps too

Each starts from 49 frames of 720x480 in a process of its own: a textured ground that drifts, a textured disc that
crosses it, and a little grain, since flat pictures would encode too fast. CPU seconds count all threads. Memory is the
peak above what the process held, rendered frames included, when finishing began.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image

from orchestrator.config import FinishSettings
from orchestrator.domain.delivery import Delivery
from orchestrator.domain.job import RenderSpec
from orchestrator.domain.protocol import Assignment
from orchestrator.policy.cost import predict_finish_s
from tests.support.builders import a_claim, a_spec
from workers.finish import Finisher
from workers.finish.frames import THREADS, Frame, Frames

WIDTH, HEIGHT, FRAMES, FPS = 720, 480, 49, 8
DELIVERIES = (
    Delivery(width=WIDTH, height=HEIGHT, num_frames=FRAMES, fps=FPS),
    Delivery(width=1440, height=960, num_frames=96, fps=16),
    Delivery(width=1920, height=1080, num_frames=180, fps=30),
)
LARGEST = Delivery(width=3840, height=2160, num_frames=360, fps=60)


@dataclass(frozen=True)
class Cost:
    wall_s: float
    cpu_s: float
    peak_mib: float
    file_mib: float


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--4k", dest="largest", action="store_true", help="3840x2160 at 60 fps too")
    deliveries = DELIVERIES + ((LARGEST,) if arguments.parse_args().largest else ())
    print(f"{FRAMES} frames of {WIDTH}x{HEIGHT} at {FPS} fps; {psutil.cpu_count()} cores, {THREADS} threads of ffmpeg")
    print(f"{'delivered':>18} {'wall s':>7} {'CPU s':>7} {'predicted':>9} {'ratio':>6} {'peak MiB':>8} {'file MiB':>8}")
    for wanted in deliveries:
        spec = a_spec(width=WIDTH, height=HEIGHT, num_frames=FRAMES, fps=FPS, delivery=wanted)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            cost = fresh.submit(measure, spec).result()
        predicted = predict_finish_s(spec)
        print(
            f"{f'{wanted.width}x{wanted.height}@{wanted.fps}':>18} {cost.wall_s:7.1f} {cost.cpu_s:7.1f} "
            f"{predicted:9.1f} {cost.cpu_s / predicted:6.2f} {cost.peak_mib:8.0f} {cost.file_mib:8.1f}"
        )


def measure(spec: RenderSpec) -> Cost:
    """Finish once."""
    torch.set_num_threads(1)
    finisher = Finisher.load(FinishSettings(), torch.device("cpu"))
    frames = scene()
    with tempfile.TemporaryDirectory() as directory:
        held = psutil.Process().memory_info().rss
        wall, cpu = time.perf_counter(), time.process_time()
        finished = finisher.finish(Assignment.of(a_claim(spec=spec)), frames, Path(directory), on_progress=lambda: None)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - held
        return Cost(wall, cpu, peak / 2**20, finished.video.stat().st_size / 2**20)


def scene() -> Frames:
    """The rendered frames, [49, 480, 720, 3]."""
    chance = np.random.default_rng(0)
    ground, disc = texture(chance, WIDTH + 4 * FRAMES, HEIGHT, 24), texture(chance, 200, 200, 12)
    y, x = np.mgrid[0:200, 0:200]
    round_ = (x - 100) ** 2 + (y - 100) ** 2 < 95**2
    frames = np.empty((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    for index in range(FRAMES):
        frame = ground[:, 4 * index : 4 * index + WIDTH].astype(np.int16)
        left = 10 * index
        frame[140:340, left : left + 200][round_] = disc[round_]
        frames[index] = np.clip(frame + chance.normal(0, 2, frame.shape).astype(np.int16), 0, 255)
    return frames


def texture(chance: np.random.Generator, width: int, height: int, grain: int) -> Frame:
    coarse = chance.integers(0, 255, (height // grain + 2, width // grain + 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


if __name__ == "__main__":
    main()
