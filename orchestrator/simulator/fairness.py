"""How fairly GPU seconds were shared: Jain's index, plain and against what each tenant could have claimed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.simulator.tally import Amounts, Tally


def jain(values: Iterable[float]) -> float | None:
    """Jain's fairness index (Jain, Chiu, Hawe, DEC TR-301, 1984): 1 when all are equal, 1/n when one has everything.

    None when there is nothing to compare.
    """
    given = list(values)
    squares = sum(value * value for value in given)
    return sum(given) ** 2 / (len(given) * squares) if squares else None


def fair_shares(capacity: float, wanted: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """Max-min fair shares: by weight, none more than it wants, and what one does not want is the others'."""
    shares: dict[str, float] = {}
    left = capacity
    weight = sum(weights.get(name, 1.0) for name in wanted)
    # Whoever wants least for its weight is satisfied first.
    for name in sorted(wanted, key=lambda name: wanted[name] / weights.get(name, 1.0)):
        own = weights.get(name, 1.0)
        shares[name] = min(wanted[name], left * own / weight) if weight > 0 else 0.0
        left -= shares[name]
        weight -= own
    return shares


def of_hours(tally: Tally, weights: Mapping[str, float]) -> float | None:
    """Jain's index of what each tenant got of its max-min fair share, hour by hour; the mean by GPU seconds.

    A tenant counts in the hours in which it wants something: what has come and is not rendered.
    """
    wants: Amounts = Amounts(float)
    sums = total = 0.0
    for hour in sorted({*tally.got, *tally.wanted}):
        for tenant, seconds in tally.wanted[hour].items():
            wants[tenant] += seconds
        got = tally.got[hour]
        # Renders may take more than was predicted.
        open_ = {name: max(seconds, got[name]) for name, seconds in wants.items() if max(seconds, got[name]) > 1.0}
        capacity = sum(got.values())
        shares = fair_shares(capacity, open_, weights)
        index = jain(got[name] / shares[name] for name in open_ if shares[name] > 0)
        if index is not None:
            sums, total = sums + index * capacity, total + capacity
        for tenant, seconds in got.items():
            wants[tenant] = max(0.0, wants[tenant] - seconds)
    return sums / total if total else None
