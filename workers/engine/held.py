"""A render as its worker holds it, from the assignment until the dispatcher has heard how it ended."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from orchestrator.domain.catalog import RECIPES, ModelFamily
from orchestrator.domain.job import Artifact, Checkpoint, Continuity, Incident, RenderSpec
from orchestrator.domain.protocol import Assignment, End, RenderStatus, Stage
from orchestrator.domain.timeline import Timeline, extended
from orchestrator.policy.cost import predict_resident_bytes
from workers.engine.choice import BatchKey, Candidate
from workers.engine.ladder import DecodeAgain
from workers.engine.parts import Decoding, Material, Reading
from workers.engine.reading import remarks
from workers.engine.resume import marked, unreadable

_ON_GPU = frozenset({Stage.ASSIGNED, Stage.ENCODING, Stage.DENOISING, Stage.PREEMPTED, Stage.DECODING})


@dataclass(slots=True, eq=False, kw_only=True)
class Held:
    """Guarded by the lock of the `Renders` that it is in. Times are monotonic seconds."""

    assignment: Assignment
    # When it entered its stage, and when anything of it last moved.
    entered_at: float
    moved_at: float
    # Bytes of device memory that it holds once begun.
    size: int
    # Equal among those that it may step with; None when it steps alone.
    group: BatchKey | None
    # The step after which a preview is taken; None once it is, and when there is none to take.
    preview_step: int | None
    stage: Stage = Stage.ASSIGNED
    # Denoise steps done.
    step: int = 0
    # A thread has begun to get the material.
    fetching: bool = False
    # What it begins with, from when it is there until it has begun.
    material: Material | None = None
    # The GPU holds it, or is about to.
    begun: bool = False
    # It has begun, and others move, or no finisher is free for it.
    waiting: bool = False
    # The latter.
    resting: bool = False
    # More urgent renders that have begun since it has.
    overtaken: int = 0
    # How it is decoded when not as a whole.
    rung: DecodeAgain | None = None
    # It did not fit as a whole although nothing else was begun.
    too_large: bool = False
    # Its frames are decoded.
    finishing: bool = False
    cancelled: bool = False
    # Why it has to leave; None when it may stay.
    evicted: str | None = None
    # Until when its last checkpoint may take.
    leave_by: float = math.inf
    # How often it has begun again; what belongs to an earlier life is ignored.
    lives: int = 0
    # The fingerprint of its spec here; empty before it has begun.
    numerics: str = ""
    # It has stepped together with others.
    batched: bool = False
    # How it went on from an earlier attempt.
    continuity: Continuity = Continuity.WHOLE
    # The steps that an earlier attempt had done.
    resumed_at: int = 0
    # The tokens of the whole prompt, once it is read.
    prompt_tokens: int | None = None
    # What befell it, each once.
    incidents: tuple[Incident, ...] = ()
    # The newest one that is stored.
    checkpoint: Checkpoint | None = None
    # A checkpoint that it does not leave with is on its way to the bucket.
    saving: bool = False
    # Its GPU seconds when a checkpoint was last taken.
    saved_at_s: float = 0.0
    # The preview, once it is stored.
    preview: Artifact | None = None
    # What it has cost so far, in all its lives.
    gpu_seconds: float = 0.0
    # Seconds that each stage took, by its name; the present one's come when it is left.
    stages: dict[str, float] = field(default_factory=dict)
    # How it ended; it stays held until the dispatcher forgets it.
    end: End | None = None
    # The stages that it has left, in seconds since it was assigned.
    assigned_at: float = 0.0
    periods: Timeline = ()

    @classmethod
    def of(cls, assignment: Assignment, family: ModelFamily, now: float, *, preview_at: float, batches: bool) -> Held:
        """As it is when it is assigned; `preview_at` is the share of its steps before the preview, 0 is none."""
        return cls(
            assignment=assignment,
            entered_at=now,
            moved_at=now,
            assigned_at=now,
            size=predict_resident_bytes(family, assignment.spec),
            group=_group(assignment.spec) if batches else None,
            preview_step=_preview_step(assignment.spec, preview_at),
        )

    @property
    def names(self) -> dict[str, object]:
        """What a log calls it."""
        names = {"job": self.assignment.job_id.hex, "attempt": self.assignment.claim}
        trace_id = self.assignment.trace_id
        return names if trace_id is None else {**names, "trace_id": trace_id}

    @property
    def needs_gpu(self) -> bool:
        return self.stage in _ON_GPU

    @property
    def needs_material(self) -> bool:
        spec = self.assignment.spec
        return spec.image is not None or spec.adapter is not None or self.assignment.checkpoint is not None

    @property
    def ready(self) -> bool:
        """True when it could begin: it needs nothing for that, or has it."""
        return not self.needs_material or self.material is not None

    @property
    def steps_left(self) -> int:
        return self.assignment.spec.num_inference_steps - self.step

    @property
    def decoding(self) -> Decoding:
        return self.rung.how if self.rung else Decoding.WHOLE

    @property
    def rendered_under(self) -> str:
        """The fingerprint of all its steps, with the marks of `workers/engine/resume.py`."""
        return marked(self.numerics, self.continuity, batched=self.batched)

    @property
    def stored(self) -> bool:
        """True when nothing has been rendered that the stored checkpoint does not have."""
        return self.step == (self.checkpoint.step if self.checkpoint else 0)

    def enter(self, stage: Stage, now: float) -> None:
        """Leave the present stage, adding up its seconds, for another. Waiting to begin is no stage's seconds."""
        if self.stage is not Stage.ASSIGNED:
            self.stages[self.stage.value] = self.stages.get(self.stage.value, 0.0) + now - self.entered_at
        self.periods = self._periods(now)
        self.stage = stage
        self.entered_at = self.moved_at = now

    def wait(self, now: float, *, parked: bool) -> None:
        """Others move, and this render does not; from `move` on it does again. A `parked` one takes no room."""
        self.waiting = True
        if parked and self.stage is not Stage.PREEMPTED:
            self.enter(Stage.PREEMPTED, now)

    def move(self, now: float) -> None:
        if self.stage is Stage.PREEMPTED:
            self.enter(Stage.DENOISING, now)
        if self.waiting:
            self.waiting = False
            self.moved_at = now

    def rest(self, now: float) -> None:
        """Its finisher goes to another render; what it waits is no stage's seconds. `resume` ends that."""
        self.enter(self.stage, now)
        self.waiting = self.resting = True

    def resume(self, now: float) -> None:
        self.waiting = self.resting = False
        self.entered_at = self.moved_at = now

    def had_finisher_s(self, now: float) -> float:
        """Seconds for which it has had a finisher."""
        had = self.stages.get(Stage.FINISHING.value, 0.0)
        goes_on = self.stage is Stage.FINISHING and not self.waiting
        return had + (now - self.entered_at if goes_on else 0.0)

    def befall(self, incident: Incident) -> None:
        """Remember what happened, once."""
        if incident not in self.incidents:
            self.incidents += (incident,)

    def began(self, numerics: str, reading: Reading, now: float) -> None:
        """It has begun with its material, here under this fingerprint and with its prompts read so."""
        self.prompt_tokens = reading.prompt
        for incident in remarks(reading, self.assignment.spec):
            self.befall(incident)
        material = self.material or Material()
        if material.snapshot is not None:
            self.step = material.snapshot.step
            self.checkpoint = self.assignment.checkpoint
        elif unreadable(self.assignment.checkpoint, self.assignment.spec, numerics, material.continuity):
            self.befall(Incident.CHECKPOINT_UNUSABLE)
        if material.continuity is not Continuity.WHOLE:  # what it was in an earlier life stays so
            self.continuity = material.continuity
        self.numerics = numerics
        self.resumed_at = self.step
        self.material = None
        self.saved_at_s = self.gpu_seconds
        self.enter(Stage.DENOISING, now)

    def begin_again(self, spec: RenderSpec, now: float) -> None:
        """Back to where it was when it was assigned, but for what it has cost; nothing of its past is kept.

        It steps alone from now on.
        """
        self.enter(Stage.ASSIGNED, now)
        if self.assignment.checkpoint is not None:
            self.continuity = Continuity.STARTED_OVER
        self.assignment = replace(self.assignment, spec=spec, checkpoint=None)
        self.group = None
        self.step = 0
        self.fetching = self.begun = self.waiting = self.saving = self.batched = False
        self.material = self.checkpoint = None
        self.rung = None
        self.lives += 1

    def store(self, checkpoint: Checkpoint) -> None:
        """A checkpoint is in the bucket; of two that were under way at once, the later step's counts."""
        if self.checkpoint is None or checkpoint.step > self.checkpoint.step:
            self.checkpoint = checkpoint

    def candidate(self, checkpoint_every_s: float, *, finishing: int = 0) -> Candidate:
        spent_s = self.gpu_seconds - self.saved_at_s
        return Candidate(
            token=self.assignment.token,
            priority=self.assignment.priority,
            ready=self.ready,
            begun=self.begun,
            steps_left=self.steps_left,
            size=self.size,
            group=self.group,
            overtaken=self.overtaken,
            preview_due=self.preview_step is not None and self.step >= self.preview_step,
            checkpoint_due=0 < checkpoint_every_s <= spent_s and not self.saving and not self.stored,
            cancelled=self.cancelled,
            evicted=self.evicted is not None,
            finishing=finishing,
        )

    def status(self, now: float) -> RenderStatus:
        """One that waits for others is as old as they are: whatever hangs, it is not this."""
        return RenderStatus(
            token=self.assignment.token,
            job_id=self.assignment.job_id,
            claim=self.assignment.claim,
            stage=self.stage,
            step=self.step,
            steps=self.assignment.spec.num_inference_steps,
            progress_age_s=0.0 if self.end or self.waiting else now - self.moved_at,
            stages=dict(self.stages),
            preview=self.preview,
            checkpoint=self.checkpoint,
            incidents=self.incidents,
            end=self.end,
            gpu_seconds=self.gpu_seconds,
            periods=self.periods if self.end or self.resting else self._periods(now),
            age_s=now - self.assigned_at,
        )

    def _periods(self, now: float) -> Timeline:
        """With the present stage."""
        return extended(self.periods, self.stage.value, self.entered_at - self.assigned_at, now - self.entered_at)


def _group(spec: RenderSpec) -> BatchKey | None:
    """What is equal among renders that can step together; None when it steps alone.

    A step cache belongs to one render and saves more than a batch does.
    """
    if spec.reproducible or RECIPES[spec.profile].approximates:
        return None
    shape = (spec.width, spec.height, spec.num_frames)
    return (*shape, spec.num_inference_steps, spec.guidance_scale, spec.adapter, spec.adapter_scale)


def _preview_step(spec: RenderSpec, preview_at: float) -> int | None:
    """The step to take a preview after; None when that is no step, or the last one."""
    step = math.ceil(preview_at * spec.num_inference_steps)
    return step if 0 < step < spec.num_inference_steps else None
