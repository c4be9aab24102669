"""What is known of how long renders take: read from the store, seldom, and never in the way of whoever asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from orchestrator.config import Settings
from orchestrator.domain.catalog import ModelFamily
from orchestrator.domain.job import Claim, RenderSpec
from orchestrator.kit.readings import Reading
from orchestrator.policy.cost import predict
from orchestrator.policy.prediction import DAY_S, Key, Past, Predictions, WorkerKind
from orchestrator.ports.predictions import PredictionReader

# How old what is known may be, and how long whoever asks waits for something newer.
FRESH_S = 10.0
_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Models:
    """The configured models and workers, as predictions know them.

    Models by their names: family, and what tells their weights apart. `kinds` are the kinds of workers of pools that
    have several, by their words; `kind_of(pool, worker)` is the word of a worker's.
    """

    families: Mapping[str, ModelFamily]
    revisions: Mapping[str, str]
    kinds: Mapping[str, WorkerKind] = field(default_factory=dict)
    kind_of: Callable[[str, str], str] = lambda pool, worker: pool

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            {name: settings.family_of(name) for name in settings.models},
            settings.revisions,
            {
                WorkerKind.word(name, kind): WorkerKind(pool=name, speed=known.speed)
                for name, pool in settings.pools.items()
                for kind, known in pool.kinds.items()
            },
            lambda pool, worker: WorkerKind.word(pool, settings.kind_of(pool, worker)),
        )


class Book:
    """What every process has learned, at most ten seconds ago where the store answers. One per process."""

    def __init__(
        self,
        models: Models,
        store: PredictionReader,
        *,
        half_life_s: float = DAY_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._store = store
        self._half_life_s = half_life_s
        self._known = Reading(
            "learned", self.read, self._of(()), fresh_s=FRESH_S, patience_s=_PATIENCE_S, monotonic=monotonic
        )

    @classmethod
    def of(cls, settings: Settings, store: PredictionReader) -> Self:
        return cls(Models.of(settings), store, half_life_s=settings.prediction.half_life_s)

    async def read(self) -> Predictions:
        """What is known now, read for whoever wants to see just that. Raises `StoreUnavailable`."""
        return self._of(await self._store.learned())

    def _of(self, past: Iterable[Past]) -> Predictions:
        return Predictions(past, half_life_s=self._half_life_s, kinds=self._models.kinds)

    @property
    def last(self) -> Predictions:
        """What was known when somebody last asked for something new."""
        return self._known.last

    async def known(self) -> Predictions:
        """What is known now. Never raises: where the store does not answer, what was known before holds on."""
        return await self._known.now()

    def key_of(self, claim: Claim) -> Key:
        """What a claim's render has in common with others, on its kind of worker."""
        kind = self._models.kind_of(claim.pool, claim.worker.name)
        return Key.of(claim.spec, kind=kind, revision=self._models.revisions.get(claim.spec.model, ""))

    def prior_s(self, spec: RenderSpec) -> float | None:
        """The catalogue's word on its GPU seconds; None for a model that is not configured any more."""
        family = self._models.families.get(spec.model)
        return None if family is None else predict(family, spec)

    def seconds_of(self, claim: Claim) -> float:
        """The GPU seconds of a claim's render on its worker, by what is known now, not by what was when it was sent."""
        prior_s = self.prior_s(claim.spec)
        if prior_s is None:
            return claim.cost
        return prior_s * self.last.ratio(self.key_of(claim)).likely
