"""When silence means a hang: the longest a stage may go without progress before its worker is killed."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.protocol import RenderStatus, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds. `floor_s` absorbs what no prediction knows (a first compile, a slow disk); `factor` the rest."""

    floor_s: float = 120.0
    factor: float = 10.0
    upload_s: float = 900.0

    def deadline_s(self, stage: Stage, *, step_s: float, render_s: float, finish_s: float) -> float:
        """The longest silence allowed in `stage`; the seconds predicted of a step, the render and its finishing.

        A checkpoint is restored while encoding. What is preempted waits for the render that displaced it, and that one
        has a deadline.
        """
        match stage:
            case Stage.DENOISING:
                return max(self.floor_s, self.factor * step_s)
            case Stage.ENCODING | Stage.DECODING:
                return max(self.floor_s, self.factor * render_s)
            case Stage.FINISHING | Stage.UPLOADING:
                return max(self.upload_s, self.factor * (render_s + finish_s))
            case Stage.ASSIGNED | Stage.PREEMPTED | Stage.ENDED:
                return float("inf")

    def hung(self, status: RenderStatus, *, step_s: float, render_s: float, finish_s: float) -> bool:
        """True when this render has been silent for longer than its stage allows."""
        longest = self.deadline_s(status.stage, step_s=step_s, render_s=render_s, finish_s=finish_s)
        return status.progress_age_s > longest
