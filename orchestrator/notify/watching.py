"""Who watches what: so many at a time in all, and of one tenant a share of them; each woken when what it watches moves.

The share is one of four that are free (dynamic thresholds: Choudhury and Hahne, "Dynamic Queue Length Thresholds for
Shared-Memory Packet Switches", 1998): one tenant alone gets a fifth of all, and five greedy ones leave a third. Where
nothing is free, whoever has fewer takes the newest one of who has most (longest queue drop), whose hearer comes back
with its last id. So many greedy tenants keep none out.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from orchestrator.domain.errors import LimitExceeded

_RETRY_AFTER_S = 10.0
# For each four that are free, a tenant may have one.
_FREE_FOR_ONE = 4

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

    def __init__(self, what: str, place: Callable[[Seen], object], *, most: int) -> None:
        self._what = what
        self._place = place
        self._most = most
        self._watches: dict[Key, set[Watch[Key, Seen]]] = {}
        # Those that count, the newest last.
        self._of_tenant: dict[str, list[Watch[Key, Seen]]] = {}
        self._arrived = asyncio.Event()

    @contextmanager
    def watch(self, key: Key, tenant: str, most: float | None = None) -> Iterator[Watch[Key, Seen]]:
        """Watch until the block ends. Raises `LimitExceeded` when too many watch; `most` is its tenant's own limit."""
        self._check(tenant, most)
        self._admit(tenant)
        watch = Watch(key, self._place)
        self._of_tenant.setdefault(tenant, []).append(watch)
        self._watches.setdefault(key, set()).add(watch)
        self._arrived.set()
        try:
            yield watch
        finally:
            self._forget(tenant, watch)
            self._watches[key].discard(watch)
            if not self._watches[key]:
                del self._watches[key]

    def _check(self, tenant: str, most: float | None) -> None:
        used = len(self._of_tenant.get(tenant, ()))
        if most is not None and used >= most:
            raise LimitExceeded(
                f"{used} {self._what} of yours are being watched here; at most {most:.0f} may be (limit event_streams)",
                limit="event_streams",
                retry_after_s=_RETRY_AFTER_S,
                most=math.floor(most),
                used=used,
            )

    def _admit(self, tenant: str) -> None:
        used = len(self._of_tenant.get(tenant, ()))
        free = self._most - sum(map(len, self._of_tenant.values()))
        most = math.ceil(free / _FREE_FOR_ONE)
        if free <= 0 and self._made_room(used):
            return
        if used >= most:
            raise LimitExceeded(
                f"{used} {self._what} of yours are being watched here; at most {most} may be at this moment "
                f"(limit event_streams, a share of what is free)",
                limit="event_streams",
                retry_after_s=_RETRY_AFTER_S,
                most=most,
                used=used,
            )

    def _made_room(self, used: int) -> bool:
        """End a watch of the tenant that has most, if that is more than somebody with so many would have then."""
        tenant, theirs = max(self._of_tenant.items(), key=lambda item: len(item[1]))
        if len(theirs) <= used + 1:
            return False
        newest = theirs[-1]
        self._forget(tenant, newest)
        newest.end()
        return True

    def _forget(self, tenant: str, watch: Watch[Key, Seen]) -> None:
        theirs = self._of_tenant.get(tenant, [])
        if watch in theirs:
            theirs.remove(watch)
        if not theirs:
            self._of_tenant.pop(tenant, None)

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
