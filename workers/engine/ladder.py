"""What becomes of a render whose move failed: pure rules, each a rung below the one that broke.

A decode without memory is tried in a way that needs less; frames that are not finite are rendered once more from the
start, without step caches, on the profile `exact` (what a pool does to its model stays: 8-bit linears are no less so,
and the fingerprint says it); a checkpoint that cannot be used costs the steps before it and nothing else. What is left
has failed. (A batch whose step raises is split, so that the rules apply to each of its renders.)
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from orchestrator.domain.catalog import Profile
from orchestrator.domain.failure import FailureCode
from orchestrator.domain.job import Failure, Incident, RenderSpec
from workers.engine.choice import Act
from workers.engine.parts import Decoding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# No channel of no pixel is brighter, of 255: what a VAE makes of latents that say nothing, and of a black night.
_BLACK: Final = 4


@dataclass(frozen=True, slots=True)
class DecodeAgain:
    """The latents stay; the decode needs less memory."""

    how: Decoding
    incident: Incident


@dataclass(frozen=True, slots=True)
class StartOver:
    """Nothing stays: the render begins again, with `spec` and without a checkpoint."""

    spec: RenderSpec
    incident: Incident


Rung = DecodeAgain | StartOver

_BELOW: Final = {
    Decoding.WHOLE: DecodeAgain(Decoding.TILED, Incident.TILED_DECODE),
    Decoding.TILED: DecodeAgain(Decoding.OFFLOADED, Incident.OFFLOADED_DECODE),
}


def below(
    act: Act, failure: Failure, spec: RenderSpec, *, decoding: Decoding, incidents: Collection[Incident]
) -> Rung | None:
    """The rung to go on from when `act` failed; None when the render has failed for good.

    `decoding` is how it would be, or was, decoded; `incidents` is what has befallen it before.
    """
    if act is Act.DECODE and failure.code == FailureCode.OUT_OF_MEMORY:
        return _BELOW.get(decoding)
    if failure.code == FailureCode.NAN_FRAMES and Incident.RETRIED_EXACTLY not in incidents:
        return StartOver(replace(spec, profile=Profile.EXACT), Incident.RETRIED_EXACTLY)
    if failure.code == FailureCode.CHECKPOINT_UNUSABLE and Incident.CHECKPOINT_UNUSABLE not in incidents:
        return StartOver(spec, Incident.CHECKPOINT_UNUSABLE)
    return None


def implausible(frames: NDArray[np.uint8]) -> Incident | None:
    """What looks wrong with `frames`, [frames, height, width, 3] RGB, which a prompt may well ask for.

    One pass over them for the brightest; whether they move, the first two say in all but the frozen ones.
    """
    if int(frames.max()) <= _BLACK:
        return Incident.ALL_BLACK
    if len(frames) > 1 and all((one == next_).all() for one, next_ in pairwise(frames)):
        return Incident.FROZEN
    return None
