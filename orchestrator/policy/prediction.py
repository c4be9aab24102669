"""What a render will take of its GPU: the catalogue's seconds, times what finished renders have taught.

What is learned is a ratio: the real GPU seconds of a render to those that the catalogue predicts of it
(`policy/cost.py`). The catalogue knows how cost grows with shape and steps; the ratio tells the rest, which is the
card, its driver, the precision, and how good a profile's guess is. So what some shapes have taught helps those that
nobody has rendered yet.

Each render counts half as much as one that came `half_life_s` later, of those of its model on its kind of worker. So
what a new driver does is followed, and a night without renders forgets nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import nlargest
from operator import itemgetter

from orchestrator.domain.catalog import ModelFamily
from orchestrator.domain.job import Incident, RenderSpec, VideoResult
from orchestrator.policy.cost import predict

DAY_S = 24 * 3600.0

# What renders have in common.
Level = tuple[object, ...]

# How many of a key's last ratios are kept: the median follows a change after half as many.
KEPT = 31
# Of a coarser level so many of the last ones count, whatever their keys.
_POOLED = 3 * KEPT
# A level is believed from four fresh renders on: so much is their weight, or that of more that are older.
_ENOUGH = 3.5
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


# While nothing is known. What is approved by it caps what is spent, so the upper end leaves room.
UNKNOWN = Ratio(low=0.8, likely=1.0, high=3.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """GPU seconds of one render; one in ten is below `low`, and one in ten above `high`."""

    gpu_seconds: float
    low: float
    high: float
    # Renders that it was learned from; 0 is the catalogue's word alone.
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What renders have in common that take the same time."""

    # A configured model's name, and what tells one state of its weights from another (`Settings.revisions`).
    model: str
    revision: str
    width: int
    height: int
    num_frames: int
    steps: int
    # The word of a `Profile`.
    profile: str
    # Without guidance a step computes half as much.
    guided: bool
    # None is the empty word.
    adapter: str
    # Of the worker: today its pool's name.
    kind: str

    @classmethod
    def of(cls, spec: RenderSpec, *, kind: str = "", revision: str = "") -> Key:
        return cls(
            model=spec.model,
            revision=revision,
            width=spec.width,
            height=spec.height,
            num_frames=spec.num_frames,
            steps=spec.num_inference_steps,
            profile=str(spec.profile),
            guided=spec.guidance_scale > 1,
            adapter=spec.adapter or "",
            kind=kind,
        )

    def levels(self) -> tuple[Level, ...]:
        """What renders may have in common with this one, the most first: all, its shape, its profile, its model."""
        shape = (self.width, self.height, self.num_frames)
        weights = (self.model, self.revision)
        return (
            ("all", self),
            ("shape", *weights, *shape, self.profile, self.guided, self.kind),
            ("profile", self.model, self.profile, self.guided, self.kind),
            _of_model(self.model, self.kind),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What one finished render has taught."""

    key: Key
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What the last renders of one key have taught, the newest first."""

    key: Key
    ratios: Sequence[float]
    # When each of them ended: seconds of any clock that all of them share.
    seen: Sequence[float]

    @property
    def pairs(self) -> Iterator[tuple[float, float]]:
        """When each ended, and its ratio."""
        return zip(self.seen, self.ratios, strict=True)


class Predictions:
    """What is known at one moment. It never changes: whoever reads anew makes another.

    What is asked for is worked out once, and what nobody asks for never.
    """

    def __init__(self, past: Iterable[Past] = (), *, half_life_s: float = DAY_S) -> None:
        self._half_life_s = half_life_s
        self._past: defaultdict[Level, list[Past]] = defaultdict(list)
        for one in (known for known in past if known.seen):
            for level in one.key.levels():
                self._past[level].append(one)
        self._known: dict[Level, _Known] = {}

    def of(self, family: ModelFamily, spec: RenderSpec, *, kind: str = "", revision: str = "") -> Prediction:
        """What a render of this, of a model of this family, takes on a worker of a kind."""
        ratio, prior_s = self.ratio(Key.of(spec, kind=kind, revision=revision)), predict(family, spec)
        return Prediction(
            gpu_seconds=prior_s * ratio.likely,
            low=prior_s * ratio.low,
            high=prior_s * ratio.high,
            samples=ratio.samples,
        )

    def ratio(self, key: Key) -> Ratio:
        """The ratio of what has most in common with `key`, of what enough is known of; else that of its model."""
        *levels, model = key.levels()
        for level in levels:
            if level in self._past:
                known = self._known_of(level, model)
                if known.weight >= _ENOUGH:
                    return known.ratio
        return self._known_of(model, model).ratio if model in self._past else UNKNOWN

    def of_model(self, model: str, kind: str) -> Ratio:
        """The ratio of a model's last renders on a kind of worker, whatever they were."""
        level = _of_model(model, kind)
        return self._known_of(level, level).ratio if level in self._past else UNKNOWN

    def models(self) -> list[tuple[str, str]]:
        """Each model and kind of worker of which something is known."""
        return sorted((str(level[1]), str(level[2])) for level in self._past if level[0] == "model")

    def _known_of(self, level: Level, model: Level) -> _Known:
        known = self._known.get(level)
        if known is None:
            newest = max(past.seen[0] for past in self._past[model])
            last = nlargest(_POOLED, (pair for past in self._past[level] for pair in past.pairs), key=itemgetter(0))
            ages = (newest - seen for seen, _ in last)
            weights = [0.5 ** (age / self._half_life_s) for age in ages]
            known = self._known[level] = _learn(sorted(zip((ratio for _, ratio in last), weights, strict=True)))
        return known


# Of a process that has not read what is known, and of whoever wants the catalogue's word.
NOTHING_LEARNED = Predictions()


def taught(result: VideoResult, prior_s: float) -> float | None:
    """The ratio that a finished render teaches; None where it teaches none.

    One that went on from a checkpoint says only what its rest took, on a worker that had to fetch it. One that was
    tried again without step caches was denoised twice, in another profile than its own. One that stepped together with
    others counts: its GPU seconds are its share of each step, which is what such a render costs on its pool.
    """
    if result.resumed_at or Incident.RETRIED_EXACTLY in result.incidents:
        return None
    if prior_s <= 0 or not math.isfinite(result.gpu_seconds) or result.gpu_seconds <= 0:
        return None
    return result.gpu_seconds / prior_s


@dataclass(frozen=True, slots=True)
class _Known:
    ratio: Ratio
    # In renders that have just ended.
    weight: float


def _learn(ascending: Sequence[tuple[float, float]]) -> _Known:
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
    return _Known(ratio, seen)


def _of_model(model: str, kind: str) -> Level:
    return ("model", model, kind)


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
