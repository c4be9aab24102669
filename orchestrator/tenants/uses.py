"""When keys were last used: noted in memory, and written for all of them together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

# Between two writes: what is written is right within a minute.
FLUSH_EVERY_S = 30.0


class UseRecorder(Protocol):
    """The one part of `KeyStore` that this needs."""

    async def record_uses(self, ages: Mapping[str, float]) -> None: ...


class Uses:
    """No more entries than good keys, and no statement where there was no use."""

    def __init__(self, store: UseRecorder, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._used: dict[str, float] = {}

    def note(self, key_id: str) -> None:
        """It is used now."""
        self._used[key_id] = self._monotonic()

    async def flush(self) -> None:
        """Write what was noted. What cannot be written stays noted; raises `StoreUnavailable` then."""
        if not self._used:
            return
        used, self._used = self._used, {}
        now = self._monotonic()
        try:
            await self._store.record_uses({key_id: now - at for key_id, at in used.items()})
        except BaseException:
            self._used = used | self._used  # what came meanwhile is later
            raise
