"""A render as its worker holds it, from the assignment until the dispatcher has heard how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.domain.job import Artifact
from orchestrator.domain.protocol import Assignment, Broke, Rendered, RenderStatus, Stage, Stopped
from workers.choice import Candidate
from workers.parts import Material

End = Rendered | Broke | Stopped

_ON_GPU = frozenset({Stage.ASSIGNED, Stage.ENCODING, Stage.DENOISING, Stage.DECODING})


@dataclass(slots=True, eq=False)
class Held:
    """Guarded by the lock of the roster that it is in. Times are monotonic seconds.

    `preview_step` is the step after which a preview is taken, None once it is (and when there is none to take).
    `fetching` is true from when a thread has begun to get the `material`.
    """

    assignment: Assignment
    entered_at: float
    moved_at: float
    preview_step: int | None
    stage: Stage = Stage.ASSIGNED
    step: int = 0
    fetching: bool = False
    material: Material | None = None
    begun: bool = False
    cancelled: bool = False
    preview: Artifact | None = None
    gpu_seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    end: End | None = None

    @property
    def needs_gpu(self) -> bool:
        return self.stage in _ON_GPU

    @property
    def ready(self) -> bool:
        """True when it could begin: it needs no picture, or has it."""
        return self.assignment.spec.image is None or self.material is not None

    @property
    def steps_left(self) -> int:
        return self.assignment.spec.num_inference_steps - self.step

    def enter(self, stage: Stage, now: float) -> None:
        """Leave the present stage, adding up its seconds, for another. Waiting to begin is no stage's seconds."""
        if self.stage is not Stage.ASSIGNED:
            self.stages[self.stage.value] = self.stages.get(self.stage.value, 0.0) + now - self.entered_at
        self.stage = stage
        self.entered_at = self.moved_at = now

    def candidate(self) -> Candidate:
        return Candidate(
            token=self.assignment.token,
            ready=self.ready,
            begun=self.begun,
            steps_left=self.steps_left,
            preview_due=self.preview_step is not None and self.step >= self.preview_step,
            cancelled=self.cancelled,
        )

    def status(self, now: float) -> RenderStatus:
        return RenderStatus(
            token=self.assignment.token,
            job_id=self.assignment.job_id,
            claim=self.assignment.claim,
            stage=self.stage,
            step=self.step,
            steps=self.assignment.spec.num_inference_steps,
            progress_age_s=0.0 if self.end else now - self.moved_at,
            stages=dict(self.stages),
            preview=self.preview,
            end=self.end,
        )
