"""When silence means a hang: the longest a stage may go without progress before its worker is killed."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.protocol import RenderStatus, Stage

# For so long a worker itself tries to store a finished video while S3 is away. A render costs far more than that wait,
# and the wait holds no GPU. The settings demand a longer `upload_s`, so that an outage ends with a reason, not a kill.
UPLOAD_TRIED_S = 480.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a stage may be silent, in seconds."""

    # The shortest deadline: it absorbs what no prediction knows, such as a first compile or a slow disk.
    floor_s: float
    # Times the predicted seconds: it absorbs the rest.
    factor: float
    # The shortest deadline of finishing and uploading.
    upload_s: float

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
