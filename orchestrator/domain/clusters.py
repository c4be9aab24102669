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
    # It gives up its pods one by one, for GPUs that the next one needs; on the others its dispatcher claims.
    YIELDING = "yielding"
    # Its dispatcher claims no more; what it renders ends, or leaves with its checkpoint.
    RETIRING = "retiring"
    # It was to retire and was not empty in time, so its dispatcher claims again.
    KEPT = "kept"
    # It is empty for good, and its objects are deleted. There is no way back.
    ENDING = "ending"

    @property
    def claims(self) -> bool:
        """Whether its dispatcher may claim."""
        return self not in (ClusterState.RETIRING, ClusterState.ENDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a cluster's dispatcher is asked to do."""

    # It claims nothing more.
    retires: bool
    # So many seconds its renders have from now on; what would need more leaves with its checkpoint.
    left_s: float
    # Names this wish: it grows with each.
    version: int
    # It tells which of its hosts hold workers, and asks for no more of them.
    yields: bool = False
    # Hosts that it gives up: their workers leave.
    gives: frozenset[str] = frozenset()
