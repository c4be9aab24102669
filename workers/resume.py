"""Whether a render may go on from a checkpoint, and what may then be said of its frames: pure rules on fingerprints.

A fingerprint is the numerics of an undisturbed render (`Model.numerics`), and behind it a mark for what an equal
fingerprint alone does not promise: `+batched`, some of its steps were taken together with others; `+mixed`, it has gone
on under numerics or caches that were not those of its first steps.
"""

from __future__ import annotations

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


def marked(numerics: str, continuity: Continuity, *, batched: bool) -> str:
    """The fingerprint of a render that went on so: what its snapshots and its result carry."""
    if continuity is Continuity.RESUMED_INEXACTLY:
        return numerics + MIXED
    return numerics + BATCHED if batched else numerics


def unreadable(checkpoint: Checkpoint | None, spec: RenderSpec, numerics: str, began: Continuity) -> bool:
    """True when a render started over from a checkpoint that it could have used: it could not be read."""
    return (
        began is Continuity.STARTED_OVER
        and checkpoint is not None
        and continuity(checkpoint, spec, numerics) is not Continuity.STARTED_OVER
    )
