"""The sweeper of videos: what claims have left in S3 and no job needs any more, and history that is over.

A job that was deleted or is too old loses all its objects. One that ended loses its checkpoints at once, and what its
losing claims have left soon after.
"""

from __future__ import annotations

import asyncio
import random
from uuid import UUID

from orchestrator.config import RetentionSettings
from orchestrator.domain.errors import ObjectsRefused, ObjectsUnavailable
from orchestrator.domain.objects import checkpoint_prefix, claim_prefix, job_prefix
from orchestrator.ports import JobStore, ObjectStore, Sweep
from orchestrator.telemetry import aside, logs, metrics
from orchestrator.telemetry.aside import Resting

_log = logs.get("retention")


class Retention:
    """Deletes what the store says may go, then tells the store. Several may run side by side: both halves repeat."""

    def __init__(self, store: JobStore, objects: ObjectStore, settings: RetentionSettings, *, batch: int = 200) -> None:
        self._store = store
        self._objects = objects
        self._settings = settings
        self._batch = batch
        self._refused: Resting[UUID] = Resting()

    async def run_once(self) -> int:
        """Prune old rows, then sweep until nothing is due or S3 fails; how many jobs were swept.

        A job whose objects S3 refuses to delete rests for a while, and holds up no other.

        A job counts as swept only once all its objects are gone, so a run that breaks off loses nothing. Raises
        `StoreUnavailable`.
        """
        await self._store.prune_history(keep_s=self._settings.outbox_s)
        total = 0
        while True:
            limit = self._batch + len(self._refused)
            found = await self._store.objects_to_sweep(
                keep_s=self._settings.jobs_s, losers_after_s=self._settings.losers_s, limit=limit
            )
            due = [sweep for sweep in found if sweep.job_id not in self._refused]
            before = len(self._refused)
            swept = await self._sweep(due[: self._batch])
            await self._store.swept(swept)
            total += len(swept)
            if len(swept) + len(self._refused) - before < self._batch:  # nothing more is due, or S3 is away
                return total

    async def _sweep(self, due: list[Sweep]) -> list[Sweep]:
        swept: list[Sweep] = []
        # In random order: a job whose objects S3 will not delete stops this run, but not always before the same others.
        for sweep in random.sample(due, len(due)):
            try:
                deleted = await asyncio.to_thread(self._delete_objects, sweep)
            except ObjectsRefused as error:
                aside.put("retention", error, job=sweep.job_id.hex)
                self._refused.add(sweep.job_id)
                continue
            except ObjectsUnavailable as error:
                _log.warning("sweep_stopped", job=sweep.job_id.hex, due=len(due), swept=len(swept), error=str(error))
                break
            except Exception as error:
                aside.put("retention", error, job=sweep.job_id.hex)
                self._refused.add(sweep.job_id)
                continue
            metrics.swept_objects.inc(deleted)
            swept.append(sweep)
        return swept

    def _delete_objects(self, sweep: Sweep) -> int:
        keys = [key for key in self._objects.list_keys(job_prefix(sweep.job_id)) if not _stays(key, sweep)]
        self._objects.delete(keys)
        return len(keys)


def _stays(key: str, sweep: Sweep) -> bool:
    if sweep.keep is None or not key.startswith(claim_prefix(sweep.job_id, sweep.keep)):
        return False
    return not key.startswith(checkpoint_prefix(sweep.job_id, sweep.keep))
