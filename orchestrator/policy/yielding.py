"""Which pod an old cluster gives up next, for a new one that has no GPUs of its own to spare. Pure.

One at a time: the next goes once the one before is empty and the new cluster has as many ready workers as the old ones
have given up. So all the time there is at most one pod's work less than before the roll.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Hosts = Mapping[str, Mapping[str, int]]


class Yielding(Protocol):
    """What is looked at of a cluster that yields: its workers by host and pool, and of the hosts that it gives up."""

    @property
    def name(self) -> str: ...

    @property
    def hosts(self) -> Hosts: ...

    @property
    def gives(self) -> Hosts: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One cluster gives up these hosts, or all that it has."""

    cluster: str
    hosts: Hosts
    all: bool = False


def steps(olds: Sequence[Yielding], ready: Mapping[str, int]) -> list[Step]:
    """What the old clusters give up now, at most one step of each. `ready` are the new one's workers by pool.

    Hosts that hold nothing go at once. Of the others the one goes whose pools have the most workers left.
    """
    gone: dict[str, dict[str, Mapping[str, int]]] = {
        old.name: {host: {} for host, held in _kept(old) if not any(held.values())} for old in olds
    }
    found = {name: Step(cluster=name, hosts=hosts) for name, hosts in gone.items() if hosts}
    best = _next(olds, ready)
    if best is not None:
        old, host = best
        hosts = {**gone[old.name], host: dict(old.hosts[host])}
        found[old.name] = Step(cluster=old.name, hosts=hosts, all=len(_holding(old)) == 1)
    return list(found.values())


def _next(olds: Sequence[Yielding], ready: Mapping[str, int]) -> tuple[Yielding, str] | None:
    given = sum(sum(held.values()) for old in olds for held in old.gives.values())
    leaving = any(any(old.hosts.get(host, {}).values()) for old in olds for host in old.gives)
    if leaving or given > sum(ready.values()):
        return None
    left = Counter(ready)
    for old in olds:
        for _, held in _holding(old):
            left.update(held)
    candidates = [(old, host, held) for old in olds for host, held in _holding(old)]
    if not candidates:
        return None
    most = max(candidates, key=lambda it: min(left[pool] - count for pool, count in it[2].items() if count))
    return most[0], most[1]


def _kept(old: Yielding) -> Iterator[tuple[str, Mapping[str, int]]]:
    """Its hosts, but for those that it gives up, in an order that stays."""
    return ((host, held) for host, held in sorted(old.hosts.items()) if host not in old.gives)


def _holding(old: Yielding) -> list[tuple[str, Mapping[str, int]]]:
    return [(host, held) for host, held in _kept(old) if any(held.values())]
