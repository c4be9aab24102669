"""What a render will take of its GPU: the catalogue's seconds, times what finished renders have taught.

What is learned is a ratio: the real GPU seconds of a render to those that the catalogue predicts of it
(`policy/cost.py`). The catalogue knows how cost grows with shape and steps; the ratio tells the rest, which is the
card, its driver, the precision, and how good a profile's guess is. So what some shapes have taught helps those that
nobody has rendered yet.

A pool with several kinds of workers has ratios of two sorts. Those of a kind are in its own seconds. Those of the pool
are in seconds of the reference kind, for whoever does not know yet on which kind a render will be: what each kind has
taught counts there times its speed. A kind's speed is what its renders say beside those of another kind; the configured
one is a first guess, and afterwards says only which kind is the measure. So a wrong `speed` mends itself.

Each render counts half as much as one that came `half_life_s` later, of those of its model on its kind of worker. So
what a new driver does is followed, and a night without renders forgets nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nlargest
from operator import itemgetter

from orchestrator.domain.catalog import ModelFamily
from orchestrator.domain.job import Incident, RenderSpec, VideoResult
from orchestrator.policy.cost import predict
from orchestrator.policy.ratios import UNKNOWN, Believed, Ratio, believe

DAY_S = 24 * 3600.0

# What renders have in common.
Level = tuple[object, ...]

# How many of a key's last ratios are kept: the median follows a change after half as many.
KEPT = 31
# Of a coarser level so many of the last ones count, whatever their keys.
_POOLED = 3 * KEPT
# A level is believed from four fresh renders on: so much is their weight, or that of more that are older.
_ENOUGH = 3.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """GPU seconds of one render; one in ten is below `low`, and one in ten above `high`."""

    gpu_seconds: float
    low: float
    high: float
    # Renders that it was learned from; 0 is the catalogue's word alone.
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerKind:
    """A kind of workers of a pool that has several, as it is configured."""

    pool: str
    # Seconds of the reference kind's work that one worker does in a second.
    speed: float

    @staticmethod
    def word(pool: str, kind: str) -> str:
        """What keys call a pool's kind of workers; the empty one is all there are."""
        return f"{pool}/{kind}" if kind else pool


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
    # Of the worker (`WorkerKind.word`); a pool's name where nobody knows yet which kind of its workers it will be.
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

    def __init__(
        self, past: Iterable[Past] = (), *, half_life_s: float = DAY_S, kinds: Mapping[str, WorkerKind] | None = None
    ) -> None:
        """`kinds` are those of the pools that have several, by their words."""
        self._half_life_s = half_life_s
        self._kinds = kinds or {}
        self._past: defaultdict[Level, list[Past]] = defaultdict(list)
        for one in (known for known in past if known.seen):
            pool = self._kinds[one.key.kind].pool if one.key.kind in self._kinds else None
            for key in (one.key, *(() if pool is None else (replace(one.key, kind=pool),))):
                for level in key.levels():
                    self._past[level].append(one)
        self._known: dict[Level, Believed] = {}
        self._speeds: dict[tuple[str, str], float] = {}
        self._believed: dict[tuple[str, str], dict[Level, Believed]] = {}

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
        model, factor = _of_model(key.model, key.kind), 1.0
        for level, model, factor in self._levels_of(key):
            if level in self._past:
                known = self._known_of(level, model)
                if known.weight >= _ENOUGH:
                    return known.ratio.times(factor)
        return (self._known_of(model, model).ratio if model in self._past else UNKNOWN).times(factor)

    def _levels_of(self, key: Key) -> Iterator[tuple[Level, Level, float]]:
        """Where to look, what has most in common first: a level, its model's, and what a ratio there counts times.

        Where both have as much in common, what is known of a kind comes before what is known of its pool at its speed.
        """
        own, kind = key.levels(), self._kinds.get(key.kind)
        theirs = own if kind is None else replace(key, kind=kind.pool).levels()
        for level, of_pool in zip(own, theirs, strict=True):
            yield level, own[-1], 1.0
            if kind is not None:
                yield of_pool, theirs[-1], 1 / self.speed(key.model, key.kind)

    def speed(self, model: str, kind: str, otherwise: float = 1.0) -> float:
        """Seconds of the reference kind's work that a worker of a kind (its word) does in a second, for a model.

        As configured while too little is known, and of the kind that the others are measured by: the one that is
        configured nearest to the reference of those of its pool that enough is known of. `otherwise` is for a word that
        is no kind's.
        """
        if kind not in self._kinds:
            return otherwise
        found = self._speeds.get((model, kind))
        if found is None:
            found = self._speeds[model, kind] = self._speed(model, kind)
        return found

    def _speed(self, model: str, kind: str) -> float:
        configured = self._kinds[kind]
        siblings = (word for word, other in self._kinds.items() if other.pool == configured.pool)
        known = [word for word in siblings if self._believed_of(model, word)]
        if kind not in known:
            return configured.speed
        measure = min(known, key=lambda word: (abs(math.log(self._kinds[word].speed)), word))
        ours, theirs = self._believed_of(model, kind), self._believed_of(model, measure)
        # The same shapes where there are some, else the same profiles: what differs most between renders is the same.
        for name in ("shape", "profile"):
            pairs = [(ours[each], theirs[each]) for each in ours.keys() & theirs.keys() if each[0] == name]
            if pairs:
                weights = [min(one.weight, other.weight) for one, other in pairs]
                faster = [math.log(other.ratio.likely / one.ratio.likely) for one, other in pairs]
                mean = sum(map(math.prod, zip(weights, faster, strict=True))) / sum(weights)
                return self._kinds[measure].speed * math.exp(mean)
        return configured.speed

    def _believed_of(self, model: str, kind: str) -> dict[Level, Believed]:
        """The shapes and profiles of a model that enough is known of on a kind; their levels without the kind."""
        found = self._believed.get((model, kind))
        if found is None:
            levels = [level for level in self._past if level[0] in ("shape", "profile")]
            ours = [level for level in levels if level[1] == model and level[-1] == kind]
            known = {level[:-1]: self._known_of(level, _of_model(model, kind)) for level in ours}
            found = {level: one for level, one in known.items() if one.weight >= _ENOUGH}
            self._believed[model, kind] = found
        return found

    def listing(self) -> list[tuple[Past, Believed]]:
        """Every kind of render that something is known of, and what its own renders teach; the newest first."""
        own = (past for level, pasts in list(self._past.items()) for past in pasts if level == ("all", past.key))
        found = [(past, self._known_of(("all", past.key), _of_model(past.key.model, past.key.kind))) for past in own]
        return sorted(found, key=lambda each: -each[0].seen[0])

    def of_model(self, model: str, kind: str) -> Ratio:
        """The ratio of a model's last renders in a pool, or on a kind of its workers, whatever they were."""
        level = _of_model(model, kind)
        return self._known_of(level, level).ratio if level in self._past else UNKNOWN

    def models(self) -> list[tuple[str, str]]:
        """Each model and pool of which something is known."""
        found = ((str(level[1]), str(level[2])) for level in self._past if level[0] == "model")
        return sorted((model, pool) for model, pool in found if pool not in self._kinds)

    def _known_of(self, level: Level, model: Level) -> Believed:
        known = self._known.get(level)
        if known is None:
            newest = max(past.seen[0] for past in self._past[model])
            last = nlargest(_POOLED, self._pairs(level), key=itemgetter(0))
            ages = (newest - seen for seen, _ in last)
            weights = [0.5 ** (age / self._half_life_s) for age in ages]
            known = self._known[level] = believe(sorted(zip((ratio for _, ratio in last), weights, strict=True)))
        return known

    def _pairs(self, level: Level) -> Iterator[tuple[float, float]]:
        """When each render of a level ended, and its ratio: in seconds of the level's kind, or of the reference."""
        kind = level[1].kind if isinstance(level[1], Key) else level[-1]
        for past in self._past[level]:
            own = past.key.kind
            speed = 1.0 if own == kind else self.speed(past.key.model, own)
            yield from ((seen, ratio * speed) for seen, ratio in past.pairs)


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


def _of_model(model: str, kind: str) -> Level:
    return ("model", model, kind)
