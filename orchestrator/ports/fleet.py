"""The store of what fleets have to do, how many workers of each kind there are, and what was decided about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.domain.pausing import Pause
from orchestrator.policy.demand import Demand


@dataclass(frozen=True, slots=True, kw_only=True)
class KindState:
    """One kind of a pool's workers in a cluster, as its dispatcher sees it."""

    cluster: str
    pool: str
    kind: str
    wanted: int
    # These are explained in `policy/kinds.py`.
    requested: int
    starting: int
    ready: int
    draining: int
    # The last decision's reason, or why there is none.
    why: str
    # How often in a row none came in its time; and for how many seconds none is asked for, after losses as far as other
    # kinds do its work.
    failures: int = 0
    rests_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What a decision was based on: what the pool had to do, and how the kind's workers stood before it."""

    demand: Demand
    requested: int
    starting: int
    ready: int
    draining: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleDecision:
    """A kind got more workers, or fewer."""

    pool: str
    kind: str
    change: int
    why: str
    # None: the release that took it did not keep it.
    basis: Basis | None = None
    # None until it is written.
    at: datetime | None = None


class FleetStore(Protocol):
    """Fleets in PostgreSQL. Every method may raise `StoreUnavailable`."""

    async def demand(self, ratios: Mapping[str, float], *, urgent_priority: int) -> Mapping[str, Demand]:
        """What these pools have to do, in predicted GPU seconds; all of them are named.

        Rows of campaigns count by their estimate while they have no job, times the ratio of their pool: what renders
        have taught. Those of batches count once they have a job.
        """
        ...

    async def pauses(self) -> list[Pause]: ...

    async def record_fleet(self, cluster: str, kinds: Sequence[KindState], decisions: Sequence[ScaleDecision]) -> None:
        """How all kinds of this cluster stand, and what was decided; kinds that are not among them are forgotten."""
        ...

    async def fleet(self) -> list[KindState]:
        """What the dispatchers of all clusters have recorded last, if that was within ten minutes."""
        ...

    async def scale_decisions(self, *, limit: int) -> list[ScaleDecision]:
        """The last ones, the newest first. Of each cluster the last thousand are kept."""
        ...
