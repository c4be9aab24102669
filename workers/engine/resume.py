"""Whether a render may go on from a checkpoint, and what may then be said of its frames: pure rules on fingerprints.

A fingerprint is that of an undisturbed render (`Model.numerics`), with marks behind it for what an equal fingerprint
alone does not promise: `+batched`, some of its steps were made together with others'; `+mixed`, it was resumed
inexactly: from steps of another fingerprint, from batched ones, or with a step cache that had to start cold.
"""

from __future__ import annotations

from orchestrator.domain.catalog import RECIPES
from orchestrator.domain.job import Checkpoint, Continuity, RenderSpec


def continuity(checkpoint: Checkpoint, spec: RenderSpec, numerics: str) -> Continuity:
    """How `spec`, rendered here under `numerics`, may go on from a checkpoint that can be read.

    `STARTED_OVER` when it may not. Only steps of one fingerprint, unbatched and without step caches (which start cold),
    give the frames of one undisturbed render; to a `reproducible` one nothing else will do.
    """
    rendered, _, marks = checkpoint.numerics.partition("+")
    if rendered != numerics:
        return Continuity.RESUMED_INEXACTLY if spec.resume_anywhere else Continuity.STARTED_OVER
    if marks or RECIPES[spec.profile].approximates:
        return Continuity.STARTED_OVER if spec.reproducible else Continuity.RESUMED_INEXACTLY
    return Continuity.RESUMED


def marked(numerics: str, went_on: Continuity, *, batched: bool) -> str:
    """The fingerprint of a render that began so, and of which some steps were `batched` since, or none."""
    if went_on is Continuity.RESUMED_INEXACTLY:
        return f"{numerics}+mixed"
    return f"{numerics}+batched" if batched else numerics


def unreadable(checkpoint: Checkpoint | None, spec: RenderSpec, numerics: str, began: Continuity) -> bool:
    """True when a render started over from a checkpoint that it could have used: it could not be read."""
    return (
        began is Continuity.STARTED_OVER
        and checkpoint is not None
        and continuity(checkpoint, spec, numerics) is not Continuity.STARTED_OVER
    )
