"""Ratios of real to predicted GPU seconds: what some of them together teach, robustly, each with its weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

# How far renders scatter, which nobody knows before they are seen, is guessed as if so many had been seen.
_GUESSED = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Real GPU seconds per second of the catalogue's; one in ten is below `low`, and one in ten above `high`."""

    low: float
    likely: float
    high: float
    # Renders that it was learned from.
    samples: int = 0

    def times(self, factor: float) -> Ratio:
        """Of something that takes so many times as long."""
        if factor == 1:
            return self
        return replace(self, low=self.low * factor, likely=self.likely * factor, high=self.high * factor)


# While nothing is known. What is approved by it caps what is spent, so the upper end leaves room.
UNKNOWN = Ratio(low=0.8, likely=1.0, high=3.0)


@dataclass(frozen=True, slots=True)
class Believed:
    """What renders that have something in common teach, and how many they are."""

    ratio: Ratio
    # In renders that have just ended.
    weight: float


def believe(ascending: Sequence[tuple[float, float]]) -> Believed:
    """What ratios teach, each with its weight."""
    low, likely, high = (_quantile(ascending, share) for share in (0.1, 0.5, 0.9))
    seen = sum(weight for _, weight in ascending)
    trust = seen / (seen + _GUESSED)
    ratio = Ratio(
        low=likely * (low / likely) ** trust * UNKNOWN.low ** (1 - trust),
        likely=likely,
        high=likely * (high / likely) ** trust * UNKNOWN.high ** (1 - trust),
        samples=len(ascending),
    )
    return Believed(ratio, seen)


def _quantile(ascending: Sequence[tuple[float, float]], share: float) -> float:
    """The value below which this share of the weight lies; the mean of two between which it does."""
    wanted = share * sum(weight for _, weight in ascending)
    below = 0.0
    for place, (value, weight) in enumerate(ascending):
        below += weight
        if math.isclose(below, wanted) and place + 1 < len(ascending):
            return (value + ascending[place + 1][0]) / 2
        if below > wanted:
            return value
    return ascending[-1][0]
