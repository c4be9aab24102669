"""The Ray clusters of a release: how each stands in a roll, and what its dispatcher is asked to do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ClusterState(StrEnum):
    """How a Ray cluster of a release stands."""

    # It was made, and has never had a ready worker.
    COMING = "coming"
    # It has had one, and its dispatcher claims.
    SERVING = "serving"
    # Its dispatcher claims no more; what it renders ends, or leaves with its checkpoint.
    RETIRING = "retiring"
    # It was to retire and was not empty in time, so its dispatcher claims again.
    KEPT = "kept"
    # It is empty for good, and its objects are deleted. There is no way back.
    ENDING = "ending"

    @property
    def claims(self) -> bool:
        """Whether its dispatcher may claim."""
        return self in (ClusterState.COMING, ClusterState.SERVING, ClusterState.KEPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a cluster's dispatcher is asked to do."""

    # It claims nothing more.
    retires: bool
    # So many seconds its renders have from now on; what would need more leaves with its checkpoint.
    left_s: float
    # Names this wish: it grows with each.
    version: int
