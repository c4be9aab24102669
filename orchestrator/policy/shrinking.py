"""Which workers go when there are too many: whole nodes, those that lose the least. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A worker on its node."""

    worker: str
    # One that is on several has them all in its name; None is unknown, and then it has one to itself.
    node: str | None = None
    # GPU seconds that its renders would do again if it left now: with a checkpoint, what that costs.
    loss_s: float = 0.0
    # Another kind's, or another deployment's: its node does not become free, whatever goes beside it.
    stays: bool = False


def leaving(seats: Iterable[Seat], count: int) -> list[str]:
    """Which `count` of these workers go.

    A node costs until its last worker has left. So nodes that can be emptied whole come first, the one with the least
    loss for each worker; what remains is taken from the node that loses least, and from one with the fewest workers.
    """
    nodes: defaultdict[str, list[Seat]] = defaultdict(list)
    for seat in seats:
        nodes[seat.node or f"of {seat.worker}"].append(seat)
    gone: list[str] = []
    while nodes and len(gone) < count:
        whole = {
            node: here for node, here in nodes.items()
            if len(here) <= count - len(gone) and not any(seat.stays for seat in here)
        }  # fmt: skip
        if not whole:
            break
        node = min(whole, key=lambda each: (_loss(whole[each]), -len(whole[each]), each))
        gone += [seat.worker for seat in nodes.pop(node)]
    rest = [(len(here), seat) for here in nodes.values() for seat in here if not seat.stays]
    rest.sort(key=lambda found: (found[1].loss_s, found[0], found[1].worker))
    return gone + [seat.worker for _, seat in rest[: count - len(gone)]]


def _loss(seats: list[Seat]) -> float:
    return sum(seat.loss_s for seat in seats) / len(seats)
