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
    """One kind of a pool's workers in a cluster, as its dispatcher sees it; or those that it has of a shared set.

    Then `kind` is the name of the set, and `rests_s` what is left of the longest wait for a worker; of a pool that none
    is wanted for and for which nothing waits, that of a job that comes now.
    """

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
    """A kind got more workers, or fewer. Of a swap there are two: of the pool that lost a worker, and of the other."""

    pool: str
    kind: str
    change: int
    why: str
    # None: of a swap, whose reason has its numbers; or the release that took it did not keep it.
    basis: Basis | None = None
    # None until it is written.
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLine:
    """What waits for one pool's workers."""

    # GPU seconds by priority number, with campaigns' rows that have no job yet.
    waiting: Mapping[int, float]
    # How long the oldest job of it could have been rendering, as far as it is one of the first of its lane.
    oldest_s: float


class FleetStore(Protocol):
    """Fleets in PostgreSQL. Every method may raise `StoreUnavailable`."""

    async def demand(self, ratios: Mapping[str, float], *, urgent_priority: int) -> Mapping[str, Demand]:
        """What these pools have to do, in predicted GPU seconds; all of them are named.

        What waits takes what the first jobs of its lane are charged; where its campaign has a deadline, its own. Rows
        of campaigns count by their estimate while they have no job, times the ratio of their pool: what renders have
        taught. Those of batches count once they have a job.
        """
        ...

    async def lines(self, ratios: Mapping[str, float]) -> Mapping[str, QueueLine]:
        """What waits for these pools, as the first jobs of each lane are charged; all pools are named.

        Rows without a job are reckoned as `demand` does.
        """
        ...

    async def pauses(self) -> list[Pause]: ...

    async def record_fleet(self, cluster: str, kinds: Sequence[KindState], decisions: Sequence[ScaleDecision]) -> None:
        """How the kinds of some pools of this cluster stand, and what was decided.

        Other kinds of these pools are forgotten, and of other pools what nobody has told of for ten minutes.
        """
        ...

    async def fleet(self) -> list[KindState]:
        """What the dispatchers of all clusters have recorded last, if that was within ten minutes."""
        ...

    async def scale_decisions(self, *, limit: int) -> list[ScaleDecision]:
        """The last ones, the newest first. Of each cluster the last thousand are kept."""
        ...
