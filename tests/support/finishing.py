"""Finishing in tests: frames in, files out, and a look at the pictures in a video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import torch
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace

from orchestrator.config import FinishSettings
from orchestrator.domain.delivery import Delivery
from orchestrator.domain.job import Continuity, Incident
from orchestrator.domain.protocol import Assignment, Stage
from tests.support.builders import a_claim, a_spec
from workers.finish import Finished, Finisher

CPU = torch.device("cpu")


@dataclass
class PlainWatch:
    """A `workers.engine.parts.Watch` on a render that went on as told; `moved` may be anything."""

    gpu_seconds: float = 1.5
    stages: dict[str, float] = field(default_factory=dict)
    numerics: str = "0123456789abcdef"
    continuity: Continuity = Continuity.WHOLE
    resumed_at: int = 0
    incidents: tuple[Incident, ...] = ()
    prompt_tokens: int | None = None
    moved: Callable[[], None] = lambda: None

    def befall(self, incident: Incident) -> None:
        self.incidents += (incident,)

    def enter(self, stage: Stage) -> None: ...

    def proceed(self) -> None: ...


@cache
def plain_finisher() -> Finisher:
    """As configured by default: minterpolate, Lanczos, a test certificate."""
    return Finisher.load(FinishSettings(), CPU)


def an_assignment_of(frames: npt.NDArray[np.uint8], *, rate: int = 8, **delivered: Any) -> Assignment:
    """A render of these frames at `rate` per second; what is delivered is the same but for `delivered`."""
    num_frames, height, width, _ = frames.shape
    rendered = {"width": width, "height": height, "num_frames": num_frames, "fps": rate}
    return Assignment.of(a_claim(spec=a_spec(**rendered, delivery=Delivery(**{**rendered, **delivered}))))


def finish(
    frames: npt.NDArray[np.uint8], directory: Path, *, rate: int = 8, by: Finisher | None = None, **delivered: Any
) -> Finished:
    """Finish frames into `directory`."""
    assignment = an_assignment_of(frames, rate=rate, **delivered)
    return (by or plain_finisher()).finish(assignment, frames, directory, on_progress=lambda: None)


def decode(path: Path) -> list[VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def pictures(path: Path) -> npt.NDArray[np.uint8]:
    """The frames of a video as RGB uint8 [F, H, W, 3]."""
    frames = [frame.to_ndarray(format="rgb24", src_colorspace=Colorspace.ITU709) for frame in decode(path)]
    return np.stack(frames).astype(np.uint8)


def psnr(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB."""
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)))
