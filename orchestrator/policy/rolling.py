"""From the cluster that there should be, those that there are and what they hold, to what is done next. Pure.

A roll makes the new cluster beside the old ones, waits until it carries their load, or has them give up pod after pod
for it (`policy/yielding.py`), lets them drain, and ends each once it is empty. Every rule looks at states only, so a
controller that was killed anywhere goes on where it was, and two of them at once do the same twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.domain.clusters import ClusterState
from orchestrator.policy.yielding import steps

# A claim looks whether its cluster retires. One that looked just before may commit so much later, and no more: the
# database limits the time of statements. After that a cluster without claims gets none, whatever its dispatcher does.
FENCE_S = 90.0


class Strategy(StrEnum):
    """How the old cluster makes way."""

    # It drains once the new one is as ready: needs spare GPUs, loses none meanwhile.
    SURGE = "surge"
    # It gives up pod after pod, for GPUs that both cannot have: the next once the new one is ready on the one before.
    IN_PLACE = "in_place"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The cluster that there should be."""

    name: str
    # The pools that its configuration has.
    pools: frozenset[str]
    strategy: Strategy
    # So long an old one may take to give up its pods, and so long to become empty.
    deadline_s: float
    # Pools among them whose workers come and go with the work.
    elastic: frozenset[str] = frozenset()
    # It is to have no workers, now or later: its dispatcher never has any to tell of.
    workerless: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One cluster, from its row, its objects and what its dispatcher tells."""

    name: str
    state: ClusterState
    # Seconds in this state.
    age_s: float
    # Its RayCluster is there, and is not being deleted.
    cluster_exists: bool
    # Any of its objects is there, those that are being deleted included.
    objects_exist: bool
    # Workers with their model loaded, by pool; and all that its dispatcher tells of.
    ready: Mapping[str, int] = field(default_factory=dict)
    told: Mapping[str, int] = field(default_factory=dict)
    # Claims that run there.
    running: int = 0
    # Its dispatcher has said that it claims no more.
    obeyed: bool = False
    # For whose sake it retires, or could not.
    successor: str | None = None
    # Its dispatcher has told something of it within a minute and a half, if only that it has no workers.
    heard: bool = False
    # While it yields: its workers by host and pool, and the same of the hosts that it gives up, as they were then.
    hosts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    gives: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def idle(self) -> bool:
        """It says that it has no workers, not even some that start, and no render is there."""
        return self.heard and not any(self.told.values()) and not self.running


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """Make a cluster's row and objects: as far as they are there they stay."""

    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Change a cluster's state."""

    name: str
    to: ClusterState
    why: str
    successor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Delete the objects of a cluster that ends."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Delete the row of a cluster that has no objects any more."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """Have a cluster that yields give up these hosts; of each its workers by pool."""

    name: str
    hosts: Mapping[str, Mapping[str, int]]


Action = Create | Move | Remove | Forget | GiveUp


def decide(target: Target, standings: Sequence[Standing]) -> list[Action]:
    """What is done next: at most one thing about each cluster."""
    new = next((each for each in standings if each.name == target.name), None)
    olds = [each for each in standings if each.name != target.name]
    about_new = _about_target(target, new)
    actions: list[Action] = [] if about_new is None else [about_new]
    for old in olds:
        about_old = _about_old(target, new, old)
        if about_old is not None:
            actions.append(about_old)
    others = [old for old in olds if old.cluster_exists and old.name not in {action.name for action in actions}]
    if new is not None and _may_take_over(target, new):
        actions += _serving(target, new, [old for old in others if old.state is ClusterState.SERVING])
        actions += _yielding(target, new, [old for old in others if old.state is ClusterState.YIELDING])
    return actions


def overdue(target: Target, standings: Collection[Standing]) -> bool:
    """Whether a roll hangs: an old cluster was kept, or has work and workers for longer than a roll may take."""
    olds = [each for each in standings if each.name != target.name]
    if any(old.state is ClusterState.KEPT for old in olds):
        return True
    new = next((each for each in standings if each.name == target.name), None)
    late = new is None or new.age_s > target.deadline_s
    working = (old for old in olds if old.running or any(old.ready.values()))
    return late and any(old.state is not ClusterState.ENDING for old in working)


def _about_target(target: Target, new: Standing | None) -> Action | None:
    if new is None:
        return Create(name=target.name, why="it is what the release asks for")
    match new.state:
        case ClusterState.ENDING:  # a cluster of this name was let go: its objects go first, then it is made anew
            return _end(new)
        case ClusterState.YIELDING | ClusterState.RETIRING | ClusterState.KEPT:
            to = ClusterState.SERVING if any(new.ready.values()) else ClusterState.COMING
            return Move(name=new.name, to=to, why="the release asks for it again")
        case ClusterState.COMING if any(new.ready.values()):
            return Move(name=new.name, to=ClusterState.SERVING, why="it has a ready worker")
    if not new.cluster_exists:
        return Create(name=new.name, why="its objects are missing")
    return None


