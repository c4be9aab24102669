"""Measures what the GPU did, and estimates from it what a render will take."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from orchestrator.domain.catalog import ModelFamily
from orchestrator.domain.job import RenderSpec
from orchestrator.policy.cost import predict_decode_s, predict_step_s

# The mean that is reported spans this many steps: about one render.
_RECENT_STEPS = 50


@dataclass(frozen=True, slots=True)
class Speed:
    """How many real seconds a second of the catalogue takes on this worker: a moving average over its own moves."""

    factor: float = 1.0
    samples: int = 0

    def learn(self, *, predicted_s: float, actual_s: float) -> Speed:
        """A new average with one more sample. Early samples weigh more, so that a cold start is soon forgotten."""
        if predicted_s <= 0 or actual_s <= 0:
            return self
        weight = max(0.1, 1 / (self.samples + 1))
        return Speed(self.factor + weight * (actual_s / predicted_s - self.factor), self.samples + 1)


class Meter:
    """Seconds of GPU work. Estimates are the catalogue's, scaled by what this worker's steps and decodes took."""

    def __init__(self, family: ModelFamily) -> None:
        self.family = family
        self._steps = Speed()
        self._decodes = Speed()
        self._recent: deque[float] = deque(maxlen=_RECENT_STEPS)
        self.busy_s = 0.0

    @property
    def step_s(self) -> float:
        """Mean seconds of the last steps; 0 before the first."""
        return sum(self._recent) / len(self._recent) if self._recent else 0.0

    def stepped(self, spec: RenderSpec, seconds: float) -> None:
        self._recent.append(seconds)
        self._steps = self._steps.learn(predicted_s=predict_step_s(self.family, spec), actual_s=seconds)

    def decoded(self, spec: RenderSpec, seconds: float) -> None:
        self._decodes = self._decodes.learn(predicted_s=predict_decode_s(self.family, spec), actual_s=seconds)

    def remaining_s(self, spec: RenderSpec, *, steps_left: int, idle_s: float) -> float:
        """Seconds until a render leaves the GPU. `idle_s` is how long ago it last moved: part of the next move."""
        step_s = predict_step_s(self.family, spec) * self._steps.factor
        decode_s = predict_decode_s(self.family, spec) * self._decodes.factor
        current_s = step_s if steps_left else decode_s
        return steps_left * step_s + decode_s - min(idle_s, current_s)
