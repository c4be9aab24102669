"""Forgets what is over: rows that never began, requests of batches, rows of deleted campaigns, then both themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

from orchestrator.domain.campaign import Kind
from orchestrator.domain.errors import NotFound
from orchestrator.domain.job import public_id
from orchestrator.intake.jobs import Jobs
from orchestrator.ports.campaigns import CampaignStore
from orchestrator.telemetry import aside

_REMEMBER_S = 3600.0
_CANCEL = 8
_LIMIT = 100


class RowPruner:
    """Forgets the requests of batches that ended an hour ago, and batches as old as videos get."""

    def __init__(self, store: CampaignStore, jobs: Jobs, *, keep_s: float) -> None:
        self._store = store
        self._jobs = jobs
        self._keep_s = keep_s

    async def run_once(self) -> int:
        """How many were forgotten. Who lost a lease unawares may have submitted after the end: such a job ends here."""
        done = 0
        for kind, after_s in ((Kind.BATCH, _REMEMBER_S), (Kind.CAMPAIGN, 0.0)):
            for kept in await self._store.over(kind, older_than_s=after_s, limit=_LIMIT):
                with aside.unless_it_breaks("prune_batches", batch=kept.id):
                    await self._cancel(kept.tenant, await self._store.live_of(kept))
                    await self._store.forget_rows(kept)
                    done += 1
        return done + await self._store.forget_ended(keep_s=self._keep_s)

    async def _cancel(self, tenant: str, jobs: Sequence[UUID]) -> None:
        for first in range(0, len(jobs), _CANCEL):
            await asyncio.gather(*(self._cancel_one(tenant, job_id) for job_id in jobs[first : first + _CANCEL]))

    async def _cancel_one(self, tenant: str, job_id: UUID) -> None:
        with suppress(NotFound):  # deleted, and cancelled thereby
            await self._jobs.cancel(tenant, public_id(job_id))


class RowFreer:
    """Frees rows that never began, as soon as what they belong to has been cancelled, has failed or is over."""

    def __init__(self, store: CampaignStore) -> None:
        self._store = store

    async def run_once(self) -> int:
        """How many rows. Two at a time do no harm."""
        freed = 0
        for ended in await self._store.to_free(limit=_LIMIT):
            with aside.unless_it_breaks("free_rows", campaign=ended.id):
                freed += await self._store.free_rows(ended)
        return freed
