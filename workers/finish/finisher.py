"""Finishes a render: what was rendered becomes what is delivered, as files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from orchestrator.config import FinishSettings
from orchestrator.domain.job import RenderSpec
from orchestrator.domain.objects import OUTPUTS
from orchestrator.domain.protocol import Assignment
from workers.finish.encode import write_video
from workers.finish.frames import Frame, Frames, Interpolator, check, nothing
from workers.finish.interpolate import ByModel, by_motion
from workers.finish.provenance import Origin, Seal
from workers.finish.scale import Scaler
from workers.finish.stills import Stills
from workers.finish.upscale import Upscaler
from workers.finish.watermark import Watermark


@dataclass(frozen=True)
class Finished:
    """The files of one finished render, and what is in the video: pixels, frames, frames per second."""

    video: Path
    cover: Path
    thumbnail: Path
    spritesheet: Path
    width: int
    height: int
    num_frames: int
    fps: int


class Finisher:
    """Holds what is loaded once per worker: the models, if there are any, and what signs. Threads may share it."""

    def __init__(self, seal: Seal, interpolate: Interpolator = by_motion, upscale: Upscaler | None = None) -> None:
        self._seal = seal
        self._interpolate = interpolate
        self._upscale = upscale

    @classmethod
    def load(cls, settings: FinishSettings, device: torch.device) -> Finisher:
        """Read every file that the settings name; models run on `device`. Raises `ConfigError` naming the setting."""
        return cls(
            seal=Seal.load(settings),
            interpolate=by_motion if settings.interpolator is None else ByModel.load(settings.interpolator, device),
            upscale=None if settings.upscaler is None else Upscaler.load(settings.upscaler, device),
        )

    def finish(
        self,
        assignment: Assignment,
        frames: Frames,
        directory: Path,
        *,
        on_progress: Callable[[], None],
        on_bad: Callable[[], None] = nothing,
    ) -> Finished:
        """Write the video and its stills into `directory`: all of them, or none.

        `frames` is RGB, uint8 [F, H, W, 3] as the assignment's spec renders them. `on_progress` is called with every
        frame; what it raises ends the work and passes through. `on_bad` is called for a frame in which a model's
        numbers are not finite; there it is black. Raises `ValueError` for other frames than the spec's, `OSError` when
        something cannot be written, and `RenderFailed` when the video cannot be signed.
        """
        spec, wanted = assignment.spec, assignment.spec.delivery
        check(frames, spec)
        names = (*OUTPUTS, "unsigned.mp4")
        video, cover, thumbnail, spritesheet, unsigned = paths = [directory / name for name in names]
        stills = Stills(wanted, cover=cover, thumbnail=thumbnail, spritesheet=spritesheet)

        def passing() -> Iterator[Frame]:
            for index, frame in enumerate(self._delivered(spec, frames, on_bad)):
                on_progress()
                stills.take(index, frame)
                yield frame

        origin = Origin.of(assignment)
        try:
            write_video(passing(), wanted, unsigned, origin.metadata)
            on_progress()
            self._seal.sign(unsigned, video, origin)
            unsigned.unlink()
        except BaseException:
            for path in paths:
                path.unlink(missing_ok=True)
            raise
        return Finished(
            video=video,
            cover=cover,
            thumbnail=thumbnail,
            spritesheet=spritesheet,
            width=wanted.width,
            height=wanted.height,
            num_frames=wanted.num_frames,
            fps=wanted.fps,
        )

    def _delivered(self, spec: RenderSpec, frames: Frames, on_bad: Callable[[], None]) -> Iterator[Frame]:
        """Interpolated before they are scaled: motion is as well estimated in few pixels, at a fraction of the cost."""
        wanted = spec.delivery
        delivered: Iterator[Frame] = islice(iter(frames), wanted.num_frames)
        if wanted.fps != spec.fps:
            delivered = self._interpolate(
                frames, fps=spec.fps, wanted=wanted.fps, count=wanted.num_frames, on_bad=on_bad
            )
        source, target = (spec.width, spec.height), (wanted.width, wanted.height)
        if source != target:
            enlarge = None if self._upscale is None else partial(self._upscale, on_bad=on_bad)
            delivered = map(Scaler(source, target, enlarge), delivered)
        return map(Watermark(*target), delivered) if wanted.watermark else delivered
