"""What renders have taught, as operators see it: a line for each kind of render, and how fast kinds of workers are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.config import Settings
from orchestrator.domain.catalog import Profile
from orchestrator.domain.delivery import Delivery
from orchestrator.domain.errors import InvalidField
from orchestrator.domain.job import RenderSpec
from orchestrator.learning.book import Book
from orchestrator.policy.cost import predict
from orchestrator.policy.prediction import Key, Past, Predictions, WorkerKind
from orchestrator.policy.ratios import Believed, Ratio
from orchestrator.ports.predictions import PredictionReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What the renders of one key have taught."""

    key: Key
    pool: str
    # Empty where the pool has workers of one kind.
    kind: str
    # The catalogue's seconds; None of a model that is not configured any more.
    prior_s: float | None
    # In seconds of the kind.
    ratio: Ratio
    # How many renders that is, in renders that have just ended.
    weight: float
    last_at: datetime

    @property
    def seconds(self) -> float | None:
        """What its renders say, on its kind of worker."""
        return None if self.prior_s is None else self.prior_s * self.ratio.likely


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast a kind of workers is with a model: seconds of the reference kind's work in a second."""

    pool: str
    kind: str
    model: str
    configured: float
    # The same as configured while too little is known, and of the kind that the others are measured by.
    learned: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """Lines, the newest first, and kinds in the order of the configuration."""

    lines: Sequence[Line]
    speeds: Sequence[Speed]


class Listing:
    """Reads what is known, of one model or pool or of all."""

    def __init__(self, settings: Settings, store: PredictionReader) -> None:
        self._settings = settings
        self._book = Book.of(settings, store)

    async def show(self, *, model: str | None = None, pool: str | None = None, most: int | None = None) -> Learned:
        """At most so many lines.

        Raises `InvalidField` for a model or pool that is neither configured nor known, and `StoreUnavailable`.
        """
        known = await self._book.read()
        lines = [self._line(past, believed) for past, believed in known.listing()]
        if model not in (None, *self._settings.models, *(line.key.model for line in lines)):
            raise InvalidField("there is no such model", param="model")
        if pool not in (None, *self._settings.pools, *(line.pool for line in lines)):
            raise InvalidField("there is no such pool", param="pool")
        chosen = [line for line in lines if model in (None, line.key.model) and pool in (None, line.pool)]
        speeds = [it for it in self._speeds(known) if model in (None, it.model) and pool in (None, it.pool)]
        return Learned(lines=chosen[:most], speeds=speeds)

    def _line(self, past: Past, believed: Believed) -> Line:
        pool, kind = self._worker(past.key.kind)
        return Line(
            key=past.key,
            pool=pool,
            kind=kind,
            prior_s=self._prior_s(past.key),
            ratio=believed.ratio,
            weight=believed.weight,
            last_at=datetime.fromtimestamp(past.seen[0], UTC),
        )

    def _worker(self, word: str) -> tuple[str, str]:
        """The pool and kind that a key's word means; what is configured no more is shown as it is."""
        known = ((name, kind) for name, pool in self._settings.pools.items() for kind in pool.kinds)
        return next((each for each in known if WorkerKind.word(*each) == word), (word, ""))

    def _prior_s(self, key: Key) -> float | None:
        if key.model not in self._settings.models or key.profile not in set(Profile):
            return None
        family = self._settings.family_of(key.model)
        spec = RenderSpec(
            model=key.model,
            prompt="",
            width=key.width,
            height=key.height,
            num_frames=key.num_frames,
            fps=family.fps,
            num_inference_steps=key.steps,
            guidance_scale=2.0 if key.guided else 1.0,
            seed=0,
            delivery=Delivery(width=key.width, height=key.height, num_frames=key.num_frames, fps=family.fps),
            profile=Profile(key.profile),
        )
        return predict(family, spec)

    def _speeds(self, known: Predictions) -> Iterable[Speed]:
        for name, pool in self._settings.pools.items():
            models = [pool.model, *(model for model, where in known.models() if where == name and model != pool.model)]
            for kind, configured in pool.kinds.items():
                for model in models:
                    yield Speed(
                        pool=name,
                        kind=kind,
                        model=model,
                        configured=configured.speed,
                        learned=known.speed(model, WorkerKind.word(name, kind), configured.speed),
                    )
