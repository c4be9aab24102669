"""Whether a render may go on from a checkpoint, and what may then be said of its frames: pure rules on fingerprints.

A fingerprint is the numerics of an undisturbed render (`Model.numerics`), and behind it a mark for what an equal
fingerprint alone does not promise: `+batched`, some of its steps were taken together with others; `+mixed`, it has gone
on under numerics or caches that were not those of its first steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.catalog import RECIPES
from orchestrator.domain.job import Checkpoint, Continuity, RenderSpec

BATCHED = "+batched"
MIXED = "+mixed"


def continuity(checkpoint: Checkpoint, spec: RenderSpec, numerics: str) -> Continuity:
    """How `spec`, rendered here under `numerics`, may go on from a checkpoint that can be read.

    `STARTED_OVER` when it may not. Only steps of one fingerprint, unbatched and without step caches (which start cold),
    give the frames of one undisturbed render.
    """
    rendered, marked, _ = checkpoint.numerics.partition("+")
    if rendered != numerics:
        return Continuity.RESUMED_INEXACTLY if spec.resume_anywhere else Continuity.STARTED_OVER
    if marked or RECIPES[spec.profile].approximates:
        return Continuity.RESUMED_INEXACTLY
    return Continuity.RESUMED


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a begun render comes from: `numerics` is its fingerprint here and alone, `resumed_at` the steps before."""

    numerics: str = ""
    continuity: Continuity = Continuity.WHOLE
    resumed_at: int = 0
    batched: bool = False

    @property
    def fingerprint(self) -> str:
        """`numerics` with its mark: what its snapshots and its result carry."""
        if self.continuity is Continuity.RESUMED_INEXACTLY:
            return self.numerics + MIXED
        return self.numerics + BATCHED if self.batched else self.numerics


def unreadable(checkpoint: Checkpoint | None, spec: RenderSpec, numerics: str, began: Continuity) -> bool:
    """True when a render started over from a checkpoint that it could have used: it could not be read."""
    return (
        began is Continuity.STARTED_OVER
        and checkpoint is not None
        and continuity(checkpoint, spec, numerics) is not Continuity.STARTED_OVER
    )
