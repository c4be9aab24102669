"""The sweeper of inputs: pictures that no job needs any more, and objects whose upload never came to a row."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import islice
from uuid import UUID

from orchestrator import logs, metrics
from orchestrator.inputs import KEY, PREFIX
from orchestrator.ports import InputStore, ObjectStore

_log = logs.get("inputs")

# Far longer than any submit takes from its use of an input to its job: `store/inputs.py` says why that is enough.
IDLE_S = 24 * 3600.0
GRACE_S = 3600.0


class InputSweeper:
    """Deletes objects, then their rows. Several may run side by side."""

    def __init__(self, store: InputStore, objects: ObjectStore, *, batch: int = 1000) -> None:
        self._store = store
        self._objects = objects
        self._batch = batch

    async def run_once(self) -> int:
        """Sweep until nothing is due; how many inputs. A run that breaks off loses nothing. Raises `Unavailable`."""
        total = 0
        while due := await self._store.inputs_to_sweep(idle_s=IDLE_S, grace_s=GRACE_S, limit=self._batch):
            await asyncio.to_thread(self._objects.delete, due)
            metrics.swept_objects.inc(len(due))
            await self._store.inputs_swept(due)
            total += len(due)
        return total

    async def orphans(self) -> int:
        """Delete what a crash or a given-up upload left without a row, a day later; how many. Raises `Unavailable`."""
        total = 0
        # Keys that no input of ours has are nobody's to delete.
        keys = (key for key in self._objects.list_keys(PREFIX) if KEY.fullmatch(key))
        while page := await asyncio.to_thread(lambda: list(islice(keys, self._batch))):
            unknown = await self._store.inputs_unknown({key: _made_at(key) for key in page}, older_than_s=IDLE_S)
            await asyncio.to_thread(self._objects.delete, unknown)
            metrics.swept_objects.inc(len(unknown))
            total += len(unknown)
        if total:
            _log.info("orphans_swept", inputs=total)
        return total


def _made_at(key: str) -> datetime:
    """The moment in the first 48 bits of a UUIDv7, in milliseconds (RFC 9562, section 5.7)."""
    name = key.rpartition("/")[2].partition(".")[0]
    return datetime.fromtimestamp((UUID(hex=name).int >> 80) / 1000, UTC)
