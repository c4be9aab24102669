"""Collects what finished renders teach, and writes it down in batches: no render's end waits for it."""

from __future__ import annotations

from collections import deque

from orchestrator.domain.errors import Unavailable
from orchestrator.domain.job import Claim, VideoResult
from orchestrator.learning.book import Book
from orchestrator.policy.prediction import KEPT, Lesson, taught
from orchestrator.ports.predictions import PredictionStore
from orchestrator.telemetry import aside, metrics

# While the database is away so many wait; of more, the oldest are dropped.
_MOST = 10_000
# Written in one statement.
_BATCH = 500


class Lessons:
    """What one dispatcher's renders have taught and is not written yet."""

    def __init__(self, book: Book, store: PredictionStore, *, keep: int = KEPT) -> None:
        self.book = book
        self._store = store
        self._keep = keep
        self._taken: deque[Lesson] = deque(maxlen=_MOST)

    def take(self, claim: Claim, result: VideoResult) -> None:
        """Learn from a finished render, and count how far off its prediction is that would be made now."""
        prior_s = self.book.prior_s(claim.spec)
        ratio = None if prior_s is None else taught(result, prior_s)
        if ratio is None:
            return
        key = self.book.key_of(claim)
        metrics.prediction_error.labels(claim.pool, key.model).observe(ratio / self.book.last.ratio(key).likely)
        self._taken.append(Lesson(key=key, ratio=ratio))

    async def write(self) -> int:
        """Write what was taken since; how many. Raises `StoreUnavailable`, and keeps them then for the next time."""
        written = 0
        while batch := list(self._taken)[:_BATCH]:
            try:
                await self._store.learn(batch, keep=self._keep)
            except Unavailable:
                raise
            except Exception:
                for lesson in batch:
                    with aside.unless_it_breaks("lessons", model=lesson.key.model):
                        await self._store.learn([lesson], keep=self._keep)
            for _ in batch:
                self._taken.popleft()
            written += len(batch)
        return written

    async def read(self) -> None:
        """Read what all dispatchers have learned, and show it."""
        known = await self.book.known()
        metrics.show_learned({of: known.of_model(*of).likely for of in known.models()})