def _about_old(target: Target, new: Standing | None, old: Standing) -> Action | None:
    """About a cluster that is not the target, beside whether those that serve retire."""
    if old.state is ClusterState.ENDING:
        return _end(old)
    if not old.objects_exist:
        # Somebody has deleted it. What it held is rescued once its workers' leases are over.
        why = "its objects are gone"
        return None if old.running else Move(name=old.name, to=ClusterState.ENDING, why=why)
    match old.state:
        case ClusterState.RETIRING if not old.running and (old.obeyed or old.age_s > FENCE_S):
            return Move(name=old.name, to=ClusterState.ENDING, why="it is empty", successor=old.successor)
        case state if state.claims and not old.cluster_exists:
            why = "its Ray cluster is gone"
            return Move(name=old.name, to=ClusterState.RETIRING, why=why, successor=target.name)
        case ClusterState.SERVING | ClusterState.YIELDING if (
            old.idle and new is not None and _may_take_over(target, new)
        ):
            why = "it has neither workers nor renders, and the new one's dispatcher is there"
            return Move(name=old.name, to=ClusterState.RETIRING, why=why, successor=target.name)
        case ClusterState.YIELDING:
            return _about_yielding(target, old)
        case ClusterState.RETIRING if old.running and old.cluster_exists and old.age_s > target.deadline_s:
            why = f"{old.running} renders are left after {target.deadline_s:.0f} s"
            return Move(name=old.name, to=ClusterState.KEPT, why=why, successor=target.name)
        case ClusterState.KEPT if old.successor != target.name:
            why = "the release asks for another cluster than the one it could not make way for"
            return Move(name=old.name, to=ClusterState.SERVING, why=why)
        case ClusterState.COMING if new is not None and any(old.ready.values()):
            return Move(name=old.name, to=ClusterState.SERVING, why="it has a ready worker")
        case ClusterState.COMING if new is not None:
            why = "it is not asked for any more, and never had a ready worker"
            return Move(name=old.name, to=ClusterState.RETIRING, why=why, successor=target.name)
    return None


def _end(ending: Standing) -> Action:
    return Remove(name=ending.name) if ending.objects_exist else Forget(name=ending.name)


def _may_take_over(target: Target, new: Standing) -> bool:
    """Its dispatcher is there, or has nothing to do. Whether its workers load their models nobody knows yet."""
    there = new.heard or target.workerless
    return new.cluster_exists and there and new.state in (ClusterState.COMING, ClusterState.SERVING)


def _about_yielding(target: Target, old: Standing) -> Action | None:
    """About a cluster that gives up pods, beside which one is next."""
    if old.successor != target.name or target.strategy is not Strategy.IN_PLACE:
        return Move(name=old.name, to=ClusterState.SERVING, why="it is to make way for another, or in another way")
    if not old.heard and not old.running and old.age_s > FENCE_S:
        why = "its dispatcher says nothing, and no render is there"
        return Move(name=old.name, to=ClusterState.RETIRING, why=why, successor=target.name)
    if old.age_s > target.deadline_s:
        why = f"it has given up {len(old.gives)} pods after {target.deadline_s:.0f} s, and has more"
        return Move(name=old.name, to=ClusterState.KEPT, why=why, successor=target.name)
    return None


def _serving(target: Target, new: Standing, serving: Sequence[Standing]) -> list[Action]:
    """About old clusters that serve: all together they begin to make way."""
    if target.workerless:
        to, why = ClusterState.RETIRING, "the release asks for no workers"
    elif target.strategy is Strategy.IN_PLACE:
        to, why = ClusterState.YIELDING, "the new one needs its GPUs"
    else:
        to, why = ClusterState.RETIRING, "the new one has a ready worker for each of its own"
        if not _as_ready(target, new, serving):
            return []
    return [Move(name=old.name, to=to, why=why, successor=target.name) for old in serving]


def _yielding(target: Target, new: Standing, olds: Sequence[Standing]) -> list[Action]:
    """About old clusters that give up pods: those that go next, or all."""
    complete = any(new.told.values()) and all(new.ready.get(pool, 0) >= told for pool, told in new.told.items())
    if target.workerless or (complete and not target.elastic):
        why = "the new one has all its workers"
        return [Move(name=old.name, to=ClusterState.RETIRING, why=why, successor=target.name) for old in olds]
    why = "the new one needs its last pod"
    return [
        Move(name=step.cluster, to=ClusterState.RETIRING, why=why, successor=target.name)
        if step.all
        else GiveUp(name=step.cluster, hosts=step.hosts)
        for step in steps(olds, new.ready)
    ]


def _as_ready(target: Target, new: Standing, serving: Sequence[Standing]) -> bool:
    """Whether the new cluster can do what those that serve do, or all that it is wanted for."""
    if new.state is not ClusterState.SERVING:
        return False
    has: Counter[str] = Counter()
    for old in serving:
        has.update(old.ready)
    # Of a pool that is wanted smaller the new one will never have as many; one that it does not have needs none.
    for pool in target.pools & {pool for pool, ready in has.items() if ready}:
        if new.ready.get(pool, 0) < min(has[pool], max(1, new.told.get(pool, 0))):
            return False
    return any(new.ready.values())
