"""Foreground jobs of simulated nights that come when a published trace says: thinned, and gone round for ever."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random

from orchestrator.simulator import traces
from tests.benchmarks.nights import BEFORE_H, FLEET, FOREGROUND_S, HOUR_S, Night

# Beside a checkout where the traces of others may lie.
TRACES = next((path for up in Path(__file__).parents if (path := up / "shared/traces").is_dir()), None)
# Which file, and how long it lasts in seconds. The nights take turns.
FILES = (("servegen_mm_image_clients.csv", 86_400.0), ("azure_llm2023_conv.csv", 3_510.0))


def nights(seeds: range, rows: int, order: str) -> list[Night]:
    """Nights whose foreground jobs are a trace's; from which moment of it on, and how many, the seed says.

    What is known of their usual load is its mean over the trace, as with the product in the first week of an
    installation: the only day of a trace cannot tell how the next one will go.
    """
    assert TRACES is not None
    read = [(traces.read(TRACES / name), lasts) for name, lasts in FILES]
    # How many there are in one round, once for each file.
    sizes = [sum(1 for _ in trace.arrivals(Random(1), 20)) * 20 for trace, _ in read]
    found = []
    for seed in seeds:
        rng = Random(f"arrivals {seed}")
        (trace, lasts), size = read[seed % len(read)], sizes[seed % len(read)]
        busy = FLEET * rng.uniform(0.1, 0.3)
        thinned = max(1, round(size / lasts * FOREGROUND_S / busy))
        mean = size / thinned / lasts * FOREGROUND_S
        arrivals = _round(trace, thinned, lasts, rng)
        found.append(Night(seed, rows, order=order, mean=mean, arrivals=arrivals))
    return found


def _round(trace: traces.Trace, thinned: int, lasts: float, rng: Random) -> Iterator[float]:
    """Moments from `BEFORE_H` hours before the night on, the first of them anywhere in the trace."""
    begin = rng.uniform(0, lasts)
    for turn in count():
        for moment, _ in trace.arrivals(Random(rng.random()), thinned):
            at = turn * lasts + moment - begin
            if at >= 0:
                yield at - BEFORE_H * HOUR_S
