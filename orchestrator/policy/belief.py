"""What is not known exactly: factors with a log-normal spread, what is seen of them, and numbers to draw them by."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

from orchestrator.policy.ratios import Ratio

# Renders that tell how far predictions are off; and how far those of the next campaign may differ from theirs.
_ENOUGH, _BETWEEN = 20, 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """A factor whose logarithm is normally distributed."""

    # Of the logarithm: 0 and 0.3 are a factor about 1, which eight times in ten lies between 0.68 and 1.47.
    mean: float = 0.0
    spread: float = 0.3

    def seen(self, ratio: float, noise: float) -> Belief:
        """After one look at the factor, which is off by `noise` (a standard deviation of its logarithm).

        The conjugate update of a normal mean: what is known weighs by its precision, and so does what is seen.
        """
        if ratio <= 0 or not math.isfinite(ratio):
            return self
        if self.spread <= 0:
            return self
        known, seen = 1 / self.spread**2, 1 / max(noise, 1e-6) ** 2
        return Belief(
            mean=(self.mean * known + math.log(ratio) * seen) / (known + seen), spread=1 / math.sqrt(known + seen)
        )

    def widened(self, spread: float) -> Belief:
        """With an error that is independent of what is known, as what lies ahead is never quite like what was seen."""
        return Belief(mean=self.mean, spread=math.hypot(self.spread, spread))

    def at(self, score: float) -> float:
        """The factor, so many standard deviations from the middle."""
        return math.exp(self.mean + self.spread * score)


# Of whatever nothing is known of; and of whatever nothing is unknown of.
UNKNOWN, CERTAIN = Belief(), Belief(spread=0.0)


def of_ratio(ratio: Ratio) -> Belief:
    """What renders have taught of a model, said of the next campaign's: their middle is its middle.

    How far whole campaigns differ is not how far their renders scatter: it is wide while those are few.
    """
    return Belief(mean=math.log(ratio.likely), spread=UNKNOWN.spread if ratio.samples < _ENOUGH else _BETWEEN)


@lru_cache(maxsize=1024)
def scores(name: str, count: int) -> tuple[float, ...]:
    """Standard normal scores for so many draws: one of each stratum, shuffled by the name of what they are for.

    The same name has the same scores in every process for ever (common random numbers), so that a forecast changes only
    when something has changed; and of every factor the draws see its tails as often as they should.
    """
    normal = NormalDist()
    found = [normal.inv_cdf((stratum + 0.5) / count) for stratum in range(count)]
    random.Random(f"cogmill forecast {name}").shuffle(found)
    return tuple(found)


# How far single renders scatter about what is predicted of them, at most; and how far the rest of some work may differ
# from what was seen of it, however much that was: where rows that are alike follow each other, and where what was seen
# is a fair sample of all (`order.py`).
_RENDER_SPREAD, _REST_SPREAD, _SAMPLE_SPREAD = 0.5, 0.055, 0.01


def learned(prior: Belief, *, predicted_s: float, actual_s: float, renders: float, sample: bool = False) -> Belief:
    """What is believed of the rest of some work after so many of its renders, which took `actual_s` GPU seconds.

    `sample`: those are a fair sample of all.
    """
    if renders < 1 or predicted_s <= 0:
        return prior
    seen = prior.seen(actual_s / predicted_s, _RENDER_SPREAD / math.sqrt(renders))
    rest = _SAMPLE_SPREAD if sample else _REST_SPREAD
    return Belief(mean=seen.mean, spread=min(prior.spread, math.hypot(seen.spread, rest)))
