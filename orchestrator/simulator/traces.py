"""Arrivals from a CSV file, thinned: a log of moments, or rates of clients from which moments are drawn.

A log has the column `t_s`, seconds since the beginning, which never fall; further columns are passed over. Rates have
`client, t_s, rate_per_s, iat_family, shape, scale`: from `t_s` on, for as long as a window lasts, the client sends
`rate_per_s` a second, and the times between two are of the family Gamma or Weibull of that shape, scaled so that the
window holds as many as the rate says. (The form of ServeGen's, arXiv:2505.09999.)
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from random import Random

from orchestrator.domain.errors import ConfigError

_LOG = frozenset({"t_s"})
_RATES = frozenset({"client", "t_s", "rate_per_s", "iat_family", "shape", "scale"})
# The length of a window of rates, in seconds, where no two rows show it.
_WINDOW_S = 600.0

Arrival = tuple[float, str]


@dataclass(frozen=True, slots=True)
class Window:
    """One row of rates."""

    begin_s: float
    per_s: float
    family: str
    shape: float


@dataclass(frozen=True, slots=True)
class Trace:
    """A file that has been read and found good."""

    # Seconds since its beginning, of a log.
    moments: tuple[float, ...] = ()
    # Of each client, of rates.
    clients: tuple[tuple[str, tuple[Window, ...]], ...] = ()
    window_s: float = _WINDOW_S

    def arrivals(self, random: Random, keep_one_in: int) -> Iterator[Arrival]:
        """Seconds and client (empty for a log) of one arrival in so many, in order of time."""
        if not self.clients:
            yield from ((moment, "") for moment in self.moments[keep_one_in - 1 :: keep_one_in])
            return
        yield from merge(
            *(
                self._drawn(name, windows, Random(random.random()), keep_one_in)  # each its own: their order is free
                for name, windows in self.clients
            )
        )

    def _drawn(self, name: str, windows: tuple[Window, ...], random: Random, keep_one_in: int) -> Iterator[Arrival]:
        # Somewhere in the first round: else every client's first one would be missing.
        seen = random.randrange(keep_one_in)
        for window in windows:
            count = _rounded(window.per_s * self.window_s, random)
            gaps = [_gap(window, random) for _ in range(count + 1)]
            total, at_s = sum(gaps) or 1.0, 0.0
            for gap in gaps[:-1]:
                at_s += gap
                seen += 1
                if seen % keep_one_in == 0:
                    yield window.begin_s + self.window_s * at_s / total, name


def read(path: Path) -> Trace:
    """The file, checked line by line. Raises `ConfigError`, which names file, line and column."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            heads = frozenset(rows.fieldnames or ())
            if heads >= _RATES:
                return _rates(path, rows)
            if heads >= _LOG and "rate_per_s" not in heads:
                return _log(path, rows)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: {error}") from None
    raise ConfigError(f"{path}, line 1: neither has t_s of a log, nor all of {', '.join(sorted(_RATES))}")


def _log(path: Path, rows: csv.DictReader[str]) -> Trace:
    moments: list[float] = []
    for row in rows:
        at_s = _number(path, rows.line_num, row, "t_s")
        if moments and at_s < moments[-1]:
            raise ConfigError(f"{path}, line {rows.line_num}: t_s: {at_s:g} is before the line above it")
        moments.append(at_s)
    return Trace(moments=tuple(moments))


def _rates(path: Path, rows: csv.DictReader[str]) -> Trace:
    clients: defaultdict[str, list[Window]] = defaultdict(list)
    shortest = math.inf
    for row in rows:
        line = rows.line_num
        family = row["iat_family"]
        if family not in ("Gamma", "Weibull"):
            raise ConfigError(f"{path}, line {line}: iat_family: {family!r} is neither Gamma nor Weibull")
        begin_s, per_s, shape = (_number(path, line, row, name) for name in ("t_s", "rate_per_s", "shape"))
        if shape <= 0:
            raise ConfigError(f"{path}, line {line}: shape: must be greater than 0")
        windows = clients[row["client"] or ""]
        if windows:
            if begin_s <= windows[-1].begin_s:
                raise ConfigError(f"{path}, line {line}: t_s: {begin_s:g} is not after its client's line above")
            shortest = min(shortest, begin_s - windows[-1].begin_s)
        windows.append(Window(begin_s, per_s, family, shape))
    window_s = shortest if math.isfinite(shortest) else _WINDOW_S
    return Trace(clients=tuple((name, tuple(each)) for name, each in clients.items()), window_s=window_s)


def _number(path: Path, line: int, row: dict[str, str], name: str) -> float:
    """A number of the row, not negative."""
    try:
        value = float(row[name])
    except (TypeError, ValueError):
        raise ConfigError(f"{path}, line {line}: {name}: {row[name]!r} is no number") from None
    if not 0 <= value < math.inf:
        raise ConfigError(f"{path}, line {line}: {name}: must be 0 or more, and finite")
    return value


def _gap(window: Window, random: Random) -> float:
    # The scale falls out: the window's arrivals are stretched to its length.
    if window.family == "Gamma":
        return random.gammavariate(window.shape, 1.0)
    return random.weibullvariate(1.0, window.shape)


def _rounded(number: float, random: Random) -> int:
    """Up or down by chance, so that the mean is kept."""
    return int(number + random.random())
