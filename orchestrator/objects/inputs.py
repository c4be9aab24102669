"""The sweeper of inputs: pictures that no job needs any more, and objects whose upload never came to a row."""

from __future__ import annotations

from functools import partial

from orchestrator.domain.objects import INPUT_KEY, INPUTS
from orchestrator.objects.orphans import AGE_S, delete_all, sweep_orphans
from orchestrator.ports import InputStore, ObjectStore
from orchestrator.telemetry.aside import Resting

# Far longer than any submit takes from its use of an input to its job: `store/inputs.py` says why that is enough.
IDLE_S = 24 * 3600.0
GRACE_S = 3600.0


class InputSweeper:
    """Deletes objects, then their rows. Several may run side by side."""

    def __init__(self, store: InputStore, objects: ObjectStore, *, batch: int = 1000) -> None:
        self._store = store
        self._objects = objects
        self._batch = batch
        self._refused: Resting[str] = Resting()

    async def run_once(self) -> int:
        """Sweep until nothing is due; how many inputs. A run that breaks off loses nothing. Raises `Unavailable`."""
        total = 0
        while True:
            limit = self._batch + len(self._refused)
            found = await self._store.inputs_to_sweep(idle_s=IDLE_S, grace_s=GRACE_S, limit=limit)
            if not (due := [key for key in found if key not in self._refused]):
                return total
            refused = await delete_all(self._objects, due, "inputs")
            self._refused.add(*refused)
            gone = [key for key in due if key not in refused]
            await self._store.inputs_swept(gone)
            total += len(gone)

    async def orphans(self) -> int:
        """Delete what a crash or a given-up upload left without a row, a day later; how many. Raises `Unavailable`."""
        unknown = partial(self._store.inputs_unknown, older_than_s=AGE_S)
        return await sweep_orphans(self._objects, INPUTS, INPUT_KEY, unknown)
