"""Where what finished renders teach is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orchestrator.policy.prediction import Lesson, Past


class PredictionReader(Protocol):
    async def learned(self) -> list[Past]:
        """What the last renders of each key have taught. Raises `StoreUnavailable`."""
        ...


class PredictionStore(PredictionReader, Protocol):
    """Every method may raise `StoreUnavailable`; none is half done then."""

    async def learn(self, lessons: Sequence[Lesson], *, keep: int) -> None:
        """Add these to what is known of their keys, as of now, and keep the last `keep` of each. Any number may write.

        A repetition after a reply that was lost counts twice, which harms no median.
        """
        ...

    async def prune_learned(self, *, keep_s: float, most: int) -> int:
        """Forget keys that no render has had for `keep_s`, and of more than `most` the longest unseen; how many."""
        ...
