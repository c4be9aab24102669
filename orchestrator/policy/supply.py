"""What a pool will have to render with: workers that are there, that come, that may vanish; less what goes first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.policy.belief import UNKNOWN, Belief
from orchestrator.policy.fluid import Stage

HOUR_S = 3600.0
WEEK_HOURS = 168
# Hours that tell how busy today is beside other days.
RECENT_H = 12.0
# Foreground load is followed hour by hour for two days, by quarters of a day for a fortnight, and then is its mean.
_HOURLY, _QUARTERLY, _QUARTER = 48, 336, 6

_YIELDS, _START_UPS, _LOSSES = Belief(spread=0.03), Belief(spread=0.4), Belief(spread=0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Workers of one kind that come at one time."""

    kind: str = "workers"
    workers: int
    # GPU seconds that one of them does in a second, by the predictions' measure.
    speed: float = 1.0
    # 0: they are there.
    ready_in_s: float = 0.0
    # How often one of them vanishes (spot), and how long it takes until another is there.
    lost_per_hour: float = 0.0
    start_up_s: float = 300.0


def mean_speed(crews: Iterable[Crew]) -> float:
    """Of a worker of these; 1 where there is none."""
    known = [crew for crew in crews if crew.workers]
    workers = sum(crew.workers for crew in known)
    return sum(crew.workers * crew.speed for crew in known) / workers if workers else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A pool as a forecast sees it."""

    name: str
    crews: Sequence[Crew]
    # Workers that jobs which go first (interactive ones) keep busy, as a mean, in each hour of the week from Monday
    # 00:00 UTC; none is nobody knows. And by how much more or less that may be.
    foreground: Sequence[float] = ()
    load: Belief = UNKNOWN
    # Which hour of the week it is, with its fraction.
    hour: float = 0.0
    # From when to when, in seconds from now, campaigns rest.
    closed: Sequence[tuple[float, float]] = ()
    # What its workers do of what they could: between two renders they do nothing.
    yields: Belief = _YIELDS
    # By how much more or less start-ups take, and workers vanish.
    start_ups: Belief = _START_UPS
    losses: Belief = _LOSSES
    # As many workers as there may be.
    largest: int | None = None

    @property
    def workers(self) -> int:
        """Those that are there, and those that come."""
        return sum(crew.workers for crew in self.crews)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Of one draw of a pool: how far from its middle each uncertain thing is, in standard deviations."""

    load: float = 0.0
    yields: float = 0.0
    start_ups: float = 0.0
    losses: float = 0.0


def stages_of(pool: Pool, scores: Scores) -> list[Stage]:
    """What there is for whatever waits, from each moment on, as one draw has it."""
    slow, frail = pool.start_ups.at(scores.start_ups), pool.losses.at(scores.losses)
    arrivals = [(crew, crew.ready_in_s * slow) for crew in pool.crews if crew.workers]
    load, yields = pool.load.at(scores.load), pool.yields.at(scores.yields)
    hours = _hours(pool.hour) if pool.foreground else [0.0]
    bounds = {0.0, *hours, *(at for _, at in arrivals), *(at for period in pool.closed for at in period if at > 0)}
    stages = []
    for at in sorted(bounds):
        here = [(crew, crew.workers * _there(crew, slow, frail)) for crew, ready in arrivals if ready <= at]
        workers = sum(count for _, count in here)
        speed = sum(count * crew.speed for crew, count in here) / workers if workers else 1.0
        busy = _foreground(pool, at) * load
        closed = any(begin <= at < end for begin, end in pool.closed)
        stages.append(Stage(at, max(0.0, workers - busy), speed * min(1.0, yields), closed))
    return stages


def _there(crew: Crew, slow: float, frail: float) -> float:
    """The share of the time in which a worker that may vanish is there."""
    away_h = crew.start_up_s * slow / HOUR_S
    return 1 / (1 + crew.lost_per_hour * frail * away_h)


def _hours(hour: float) -> list[float]:
    """The moments at which the foreground load is looked at, in seconds from now."""
    first = math.floor(hour)
    steps = [*range(1, _HOURLY), *range(_HOURLY, _QUARTERLY + 1, _QUARTER)]
    return [(first + step - hour) * HOUR_S for step in steps]


def _foreground(pool: Pool, at_s: float) -> float:
    if not pool.foreground:
        return 0.0
    hours = at_s / HOUR_S
    first = math.floor(pool.hour + hours + 1e-6)
    if hours < _HOURLY - 1:
        return pool.foreground[first % WEEK_HOURS]
    if hours < _QUARTERLY - 1:
        return sum(pool.foreground[(first + more) % WEEK_HOURS] for more in range(_QUARTER)) / _QUARTER
    return sum(pool.foreground) / len(pool.foreground)


# By how much more or less foreground load there is than usually: on one day as on others, and from hour to hour. Hours
# that follow each other are alike, so that only so many of them say as much as one that is not; and over what lies
# ahead hours average out as little.
_DAY_SPREAD, _HOUR_SPREAD, _ALIKE_H, _REST_SPREAD = 0.3, 0.25, 5.0, 0.17


def loaded(usual_s: float, actual_s: float, *, hours: float) -> Belief:
    """What the worker seconds of foreground jobs in the last so many hours say of the next, beside the usual ones."""
    prior = Belief(spread=_DAY_SPREAD)
    if usual_s <= 0 or hours <= 0:
        return prior
    seen = prior.seen(max(actual_s, 1.0) / usual_s, _HOUR_SPREAD / math.sqrt(max(1.0, hours / _ALIKE_H)))
    return Belief(mean=seen.mean, spread=min(_DAY_SPREAD, math.hypot(seen.spread, _REST_SPREAD)))
