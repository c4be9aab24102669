"""Sampling the queue once a minute, and thinning what was sampled. Any number of processes may run it."""

from __future__ import annotations

from orchestrator.policy.sampling import KEEP
from orchestrator.ports.overview import SampleStore


class Sampler:
    """The first process that looks in a minute samples; the others find nothing to do."""

    def __init__(self, store: SampleStore) -> None:
        self._store = store

    async def run_once(self) -> bool:
        """Whether it sampled. Raises `StoreUnavailable`."""
        return await self._store.sample_flow()

    async def thin(self) -> int:
        """Merge what is old into longer steps, and forget what is older; how many rows went."""
        return await self._store.thin_samples() + await self._store.prune_quarantines(keep_s=KEEP.total_seconds())
