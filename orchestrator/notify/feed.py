"""Keeps everybody who watches a job up to date: one reading of all watched jobs, for as long as there are any."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from orchestrator.domain.errors import LimitExceeded, Unavailable
from orchestrator.domain.events import place_of
from orchestrator.domain.job import Job
from orchestrator.ports import Snapshot
from orchestrator.telemetry import aside

_RETRY_AFTER_S = 10.0


class SnapshotReader(Protocol):
    """The one part of `JobStore` that the feed needs."""

    async def snapshots(self, ids: Collection[UUID]) -> Mapping[UUID, Snapshot]: ...


@dataclass(slots=True, eq=False)
class Watch:
    """One watcher's view of one job."""

    job_id: UUID
    # None until the first reading, and again when the job was deleted.
    latest: Snapshot | None = None
    # Nothing more will be shown, wherever the job stands.
    over: bool = False
    _read: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def changed(self, timeout_s: float) -> bool:
        """Wait until the job stands elsewhere than at the last call, is gone, or all is over; False at the timeout."""
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

    def show(self, snapshot: Snapshot | None) -> None:
        """Take note of a reading."""
        moved = not self._read or _place(self.latest) != _place(snapshot)
        self.latest, self._read = snapshot, True
        if moved:
            self._changed.set()


def _place(snapshot: Snapshot | None) -> object:
    return None if snapshot is None else place_of(snapshot.job)


class Feed:
    """`run_once` reads what is watched, in one statement however many watch; while nobody does, it waits."""

    def __init__(self, store: SnapshotReader, *, watchers: int, watchers_of_tenant: int) -> None:
        self._store = store
        self._limit = watchers
        self._limit_of_tenant = watchers_of_tenant
        self._watches: dict[UUID, set[Watch]] = {}
        self._of_tenant: Counter[str] = Counter()
        self._arrived = asyncio.Event()

    @contextmanager
    def watch(self, job: Job) -> Iterator[Watch]:
        """Watch a job until the block ends. Raises `LimitExceeded` when too many watch."""
        if self._of_tenant.total() >= self._limit or self._of_tenant[job.tenant] >= self._limit_of_tenant:
            raise LimitExceeded(
                "too many videos are being watched", limit="event_streams", retry_after_s=_RETRY_AFTER_S
            )
        watch = Watch(job.id)
        self._of_tenant[job.tenant] += 1
        self._watches.setdefault(job.id, set()).add(watch)
        self._arrived.set()
        try:
            yield watch
        finally:
            self._of_tenant[job.tenant] -= 1
            self._watches[job.id].discard(watch)
            if not self._watches[job.id]:
                del self._watches[job.id]

    def end_all(self) -> None:
        """End every watch that there is: this process stops, and another one may be asked."""
        for watches in self._watches.values():
            for watch in watches:
                watch.end()

    async def run_once(self) -> None:
        """Read every watched job and wake those whose job has moved. Raises `StoreUnavailable`."""
        while not self._watches:
            self._arrived.clear()
            await self._arrived.wait()
        asked = {job_id: tuple(watches) for job_id, watches in self._watches.items()}
        try:
            self._show(asked, await self._store.snapshots(asked))
        except Unavailable:
            raise
        except Exception:  # one job breaks the reading of all: each by itself, and its watchers alone hear nothing new
            for job_id, watches in asked.items():
                with aside.unless_it_breaks("feed", job=job_id.hex):
                    self._show({job_id: watches}, await self._store.snapshots([job_id]))

    def _show(self, asked: Mapping[UUID, Collection[Watch]], found: Mapping[UUID, Snapshot]) -> None:
        for job_id, watches in asked.items():
            for watch in watches:
                watch.show(found.get(job_id))
