"""When single jobs come, and whose they are: streams at a rate and traces, each by a random generator of its own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from random import Random

from orchestrator.policy.supply import WEEK_HOURS
from orchestrator.simulator import traces
from orchestrator.simulator.traces import Arrival
from orchestrator.simulator.traffic import StreamTable, TraceTable

HOUR_S = 3600.0
_DAY_H = 24.0
# Of the mean: a rate that comes near zero would put the next arrival days away.
_LEAST = 0.05


def stream(table: StreamTable, random: Random) -> Iterator[Arrival]:
    """Seconds since the beginning and tenant of each job, for ever.

    Times between two are Gamma of the asked variation, in units of the rate of then.
    """
    shape = 1.0 / (table.cv * table.cv)
    names = [table.tenant] if table.tenants == 1 else [f"{table.tenant}-{n + 1}" for n in range(table.tenants)]
    shares = list(accumulate(1.0 / (n + 1) for n in range(len(names))))
    at_s = 0.0
    while True:
        gap = random.gammavariate(shape, 1.0 / shape)
        # The rate half-way to where the rate of now would lead.
        at_s += gap / _per_s(table, at_s + gap / _per_s(table, at_s) / 2)
        yield at_s, random.choices(names, cum_weights=shares)[0]


def trace(name: str, table: TraceTable, directory: Path, random: Random) -> Iterator[Arrival]:
    """The same of a trace; `directory` is the traffic file's. Raises `ConfigError` for a file that is no trace."""
    found = traces.read(directory / table.file)
    return _named(name, table, found.arrivals(random, table.keep_one_in))


def usual(table: StreamTable | TraceTable, directory: Path, random: Random) -> list[float]:
    """How many jobs come in each hour of a week from the beginning on: a stream's means, a trace as it comes anew.

    A trace of less than a day comes every day.
    """
    if isinstance(table, StreamTable):
        return [_per_s(table, (hour + 0.5) * HOUR_S) * HOUR_S for hour in range(WEEK_HOURS)]
    came: Counter[int] = Counter()
    for at_s, _ in trace("", table, directory, random):
        came[int(at_s // HOUR_S)] += 1
    days = max(came, default=0) // int(_DAY_H) + 1
    return [float(came[hour % (days * int(_DAY_H))]) for hour in range(WEEK_HOURS)]


def _named(name: str, table: TraceTable, found: Iterator[Arrival]) -> Iterator[Arrival]:
    for at_s, client in found:
        yield at_s + table.at_h * HOUR_S, table.tenant or (f"{name}-{client}" if client else name)


def _per_s(table: StreamTable, at_s: float) -> float:
    angle = 2 * math.pi * (at_s / HOUR_S - table.peak_h) / _DAY_H
    return table.per_hour / HOUR_S * max(_LEAST, 1 + (table.peak - 1) * math.cos(angle))
