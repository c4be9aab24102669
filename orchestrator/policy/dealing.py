"""Who of those that a claim has won gets which of its workers: a pure rule, after who goes first has been decided.

A worker that has the wanted adapter in memory does not load it; one that rendered the same shape last has its kernels
and its memory laid out for it. `cogmill_deal` (migration 0015) carries this out inside the claim, and
tests/simulation/test_dealing.py holds it to what is said here. Which jobs are claimed, and who pays, it never touches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.warmth import Warmth


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a job would rather find on its worker."""

    shape: str
    # None: the model as it is, which every worker has.
    adapter: str | None = None


def deal(wishes: Sequence[Wish], seats: Sequence[Warmth]) -> list[int]:
    """For each job, in the order of the claim, the place of its seat; there are no more jobs than seats.

    First come those that find both their adapter and their shape, then the adapter alone, which takes longer to load
    than a shape takes to settle, then the shape alone; and the others take what is left. At each turn the jobs choose
    in their order, each the first seat that will do: the one that is free soonest.
    """
    left = dict(enumerate(seats))
    found: dict[int, int] = {}
    for adapter, shape in ((True, True), (True, False), (False, True), (False, False)):
        for job, wish in enumerate(wishes):
            if job in found or (adapter and wish.adapter is None):
                continue
            fits = (place for place, seat in left.items() if _fits(wish, seat, adapter=adapter, shape=shape))
            place = next(fits, None)
            if place is not None:
                found[job] = place
                del left[place]
    return [found[job] for job in range(len(wishes))]


def _fits(wish: Wish, seat: Warmth, *, adapter: bool, shape: bool) -> bool:
    return (not adapter or wish.adapter in seat.adapters) and (not shape or wish.shape == seat.shape)
