"""How long a plain video waits to be finished behind two of one step at 1920x1080 and 60 frames a second.

    python -m tests.benchmarks.finishers [--seconds 6]

A worker's engine with a scripted model and the real finisher: the two are being finished, and a third render, delivered
as rendered, has its frames. Once it is of the same tenant, as every render was before tenants shared finishers, and
once of another one. Then what each of them is charged, as predicted, beside its GPU seconds of CogVideoX-2B.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from orchestrator.domain.catalog import FAMILIES
from orchestrator.domain.delivery import Delivery
from orchestrator.domain.job import RenderSpec, VideoResult
from orchestrator.domain.protocol import Assignment, Stage
from orchestrator.policy import charge
from orchestrator.policy.cost import predict
from tests.benchmarks.finish import FPS, FRAMES, HEIGHT, WIDTH, scene
from tests.support.builders import a_result, a_spec
from tests.support.engine import give, running, status
from tests.support.finishing import plain_finisher
from tests.support.workers import ScriptedModel, ScriptedRender
from workers.engine.parts import Decoding, Watch

RENDERED: dict[str, Any] = {"width": WIDTH, "height": HEIGHT, "num_frames": FRAMES, "fps": FPS}
PLAIN = Delivery(**RENDERED)


class Scenes(ScriptedModel):
    """Decodes to what does not encode at once."""

    def decode(self, render: ScriptedRender, how: Decoding) -> NDArray[np.uint8]:
        return SCENE


def finish(directory: Path, assignment: Assignment, frames: NDArray[np.uint8], watch: Watch) -> VideoResult:
    place = directory / assignment.token.hex
    place.mkdir()
    plain_finisher().finish(assignment, frames, place, on_progress=watch.proceed)
    return a_result(stages=watch.stages)


def waited(heavy: Delivery, tenant: str) -> float:
    """Seconds until the plain video of this tenant is finished, from when its frames could be."""
    with tempfile.TemporaryDirectory() as scratch, running(Scenes(), partial(finish, Path(scratch))) as roster:
        hogs = [
            give(roster, tenant="hog", num_inference_steps=1, delivery=heavy, **RENDERED, seed=seed) for seed in (1, 2)
        ]
        while not all(status(roster, token).stage is Stage.FINISHING for token in hogs):
            time.sleep(0.01)
        begun = time.monotonic()
        plain = give(roster, tenant=tenant, num_inference_steps=1, delivery=PLAIN, **RENDERED, seed=3)
        while status(roster, plain).end is None:
            time.sleep(0.01)
        took_s = time.monotonic() - begun
        for token in hogs:
            roster.cancel(token)
    return took_s


def spec_of(delivery: Delivery, steps: int) -> RenderSpec:
    return a_spec(**RENDERED, num_inference_steps=steps, delivery=delivery)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=int, default=6, help="of the two heavy videos")
    heavy = Delivery(width=1920, height=1080, num_frames=60 * arguments.parse_args().seconds, fps=60)
    print(f"{psutil.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f}")
    before_s, after_s = waited(heavy, "hog"), waited(heavy, "other")
    print(f"a plain video in one line with the two: {before_s:.1f} s; of another tenant: {after_s:.1f} s")
    print(f"ratio {after_s / before_s:.2f}")
    for name, spec in (("1920x1080@60, 1 step", spec_of(heavy, 1)), ("as rendered, 50 steps", spec_of(PLAIN, 50))):
        gpu_seconds = predict(FAMILIES["cogvideox-2b"], spec)
        charged = charge.predicted(gpu_seconds, spec)
        print(f"{name}: {gpu_seconds:.1f} GPU seconds, charged {charged:.1f}, ratio {charged / gpu_seconds:.1f}")


SCENE = scene()

if __name__ == "__main__":
    main()
