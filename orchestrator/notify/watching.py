"""Who watches what: so many at a time in all and of one tenant, each woken when what it watches has moved."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from orchestrator.domain.errors import LimitExceeded

_RETRY_AFTER_S = 10.0

Key = TypeVar("Key", bound=Hashable)
Seen = TypeVar("Seen")


def _itself(seen: object) -> object:
    return seen


@dataclass(slots=True, eq=False)
class Watch(Generic[Key, Seen]):
    """One watcher's view of one thing. `place` says where it stands, as far as watchers care."""

    key: Key
    place: Callable[[Seen], object] = _itself
    # None until the first reading, and again when it was deleted.
    latest: Seen | None = None
    # Nothing more will be shown, wherever it stands.
    over: bool = False
    _read: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def changed(self, timeout_s: float) -> bool:
        """Wait until it stands elsewhere than at the last call, is gone, or all is over; False at the timeout."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True

    def end(self) -> None:
        """Wake the watcher for the last time."""
        self.over = True
        self._changed.set()

    def show(self, seen: Seen | None) -> None:
        """Take note of a reading."""
        moved = not self._read or self._place(self.latest) != self._place(seen)
        self.latest, self._read = seen, True
        if moved:
            self._changed.set()

    def _place(self, seen: Seen | None) -> object:
        return None if seen is None else self.place(seen)


class Watches(Generic[Key, Seen]):
    """All watchers of one kind of thing in this process. `what` names these things."""

    def __init__(self, what: str, place: Callable[[Seen], object], *, most: int, most_of_tenant: int) -> None:
        self._what = what
        self._place = place
        self._most = most
        self._most_of_tenant = most_of_tenant
        self._watches: dict[Key, set[Watch[Key, Seen]]] = {}
        self._of_tenant: Counter[str] = Counter()
        self._arrived = asyncio.Event()

    @contextmanager
    def watch(self, key: Key, tenant: str) -> Iterator[Watch[Key, Seen]]:
        """Watch until the block ends. Raises `LimitExceeded` when too many watch."""
        if self._of_tenant.total() >= self._most or self._of_tenant[tenant] >= self._most_of_tenant:
            raise LimitExceeded(
                f"too many {self._what} are being watched", limit="event_streams", retry_after_s=_RETRY_AFTER_S
            )
        watch = Watch(key, self._place)
        self._of_tenant[tenant] += 1
        self._watches.setdefault(key, set()).add(watch)
        self._arrived.set()
        try:
            yield watch
        finally:
            self._of_tenant[tenant] -= 1
            self._watches[key].discard(watch)
            if not self._watches[key]:
                del self._watches[key]

    async def asked(self) -> Mapping[Key, Collection[Watch[Key, Seen]]]:
        """Everybody who watches now, by what they watch; while nobody does, it waits."""
        while not self._watches:
            self._arrived.clear()
            await self._arrived.wait()
        return {key: tuple(watches) for key, watches in self._watches.items()}

    def end_all(self) -> None:
        """End every watch that there is: this process stops, and another one may be asked."""
        for watches in self._watches.values():
            for watch in watches:
                watch.end()
