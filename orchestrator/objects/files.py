"""The sweeper of files: those that were deleted or are over, and objects whose upload never came to a row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from orchestrator.domain.objects import FILE_KEY, FILES
from orchestrator.objects.orphans import AGE_S, delete_all, sweep_orphans
from orchestrator.ports import ObjectStore
from orchestrator.ports.files import FileStore
from orchestrator.telemetry.aside import Resting


class FileSweeper:
    """Deletes the objects of deleted and expired files, then their rows. Several may run side by side."""

    def __init__(self, store: FileStore, objects: ObjectStore, *, batch: int = 500) -> None:
        self._store = store
        self._objects = objects
        self._batch = batch
        self._refused: Resting[str] = Resting()

    async def run_once(self) -> int:
        """Sweep until nothing is due; how many files. A run that breaks off loses nothing. Raises `Unavailable`."""
        total = 0
        while True:
            found = await self._store.files_to_sweep(limit=self._batch + len(self._refused))
            if not (due := {file: key for file, key in found.items() if key not in self._refused}):
                return total
            refused = await delete_all(self._objects, list(due.values()), "files")
            self._refused.add(*refused)
            gone = [file for file, key in due.items() if key not in refused]
            await self._store.files_swept(gone)
            total += len(gone)

    async def orphans(self, *, older_than_s: float = AGE_S) -> int:
        """Delete objects whose upload never came to a row; how many. Raises `Unavailable`."""

        async def unknown(made: Mapping[str, datetime]) -> list[str]:
            ids = {key.rpartition("/")[2]: key for key in made}
            times = {file_id: made[key] for file_id, key in ids.items()}
            return [ids[found] for found in await self._store.files_unknown(times, older_than_s=older_than_s)]

        return await sweep_orphans(self._objects, FILES, FILE_KEY, unknown)
