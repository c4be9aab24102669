"""Budgets as a forecast sees them: who may use how much together, and what of that binds in one draw. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.policy.belief import Belief, scores
from orchestrator.policy.fluid import Account

# No draw is further from the middle than so many standard deviations.
_FAR = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What some subjects may use together."""

    subjects: frozenset[str]
    # `its budget`, for its owner.
    words: str
    # What is left of it, in its unit.
    room: float
    unit: str = "GPU seconds"
    # What of it a GPU second of a prediction takes in each pool, and in one of which nothing is said: nothing, where it
    # is `priced`.
    prices: Mapping[str, float] = field(default_factory=dict)
    each: float = 1.0
    priced: bool = False
    # When it is filled anew, in seconds from now, ascending; and what with.
    renewals: Sequence[float] = ()
    amount: float = 0.0
    # What becomes of a campaign that has used it up: `pauses` or `ends`.
    then: str = "pauses"

    def price(self, pool: str) -> float:
        return self.prices.get(pool, 0.0 if self.priced else self.each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A budget ends something before it is done."""

    words: str
    then: str
    # When, in seconds from now.
    at_s: float
    # By so much it would have to be raised, in its unit.
    lacks: float
    unit: str
    # In how many of the draws.
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What work draws on, as an allowance reads it: a cohort."""

    subject: str
    pool: str
    model: str
    seconds: float
    bias: Belief

    def drawn(self, draw: int, draws: int) -> float:
        """Its GPU seconds in one draw."""
        return self.seconds * self.bias.at(scores(f"bias {self.model}", draws)[draw])


@dataclass(frozen=True, slots=True, kw_only=True)
class Tight:
    """An allowance that may bind, and what draws on it."""

    allowance: Allowance
    needs: Sequence[Need]

    def short(self, draw: int, draws: int) -> tuple[float, Mapping[str, float]]:
        """By how much it is too little in one draw, and each pool's share of what is wanted."""
        wanted: defaultdict[str, float] = defaultdict(float)
        for need in self.needs:
            wanted[need.pool] += need.drawn(draw, draws) * self.allowance.price(need.pool)
        total = sum(wanted.values())
        return total - self.allowance.room, {pool: part / total for pool, part in wanted.items() if total}

    def account(self, pool: str, subjects: Sequence[str], draw: int, draws: int) -> Account | None:
        """What binds in a pool in one draw, whose flows are of these subjects; None where nothing does.

        What is left is shared between pools as they want it: which of them comes first is not followed.
        """
        of, price = self.allowance, self.allowance.price(pool)
        lacks, shares = self.short(draw, draws)
        if lacks <= 0 or price <= 0 or pool not in shares:
            return None
        part = shares[pool] / price
        flows = frozenset(place for place, subject in enumerate(subjects) if subject in of.subjects)
        return Account(flows=flows, room=max(0.0, of.room) * part, renewals=of.renewals, amount=of.amount * part)


def tight(allowances: Sequence[Allowance], needs: Sequence[Need]) -> list[Tight]:
    """Those of which too little may be left: most never bind, and cost nothing after this."""
    found = []
    for allowance in allowances:
        of_it = [need for need in needs if need.subject in allowance.subjects and allowance.price(need.pool) > 0]
        most = sum(need.seconds * need.bias.at(_FAR) * allowance.price(need.pool) for need in of_it)
        if most > allowance.room:
            found.append(Tight(allowance=allowance, needs=of_it))
    return found


def stop_of(of: Tight, spent: Sequence[float], never: Sequence[bool], draws: int) -> Stop | None:
    """What is told of one that ends a subject: `spent` is when, `never` whether the subject is then never done.

    How much it lacks is that at the late end of the range: with so much more it holds nine times in ten.
    """
    hit = sorted(at for at, yes in zip(spent, never, strict=True) if yes and at < math.inf)
    if not hit:
        return None
    lacks = sorted(of.short(draw, draws)[0] for draw in range(draws))[math.ceil(0.9 * (draws - 1))]
    known = of.allowance
    return Stop(
        words=known.words,
        then=known.then,
        at_s=hit[len(hit) // 2],
        lacks=max(0.0, lacks),
        unit=known.unit,
        share=len(hit) / draws,
    )
