"""The store of the Ray clusters of a release: how each stands, and what is asked of its dispatcher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from orchestrator.domain.clusters import ClusterState, Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRow:
    """One cluster, and what its dispatcher has told of it within a minute and a half."""

    name: str
    state: ClusterState
    successor: str | None
    why: str
    version: int
    obeyed: bool
    since: datetime
    # Seconds in this state.
    age_s: float
    # Workers with their model loaded, by pool; and all that its dispatcher tells of.
    ready: Mapping[str, int]
    told: Mapping[str, int]
    # Claims that run there.
    running: int
    # Its dispatcher has told something of it, if only that it has no workers.
    heard: bool = False
    # While it yields: its workers by host and pool, and the same of the hosts that it gives up, as they were then.
    hosts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    gives: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class WishStore(Protocol):
    """What a dispatcher asks and tells about its own cluster. Every method may raise `StoreUnavailable`."""

    async def cluster_wish(self, name: str) -> Wish:
        """What is asked of the dispatcher of this cluster; of one that nobody knows, that it claims."""
        ...

    async def cluster_obeys(self, name: str, version: int) -> bool:
        """It claims no more, and has no claim under way, as the wish of this version says; False where that is old."""
        ...

    async def tell_hosts(self, name: str, hosts: Mapping[str, Mapping[str, int]]) -> bool:
        """How many workers of each pool are on each host of the cluster; False where it does not yield."""
        ...


class ClusterStore(Protocol):
    """The rows of a release's clusters. Every method may raise `StoreUnavailable`."""

    async def clusters(self, release: str | None = None) -> list[ClusterRow]:
        """Those of a release, or of all, by name."""
        ...

    async def add_cluster(self, name: str, release: str, state: ClusterState, why: str) -> bool:
        """Note a cluster; False when it has a row already, of whichever release."""
        ...

    async def move_cluster(
        self,
        name: str,
        version: int,
        to: ClusterState,
        *,
        why: str,
        successor: str | None = None,
        grace_s: float = 0.0,
        gone: bool = False,
    ) -> bool:
        """Change its state, if nobody has since `version`; False when somebody has.

        `ENDING` only while it retires, no claim runs there, and its dispatcher has said that none comes, or cannot make
        one any more: all looked at in the statement.
        With `gone` it has no objects any more, and only claims keep it.
        """
        ...

    async def give_up(self, name: str, version: int, hosts: Mapping[str, Mapping[str, int]]) -> bool:
        """Have a cluster that yields give up these hosts too, if nobody has changed it since `version`."""
        ...

    async def forget_cluster(self, name: str, version: int) -> bool:
        """Delete the row of a cluster that ends, if nobody has changed it since `version`."""
        ...

    async def retry_roll(self, release: str | None = None) -> list[str]:
        """Let those that were kept make way again when it is time; their names."""
        ...
