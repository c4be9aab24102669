"""Which row of a file comes next, and which rows make a sample: pure arithmetic over places, nothing is stored.

`ordinal` counts turns from 0, `place` counts good rows from 0.

`spread` goes through the file in steps of the golden ratio of its length, modulo the length, so that whatever is done
at any moment is a fair sample of all. A step that is coprime with the length visits every place once, and every residue
of a column's period in turn: where rows alternate between seven products, any seven turns see each product once, if
seven divides the length. The golden ratio is worst approximated by fractions, so every prefix lies evenly: by the
three-distance theorem (Steinhaus' conjecture; Świerczkowski, Fundamenta Mathematicae 46, 1958) its gaps have at most
three lengths, here within a small factor of each other. Bisection (first, middle, quarters) would not do: its strides
are powers of two, and a column that varies as fast as one of them shows one value alone for a whole level.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

ARRIVAL = "arrival"
SPREAD = "spread"

# So many numbers on either side of the golden section are tried.
_NEAR = 100


def place_at(order: str, ordinal: int, total: int) -> int:
    """The place whose turn is the `ordinal`-th of `total`: a permutation. `order` is `arrival` or `spread`."""
    _check(ordinal, total)
    return ordinal if order == ARRIVAL else ordinal * step_of(total) % total


@lru_cache(maxsize=1024)
def step_of(total: int) -> int:
    """A number near the golden section of `total` that is coprime with it and divides it about as badly.

    A whole number is not the golden ratio: beyond the square root of `total` turns it shows. So of the nearest ones
    that one is taken whose continued fraction with `total` has the smallest terms.
    """
    golden = (math.isqrt(5 * total * total) - total) // 2
    near = (step for off in range(_NEAR) for step in {golden + off, golden - off} if 0 < step < total)
    coprime = (step for step in near if math.gcd(step, total) == 1)
    return min(coprime, key=lambda step: (_largest_term(step, total), abs(step - golden)), default=1)


def _largest_term(step: int, total: int) -> int:
    """The largest term of the continued fraction of `step / total`; the last one of any is at least 2."""
    largest = 0
    while step:
        largest = max(largest, total // step)
        total, step = step, total % step
    return largest


def sample_places(total: int, count: int) -> tuple[int, ...]:
    """So many different places in ascending order, evenly over the file, near both of its ends; all if few.

    They are the first turns of `spread`, moved together until the smallest gap among them lies around the ends. Equal
    distances would not do: of a column that repeats as often they see one value alone.
    """
    if count >= total:
        return tuple(range(total))
    places = sorted(place_at(SPREAD, ordinal, total) for ordinal in range(count))
    gap, last = min((after - before, before) for before, after in pairwise([*places, places[0] + total]))
    return tuple(sorted((place - last - gap + gap // 2) % total for place in places))


def _check(number: int, total: int) -> None:
    if not 0 <= number < total:
        raise ValueError(f"{number} is none of {total} places")
